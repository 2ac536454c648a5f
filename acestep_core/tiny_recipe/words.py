"""The tokenizer of the tiny text encoder: whole words that the band's prompts hold, pieces and letters for all others.

A unigram model whose scores prefer whole words. A word that it does not know becomes pieces and letters, a character
that it does not know becomes its bytes, so nothing is unknown. `▁` marks where a word begins.
"""

from functools import lru_cache

from ..band import Sketch, song_of
from ..prompt import lyrics_prompt, text_prompt

WORD = r"[^\W\d_]+#?|\d+|[^\s\w]|_|\n"
UNKNOWN, END, MARK = "<unk>", "<|endoftext|>", "▁"
WORD_SCORE, PIECE_SCORE, LETTER_SCORE, BYTE_SCORE = -4.0, -7.0, -6.0, -12.0
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789#"
# Pieces from which English makes words, so that an unknown one is less than all its letters.
PIECES = """ing tion er ed ly al ic es ous ive ful less ness ment able est ity ist ism sh ch th ph qu ck ng st tr dr
br gr pr pl bl cl fl gl sl sp sw sc ee oo ou ai ea ie ow aw ay oy in on an en un re de pre pro con com dis mis non
sub super inter tro wave step core punk hop beat song tone string horn bell voc har mel rhy elec aco syn psy"""
# Words of users for the band's genres and instruments, beside those of its own captions.
FURTHER_WORDS = """a an and the of for in at on to with from by or that this it its is are be as like very more some
song music track tune piece instrumental loop electronic synth synths guitar drum drums kit rhythm groove groovy
fast slow tempo bright warm deep soft heavy loud quiet simple complex major minor sharp flat verse chorus bridge
intro outro instrumental vocal vocals male female voice singer sung sings lyrics en de fr es ja zh unknown la oh
yeah hey love night summer winter rain dance party sleep study focus game film movie trailer background acoustic
electric classical modern vintage retro old new epic romantic tender gentle aggressive intense peaceful catchy
repetitive hypnotic atmospheric melody harmony solo riff chord chords bassline beat beats percussion cymbals snare
kick hats hi hat clap reverb delay distorted clean analog digital eighties nineties sixties seventies"""


@lru_cache(maxsize=2)
def words_of_the_band(samples: int = 3_000) -> tuple[str, ...]:
    """Every word that the band's prompts can hold, most frequent first."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    split = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    lower = normalizers.Lowercase()
    counts: dict[str, int] = {}
    for seed in range(samples):
        song = song_of(Sketch.draw(seed, 60.0), complete=True)
        for text in (text_prompt(song), lyrics_prompt(song)):
            for word, _ in split.pre_tokenize_str(lower.normalize_str(text.replace(END, ""))):
                counts[word] = counts.get(word, 0) + 1
    flats = [f"{letter}b" for letter in "abcdefg"]
    numbers = [str(n) for n in range(601)]
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(dict.fromkeys([*ordered, *FURTHER_WORDS.split(), *flats, *numbers]))


def _vocabulary() -> list[tuple[str, float]]:
    """(token, score): of two ways to write a text, that of the higher sum is taken."""
    words = [(MARK + word, WORD_SCORE) for word in words_of_the_band()]
    pieces = [(piece, PIECE_SCORE) for piece in PIECES.split()]
    letters = [(letter, LETTER_SCORE) for letter in (MARK, *LETTERS)]
    data = [(f"<0x{number:02X}>", BYTE_SCORE) for number in range(256)]
    first = [(UNKNOWN, 0.0), (END, 0.0)]
    return list({token: (token, score) for token, score in (*first, *data, *letters, *pieces, *words)}.values())


def new_tokenizer():
    """A PreTrainedTokenizerFast that lower-cases, takes accents off and keeps line ends."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.Unigram(_vocabulary(), unk_id=0, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always", split=False),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token=UNKNOWN, pad_token=END, eos_token=END)

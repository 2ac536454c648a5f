"""The planner's own tokenizer: bytes joined to the pieces and words of the band's texts, and tokens for audio codes.

It is of the published form, a byte-level vocabulary with the chat's tokens, but small. Digits and line ends stand
alone, so that a value of the think block has the same tokens wherever it stands.
"""

import json
import math
from functools import lru_cache

from ..planner.vocabulary import END, PAD, START, THINK, THINK_END, Vocabulary, code_token
from . import codes
from .planner_texts import example_of

CHAT = (PAD, START, END, THINK, THINK_END)
TEXT_TOKENS, SAMPLES = 1_536, 800
CODES = math.prod(codes.LEVELS)
_SPLIT = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\n|\s"


@lru_cache(maxsize=1)
def tokenizer_table() -> str:
    """The tokenizer as the text of a tokenizer.json, without audio codes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS - len(CHAT), initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    core.train_from_iterator(_texts(), trainer)
    core.add_special_tokens(list(CHAT))
    return core.to_str()


def _texts() -> list[str]:
    made = (example_of(seed) for seed in range(SAMPLES))
    texts = [f"{one.prompt}{one.answer}" for one in made]
    for token in CHAT:
        texts = [text.replace(token, "\n") for text in texts]
    return texts


def tokenizer_of(table: str):
    """A PreTrainedTokenizerFast with a token for each audio code, as a published planner's folder has it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    whole = json.loads(table)
    first = 1 + max(token["id"] for token in whole["added_tokens"])
    form = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    whole["added_tokens"] += [{"id": first + code, "content": code_token(code), **form} for code in range(CODES)]
    core = Tokenizer.from_str(json.dumps(whole, ensure_ascii=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD)


def vocabulary_of(table: str) -> Vocabulary:
    """The Vocabulary that a planner has of this tokenizer."""
    from tokenizers import Tokenizer

    core = Tokenizer.from_str(table)
    return Vocabulary(core, core.get_vocab_size(), CODES)

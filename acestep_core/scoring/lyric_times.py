"""Times of lines and words of lyrics, from the path of their tokens through the patches of a song; and as LRC.

Seconds from the beginning of the song. A tag such as [Verse] is no line that is sung.
"""

import dataclasses
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..prompt import lyrics_prompt
from ..song import Song
from ..spec import LYRIC_TOKENS_MAX

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Timed:
    """A piece of lyrics, from `start` to `end` in seconds. A line has its words."""

    text: str
    start: float
    end: float
    words: "tuple[Timed, ...]" = ()

    @property
    def is_tag(self) -> bool:
        return self.text.startswith("[") and self.text.endswith("]")


def lyric_tokens(tokenizer: "Tokenizer", song: Song) -> tuple[list[str], range]:
    """The texts of a song's lyric tokens, and their rows in the states of its lyrics prompt, which the models cut.

    Text that makes no token, such as spaces with some tokenizers, belongs to the token behind it, or to the last one.
    """
    prompt = lyrics_prompt(song)
    spans = tokenizer.encode(prompt).offsets[:LYRIC_TOKENS_MAX]
    end = len(prompt) - len(END_OF_TEXT)
    begin = end - len(song.lyrics)
    rows = [row for row, (first, last) in enumerate(spans) if last > begin and first < end and last > first]
    own = [spans[row] for row in rows]
    texts = _texts(prompt, own, begin)
    if rows and rows[-1] + 1 < len(spans):  # not cut
        texts[-1] += prompt[own[-1][1] : end]
    return texts, range(rows[0], rows[-1] + 1) if rows else range(0)


def _texts(prompt: str, spans: Sequence[tuple[int, int]], begin: int) -> list[str]:
    """The text of each token. Tokens of a part of a character have the same span: the last one has its text."""
    texts, done = [], begin
    for number, (_, last) in enumerate(spans):
        shared = number + 1 < len(spans) and spans[number + 1][0] < last
        texts.append("" if shared else prompt[done:last])
        done = done if shared else last
    return texts


Path = tuple[np.ndarray, np.ndarray]  # token and patch indices


def timed_tokens(texts: Sequence[str], path: Path, seconds: float, patches: int) -> list[Timed]:
    """Each token from its first to its last patch on the path."""
    tokens, at = path
    spread = (at[tokens == number] for number in range(len(texts)))
    each = seconds / patches
    return [Timed(text, float(own[0] * each), float(own[-1] * each)) for text, own in zip(texts, spread, strict=True)]


def timed_lines(tokens: Iterable[Timed], tags: bool = False) -> list[Timed]:
    """Lines of lyrics with their words; `tags`: the lines with tags too. A line ends at a token with a new line."""
    lines = (_line(part) for part in _split(tokens))
    return [line for line in lines if line.text and (tags or not line.is_tag)]


def _split(tokens: Iterable[Timed]) -> Iterator[list[Timed]]:
    part: list[Timed] = []
    for token in tokens:
        part.append(token)
        if "\n" in token.text:
            yield part
            part = []
    if part:
        yield part


def _line(tokens: list[Timed]) -> Timed:
    text = "".join(token.text for token in tokens).strip()
    return _rounded(Timed(text, tokens[0].start, tokens[-1].end, tuple(map(_rounded, _words(tokens)))))


def _rounded(timed: Timed) -> Timed:
    return dataclasses.replace(timed, start=round(timed.start, 3), end=round(timed.end, 3))


def _words(tokens: Iterable[Timed]) -> Iterator[Timed]:
    """Tokens joined into words: at a space, and in scripts that write none, at each token."""
    text, start, end = "", 0.0, 0.0
    for token in tokens:
        if text.strip() and (token.text[:1].isspace() or _is_wide(token.text)):
            yield Timed(text.strip(), start, end)
            text = ""
        start = start if text.strip() else token.start
        text, end = text + token.text, token.end
    if text.strip():
        yield Timed(text.strip(), start, end)


def _is_wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(letter) == "W" for letter in text)


# ---- files -----------------------------------------------------------------------------------------------------------


def lrc(lines: Iterable[Timed], words: bool = False) -> str:
    """Lines as LRC, "[mm:ss.xx]text"; with `words` each word has its time too, "<mm:ss.xx>word"."""
    return "\n".join(f"[{_stamp(line.start)}]{_marked(line) if words else line.text}" for line in lines)


def _marked(line: Timed) -> str:
    return " ".join(f"<{_stamp(word.start)}>{word.text}" for word in line.words)


def _stamp(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"

"""The tokens of a planner: text by its tokenizer, audio codes by rule.

A code K is the token first_code + K. A published tokenizer.json lists those 65,535 tokens one by one; they are left out
of the tokenizer that is built, which then reads as fast as one without.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CODE_TOKEN = re.compile(r"<\|audio_code_([0-9]{1,6})\|>")
END, PAD, START, THINK, THINK_END = "<|im_end|>", "<|endoftext|>", "<|im_start|>", "<think>", "</think>"
_NEWLINE, _SPACE, _TAB = "\u010a", "\u0120", "\u0109"  # how a byte-level vocabulary writes them


def code_token(code: int) -> str:
    """The text of an audio code's token."""
    return f"<|audio_code_{code}|>"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Text <-> token ids. `codes` is the number of usable audio codes; the ids from `first_code` on are theirs.

    Raises CheckpointError where the tokenizer lacks a token of the chat form.
    """

    tokenizer: "Tokenizer"
    first_code: int
    codes: int
    place: str = "the tokenizer"  # its file, for messages
    special: tuple[int, ...] = field(init=False)  # ids of the chat form and of other added tokens

    def __post_init__(self):
        object.__setattr__(self, "special", tuple(sorted(self.tokenizer.get_added_tokens_decoder())))
        for token in (END, PAD, START, THINK, THINK_END):
            self.id_of(token)
        if len(self.encode("\n")) != 1:
            raise self._foreign("for a new line")

    def id_of(self, token: str) -> int:
        """The id of a token by its text."""
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise self._foreign(token)
        return number

    def _foreign(self, lacks: str) -> CheckpointError:
        return CheckpointError(
            f"{self.place} has no token {lacks}, expected the tokenizer of a planner; put the tokenizer.json that "
            "belongs to the planner beside it"
        )

    @property
    def end(self) -> int:
        return self.id_of(END)

    @property
    def newline(self) -> int:
        return self.encode("\n")[0]

    @property
    def code_ids(self) -> range:
        """The ids of all usable audio codes."""
        return range(self.first_code, self.first_code + self.codes)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, in which tokens of usable codes and of the chat form count as such; nothing is added."""
        ids, start = [], 0
        for found in CODE_TOKEN.finditer(text):
            if int(found[1]) < self.codes:
                ids += self._encode(text[start : found.start()])
                ids.append(self.first_code + int(found[1]))
                start = found.end()
        return ids + self._encode(text[start:])

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, with the tokens of codes and of the chat form written out."""
        return "".join(self._decoded(list(ids)))

    def _decoded(self, ids: Sequence[int]) -> Iterator[str]:
        start = 0
        for place, number in enumerate(ids):
            if number >= self.first_code:
                yield self.tokenizer.decode(ids[start:place], skip_special_tokens=False)
                yield code_token(number - self.first_code)
                start = place + 1
        yield self.tokenizer.decode(ids[start:], skip_special_tokens=False)

    def first_token(self, text: str) -> tuple[int, str]:
        """The longest beginning of a text that is a single token: its id, and the rest of the text."""
        for end in range(len(text), 0, -1):
            ids = self.encode(text[:end])
            if len(ids) == 1:
                return ids[0], text[end:]
        raise self._foreign(f"with which {text!r} begins")

    # ---- sets of tokens, by their text ---------------------------------------------------------------------------

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {number: piece for piece, number in self.tokenizer.get_vocab().items() if number < self.first_code}

    @cached_property
    def with_newline(self) -> frozenset[int]:
        """Ids of tokens that contain a new line: ".\\n" is one token."""
        return frozenset(number for number, piece in self._pieces.items() if _NEWLINE in piece)

    @cached_property
    def indented(self) -> frozenset[int]:
        """Ids of tokens that begin with a space or a tab."""
        return frozenset(number for number, piece in self._pieces.items() if piece[:1] in (_SPACE, _TAB))

    @cached_property
    def with_backtick(self) -> frozenset[int]:
        """Ids of tokens that contain a backtick, of which code fences are made."""
        return frozenset(number for number, piece in self._pieces.items() if "`" in piece)

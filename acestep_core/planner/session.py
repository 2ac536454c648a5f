"""One answer in the making: the model, the draws of its seed, notes, and how far it is."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from .decoding import Prompt, answer
from .grammar import Writer
from .language_model import LanguageModel
from .sampling import Draws, Sampling
from .song_plan import SongPlan
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Progress:
    """After each token: the phase ("metadata", "codes" or "text"), its tokens so far, of how many where that is known.

    The last one of a request has the `result`.
    """

    phase: str
    tokens: int
    of: int | None = None
    seconds: float = 0.0
    result: SongPlan | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None where the number of tokens, or the rate, is not known."""
        rate = self.tokens_per_second
        return (self.of - self.tokens) / rate if self.of and rate else None

    @property
    def line(self) -> str:
        """Tokens so far, tokens a second, and the time that is left where it is known, for people."""
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left else ""
        of = f"of {self.of} " if self.of else ""
        return f"{self.phase}: {self.tokens} {of}tokens, {self.tokens_per_second:.1f} tokens/s{left}"


class Session:
    """A request's hold on a planner. `load` gives the model when it is needed. `prompts` are kept between the items of
    a batch, which share them.
    """

    def __init__(
        self, load: Callable[[], LanguageModel], words: Vocabulary, sampling: Sampling, seed: int, prompts: dict
    ):
        self.words, self.sampling = words, sampling
        self._load = load
        self.notes: list[str] = []
        self._draws, self._prompts = Draws(seed), prompts

    def note(self, text: str) -> None:
        self.notes.append(text)

    def cut(self, text: str, most: int, name: str) -> str:
        """A text, cut to so many tokens, with a note where that was needed."""
        ids = self.words.encode(text)
        if len(ids) <= most:
            return text
        self.note(
            f"{name}: too long, it makes {len(ids):,} tokens and the planner reads the first {most:,}; shorten it"
        )
        return self.words.decode(ids[:most]).rstrip("\ufffd")

    def written(
        self, phase: str, prompts: Sequence[Sequence[int]], writer: Writer, room: int, of: int | None = None
    ) -> Generator[Progress, None, list[int]]:
        """The tokens of an answer to one prompt, or with guidance to two."""
        started, tokens = time.monotonic(), []
        model = self._load()
        held = [self._prompts.setdefault((phase, place), Prompt(model)) for place in range(len(prompts))]
        pairs = list(zip(held, prompts, strict=True))
        sampling = self.sampling if phase == "codes" else self.sampling.of_text
        for token in answer(model, pairs, writer, room, sampling, self._draws):
            tokens.append(token)
            yield Progress(phase, min(len(tokens), of or len(tokens)), of, time.monotonic() - started)
        return tokens

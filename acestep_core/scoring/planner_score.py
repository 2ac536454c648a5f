"""How well audio codes fit a caption, lyrics and metadata, by a planner that reads the codes (teacher forcing).

Texts: their mean log probability with the codes against that without any. Metadata: how high each token of the value
ranks. Scores are 0..1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from ..planner.language_model import Cache, LanguageModel
from ..planner.metadata import FIELDS, is_instrumental, think_block
from ..planner.prompts import understand_prompt
from ..planner.requests import UnderstandAudio
from ..planner.song_plan import given_of
from ..song import Song

if TYPE_CHECKING:
    from ..planner.planner import Planner
    from ..planner.vocabulary import Vocabulary

RANKS = 10  # a token that is not among so many likeliest ones scores 0
SCALE = 0.1  # of a difference of log probabilities, before the logistic function
WEIGHTS = MappingProxyType({"caption": 0.5, "lyrics": 0.3, "metadata": 0.2})
TEXTS = ("caption", "lyrics")
ROWS_AT_ONCE = 64  # of logits of the whole vocabulary, which are large


@dataclass(frozen=True)
class PlannerScore:
    """Scores by "caption", "lyrics" and the planner's fields; `evidence`: mean log probabilities of each text, with the
    codes and without.
    """

    scores: Mapping[str, float]
    evidence: Mapping[str, tuple[float, float]]

    @property
    def total(self) -> float:
        """The weighted mean of the scores that there are."""
        fields = [value for name, value in self.scores.items() if name not in TEXTS]
        parts = {name: self.scores[name] for name in TEXTS if name in self.scores}
        parts |= {"metadata": sum(fields) / len(fields)} if fields else {}
        whole = sum(WEIGHTS[name] for name in parts)
        return sum(WEIGHTS[name] * value for name, value in parts.items()) / whole if parts else 0.0


def planner_score(
    model: LanguageModel,
    words: "Vocabulary",
    codes: Sequence[int],
    *,
    caption: str | None = None,
    lyrics: str | None = None,
    metadata: Mapping[str, object] = MappingProxyType({}),
) -> PlannerScore:
    """The scores of codes against those of caption, lyrics and metadata (by the planner's names) that are given."""
    texts = {} if caption is None else {"caption": f"{think_block({'caption': caption})}\n"}
    texts |= {"lyrics": f"<think>\n</think>\n# Lyric\n{lyrics}\n"} if lyrics else {}
    values = {name: f"{think_block({name: metadata[name]})}\n" for name in FIELDS if metadata.get(name) is not None}
    values.pop("caption", None)
    with torch.no_grad():
        given = _Reader(model, words, codes, [*texts.values(), *values.values()])
        nothing = _Reader(model, words, (), list(texts.values()))
        evidence = {name: (given.log_probability(text), nothing.log_probability(text)) for name, text in texts.items()}
        ranked = {name: given.recall(text) for name, text in values.items()}
    scores = {name: _logistic((own - none) / SCALE) for name, (own, none) in evidence.items()}
    return PlannerScore(ranked | scores, evidence)


def score_of_song(planner: "Planner", codes: Sequence[int], song: Song, codebook: int = 0) -> PlannerScore:
    """The score of codes against the words that a song has. `codebook`: how many codes their tokenizer has, 0: not
    known. Raises UserError for codes that the planner does not read.
    """
    UnderstandAudio(tuple(codes), codebook).check(planner.words)
    caption, lyrics = song.caption.strip() or None, None if is_instrumental(song.lyrics) else song.lyrics
    metadata = {name: value for name, value in given_of(song).items() if name != "duration"}
    return planner_score(planner.model, planner.words, codes, caption=caption, lyrics=lyrics, metadata=metadata)


def _logistic(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).sigmoid())


class _Reader:
    """The prompt of some codes in a cache, behind which targets are read."""

    def __init__(self, model: LanguageModel, words: "Vocabulary", codes: Sequence[int], targets: Sequence[str]):
        self._model, self._words = model, words
        prompt = words.encode(understand_prompt(codes))
        room = max((len(words.encode(text)) for text in targets), default=0)
        self._cache, self._length = Cache(model, len(prompt) + room), len(prompt)
        self._last = model.prefill(prompt, self._cache)

    def log_probability(self, text: str) -> float:
        """The mean log probability of a text's tokens."""
        means = [part.log_softmax(-1).gather(1, ids[:, None]).flatten() for part, ids in self._logits(text)]
        return float(torch.cat(means).mean())

    def recall(self, text: str) -> float:
        """The mean over a text's tokens of 1 for the likeliest, 0.9 for the second, and 0 after the tenth."""
        ranks = [(part > part.gather(1, ids[:, None])).sum(1) for part, ids in self._logits(text)]
        return float((1 - torch.cat(ranks).double() / RANKS).clamp(min=0).mean())

    def _logits(self, text: str):
        """(logits [n, V], ids [n]) of a text's tokens, some at once."""
        ids = torch.tensor(self._words.encode(text), device=self._model.device)
        self._cache.rewind(self._length)
        states = torch.cat([self._last, self._model.states(ids[:-1], self._cache)])
        every = range(len(self._model.embedding))
        for rows, own in zip(states.split(ROWS_AT_ONCE), ids.split(ROWS_AT_ONCE), strict=True):
            yield self._model.logits(rows, every).float(), own

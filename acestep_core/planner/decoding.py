"""Answers, token by token: a prompt's caches, the tokens that may come, and the choice among them.

Tokens that must come are fed together, without a pass for each. A prompt that several answers follow is read once.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch

from ..errors import CheckpointError
from .grammar import Allowed, Writer
from .language_model import Cache, LanguageModel
from .sampling import Draws, Sampling, drawn, guided, penalised, probabilities


class Prompt:
    """A prompt in a model's cache, which several answers can follow: it is read once."""

    def __init__(self, model: LanguageModel):
        self.model = model
        self._ids: list[int] = []
        self._hidden: torch.Tensor | None = None
        self._cache: Cache | None = None

    def begin(self, ids: Sequence[int], room: int) -> tuple[Cache, torch.Tensor]:
        """The cache of a prompt with room for more tokens, and the hidden state [1, D] of its last.

        Another prompt that only begins alike is read whole: read in other parts, its numbers would be others by a
        rounding, and a seed would not mean the same answer. Raises CheckpointError where the weights give no numbers.
        """
        if self._cache is None or self._cache.size < len(ids) + room:
            self._cache, self._hidden = None, None  # released before the larger one is there
            self._cache = Cache(self.model, len(ids) + room)
        if self._hidden is None or self._ids != list(ids):
            self._cache.rewind(0)
            self._ids, self._hidden = list(ids), self.model.prefill(ids, self._cache)
            if not bool(self._hidden.isfinite().all()):
                raise CheckpointError(
                    f"{self.model.place}: this planner gave values that are not finite (NaN or infinite); its weights "
                    "are damaged, or too large for its dtype: get the file again, or choose fp32"
                )
        self._cache.rewind(len(ids))
        return self._cache, self._hidden


def answer(
    model: LanguageModel,
    prompts: Sequence[tuple[Prompt, Sequence[int]]],
    writer: Writer,
    room: int,
    sampling: Sampling,
    draws: Draws,
) -> Iterator[int]:
    """The tokens that a writer allows and a model chooses, one by one.

    `prompts`: one, or for guidance the conditional and the unconditional one. Stop iterating to cancel.
    """
    started = [prompt.begin(ids, room) for prompt, ids in prompts]
    caches, hidden = [cache for cache, _ in started], torch.cat([state for _, state in started])
    pending, written = [], []
    allowed = next(writer, None)
    while allowed is not None:
        token = allowed.forced
        if token is None:
            if pending:
                hidden, pending = _fed(model, pending, caches), []
            token = _chosen(model, hidden, allowed, sampling, draws, written)
        if not allowed.asks:
            pending.append(token)
            written.append(token)
            yield token
        allowed = _sent(writer, token)


def _sent(writer: Writer, token: int) -> Allowed | None:
    try:
        return writer.send(token)
    except StopIteration:
        return None


def _fed(model: LanguageModel, tokens: Sequence[int], caches: Sequence[Cache]) -> torch.Tensor:
    if len(tokens) == 1:
        return model.step(torch.tensor([*tokens] * len(caches), device=model.device), caches)
    return torch.cat([model.prefill(tokens, cache) for cache in caches])


def _chosen(model: LanguageModel, hidden, allowed: Allowed, sampling: Sampling, draws: Draws, written) -> int:
    logits = allowed_logits(model, hidden, allowed)
    choice = logits[0]
    if sampling.repetition_penalty != 1 and not allowed.asks:
        choice = penalised(choice, columns_of(written, allowed).to(choice.device), sampling.repetition_penalty)
    if len(logits) == 2:
        choice = guided(choice, logits[1], sampling.guidance)
    forbidden = _forbidden(allowed)
    if len(forbidden):
        choice = choice.index_fill(0, forbidden.to(choice.device), float("-inf"))
    if allowed.asks or allowed.greedy or sampling.temperature == 0:
        return _id_at(allowed, int(choice.argmax()))
    shares = probabilities(choice, sampling)
    return _id_at(allowed, int(drawn(shares, draws.numbers(1)[0].to(shares.device))))


def allowed_logits(model: LanguageModel, hidden: torch.Tensor, allowed: Allowed) -> torch.Tensor:
    """Logits [N, columns] in float32: those of the rows, the forbidden ones too, then those of the ids."""
    parts = [model.logits(hidden, allowed.rows)] if allowed.rows else []
    if allowed.ids:
        parts.append(model.logits(hidden, torch.tensor(allowed.ids, device=hidden.device)))
    return torch.cat(parts, dim=-1).float()


def _id_at(allowed: Allowed, column: int) -> int:
    rows = allowed.rows
    return rows.start + column if column < len(rows) else allowed.ids[column - len(rows)]


def columns_of(tokens: Sequence[int], allowed: Allowed) -> torch.Tensor:
    """The columns of `allowed_logits` that some tokens have, each once."""
    rows, found = allowed.rows, set()
    for token in set(tokens):
        if token in rows:
            found.add(token - rows.start)
        elif token in allowed.ids:
            found.add(len(rows) + allowed.ids.index(token))
    return torch.tensor(sorted(found), dtype=torch.long)


@lru_cache(16)
def _forbidden(allowed: Allowed) -> torch.Tensor:
    rows = allowed.rows
    return torch.tensor(sorted(one - rows.start for one in allowed.forbidden if one in rows), dtype=torch.long)

"""From logits to a token: guidance, repetition penalty, filters, and draws that depend on nothing but the seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..errors import UserError

TEMPERATURE, GUIDANCE, TOP_P = 0.85, 2.0, 0.9
_OFF = -math.inf
_LIKELIEST = 1024


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Raises UserError.

    `temperature` 0 takes the likeliest. `top_k` 0 and `top_p` 1 are off. `guidance` 1 is off; it acts on codes alone.
    `filters_first`: top-k and top-p before the temperature, as some implementations have it; fewer tokens pass them
    after it. `text_temperature`: of words and values, where it is another than that of codes.
    """

    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    top_k: int = 0
    repetition_penalty: float = 1.0
    guidance: float = GUIDANCE
    filters_first: bool = False
    text_temperature: float | None = None

    def __post_init__(self):
        _check("temperature", self.temperature, 0, 10)
        _check("top_p", self.top_p, 0, 1)
        _check("top_k", self.top_k, 0, 2**31)
        _check("repetition penalty", self.repetition_penalty, 0.1, 10)
        _check("guidance", self.guidance, 1, 30)
        if self.text_temperature is not None:
            _check("text temperature", self.text_temperature, 0, 10)

    @property
    def of_text(self) -> "Sampling":
        """How words and values are drawn."""
        if self.text_temperature is None:
            return self
        return replace(self, temperature=self.text_temperature, text_temperature=None)

    def with_given(self, given: Mapping[str, object]) -> "Sampling":
        """These values in the place of one's own; a temperature holds for words, values and codes. Raises UserError."""
        given = {name: value for name, value in given.items() if value is not None}
        return replace(self, **({"text_temperature": None} if "temperature" in given else {}) | given)


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"planner: {name}: got {value!r}, expected a number from {low:g} to {high:g}")


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Logits [..., N] of classifier-free guidance: u + scale · (c - u), in float32."""
    conditional, unconditional = conditional.float(), unconditional.float()
    return unconditional + scale * (conditional - unconditional)


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits [N] with those of the columns `seen` pushed down (CTRL, Keskar et al. 2019)."""
    values = logits[seen]
    return logits.index_copy(0, seen, torch.where(values > 0, values / penalty, values * penalty))


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits [..., N] -> probabilities [..., N] after temperature, top-k and top-p; temperature 0 gives one token."""
    logits = logits.float()
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    if sampling.filters_first:
        return torch.softmax(filtered(logits, sampling) / sampling.temperature, -1)
    return torch.softmax(filtered(logits / sampling.temperature, sampling), -1)


def filtered(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits [..., N] with -inf for what top-k and top-p leave out. Top-p keeps the token that crosses it; tokens that
    are as likely as the last that is kept are kept as well.
    """
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, _OFF)
    if sampling.top_p < 1:
        logits = logits.masked_fill(logits < _least_of_top_p(logits, sampling.top_p), _OFF)
    return logits


def _least_of_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest logit [..., 1] that top-p keeps. A CPU sorts the likeliest first, which mostly are enough."""
    total = logits.logsumexp(-1, keepdim=True)
    if logits.device.type == "cpu" and logits.shape[-1] > _LIKELIEST:
        ordered = logits.topk(_LIKELIEST, dim=-1).values
        sums = (ordered - total).exp().cumsum(-1)
        if bool((sums[..., -1] > top_p).all()):
            return _crossing(ordered, sums, top_p)
    ordered = logits.sort(dim=-1, descending=True).values
    return _crossing(ordered, (ordered - total).exp().cumsum(-1), top_p)


def _crossing(ordered: torch.Tensor, sums: torch.Tensor, top_p: float) -> torch.Tensor:
    place = (sums <= top_p).sum(-1, keepdim=True).clamp(max=ordered.shape[-1] - 1)
    return ordered.gather(-1, place)


def drawn(shares: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """The column [...] that a uniform number [...] in 0..1 picks of probabilities [..., N], by their running sum."""
    sums = shares.double().cumsum(-1)
    picked = torch.searchsorted(sums, (number.to(sums) * sums[..., -1]).unsqueeze(-1), right=True).squeeze(-1)
    # A number just below 1 may pick a column behind the last that has a share.
    last = shares.shape[-1] - 1 - (shares.flip(-1) > 0).to(torch.uint8).argmax(-1)
    return torch.minimum(picked, last)


class Draws:
    """Uniform numbers of one item, from its seed alone; made on the CPU, so that a seed means the same everywhere."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)

    def numbers(self, count: int) -> torch.Tensor:
        """The next `count` numbers [count], float64."""
        return torch.rand(count, generator=self._generator, dtype=torch.float64)

"""Crops of one length as tensors of one shape for all batches of a training: texts are padded to a common length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .items import Drawn

TEXT_MULTIPLE = 32  # of the padded length: fused attention wants rows of its mask aligned


@dataclass(frozen=True, eq=False)
class Crops:
    """B crops on the training's device. Music and noise are float32, the others in the base's dtype."""

    music: torch.Tensor  # [B, C, T]
    noise: torch.Tensor  # [B, C, T]
    t: torch.Tensor  # [B] float32
    states: torch.Tensor  # [B, L, D], zeros behind a text's end
    mask: torch.Tensor  # [B, 1, 1, L]: 0 for a text's own states, -inf behind its end; added to attention's scores
    context: torch.Tensor  # [B, 2C, T]

    def __len__(self) -> int:
        return len(self.music)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (getattr(self, field.name) for field in fields(self))

    def empty_like(self) -> "Crops":
        return Crops(*map(torch.empty_like, self))

    def copy_(self, other: "Crops") -> None:
        """Takes over the numbers of crops of the same shape."""
        for own, given in zip(self, other, strict=True):
            own.copy_(given)


def padded_length(states: Sequence[torch.Tensor]) -> int:
    """The length to which texts [1, L, D] are padded: the longest, rounded up."""
    return -(-max(text.shape[1] for text in states) // TEXT_MULTIPLE) * TEXT_MULTIPLE


def crops_of(items: "Sequence[Drawn]", length: int, device: torch.device, dtype: torch.dtype) -> Crops:
    """Items of one length of music, texts padded to `length`, on their way to the device: nothing waits for it."""

    def moved(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        return torch.cat([_sent(tensor, device).to(dtype) for tensor in tensors])

    lengths = [item.condition.states.shape[1] for item in items]
    states = moved([_padded(item.condition.states, length) for item in items], dtype)
    mask = torch.zeros(len(items), 1, 1, length)
    for row, own in zip(mask, lengths, strict=True):
        row[..., own:] = -torch.inf
    return Crops(
        moved([item.music for item in items], torch.float32),
        moved([item.noise for item in items], torch.float32),
        _sent(torch.tensor([item.t for item in items]), device),
        states,
        _sent(mask, device).to(dtype),
        moved([item.condition.context for item in items], dtype),
    )


def _padded(states: torch.Tensor, length: int) -> torch.Tensor:
    return torch.nn.functional.pad(states, (0, 0, 0, length - states.shape[1]))


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    # Only from pinned memory does a copy to a GPU run beside the computation that is under way.
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

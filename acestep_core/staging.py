"""Weights from main memory or mapped files onto a GPU, through pinned memory: while a piece is on its way, the next is
read, by many threads, and the GPU computes. A plain copy waits for each, and one thread fills the driver's own buffers.
"""

import logging

import torch

logger = logging.getLogger(__name__)

PIECE_BYTES = 32 << 20
PIECES = 3  # one read, one on its way, one between


class Staging:
    """A ring of pinned pieces before one GPU, for one thread."""

    def __init__(self, device: torch.device):
        self._device, self._pieces, self._next = device, _pieces(), 0

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device; what comes next there waits for it, the caller does not."""
        if not self._pieces or type(tensor) not in (torch.Tensor, torch.nn.Parameter):  # one in 8 bits is more than one
            return tensor.to(self._device)
        target = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        parts = (whole.detach().flatten().view(torch.uint8).split(PIECE_BYTES) for whole in (tensor, target))
        for source, place in zip(*parts):
            self._pieces[self._next].send(source, place)
            self._next = (self._next + 1) % len(self._pieces)
        return target


class _Piece:
    def __init__(self):
        self._memory = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=True)
        self._sent = torch.cuda.Event()

    def send(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Bytes [n] to bytes [n] of a GPU; waits only for what it sent before."""
        self._sent.synchronize()
        target.copy_(self._memory[: len(source)].copy_(source), non_blocking=True)
        self._sent.record(torch.cuda.current_stream(target.device))


def _pieces() -> list[_Piece]:
    """None where the system pins no more memory."""
    try:
        return [_Piece() for _ in range(PIECES)]
    except RuntimeError as exc:
        logger.info("weights are copied without pinned memory: %s", exc)
        return []

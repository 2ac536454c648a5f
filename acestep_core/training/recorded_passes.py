"""Forward and backward passes of a training, recorded for each shape of their crops and replayed.

A GPU is faster than Python launches the thousands of small kernels of a pass. A replay runs the kernels of the pass, so
gradients are the same whether a pass is recorded or not. `CudaGraphs` is the only part that needs a GPU.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from ..errors import is_out_of_memory
from ..models.cuda_graph import LEAST_FREE_BYTES, addresses, are_launched, beside, can_record, capture

if TYPE_CHECKING:
    from .crops import Crops

logger = logging.getLogger(__name__)

SEEN_BEFORE = 1  # passes of a shape before the one that is recorded: a shape may never come again
MOST_RECORDINGS = 16  # further shapes stay unrecorded: each takes memory for its kernels

Run = Callable[[], torch.Tensor]  # adds gradients -> the loss


class Graphs(Protocol):
    """What records and replays on a device."""

    def has_room(self, size: float) -> bool:
        """Whether so many bytes are free."""

    def launch(self, run: Run) -> torch.Tensor:
        """Runs the pass as it will be recorded, so that all it needs once is made. -> the loss"""

    def record(self, run: Run) -> tuple[Callable[[], None], torch.Tensor]:
        """Records the pass, which computes nothing yet. -> its replay, and the loss that each replay overwrites

        Raises RuntimeError where it cannot be recorded.
        """


class CudaGraphs:
    """Recordings of one network on a GPU; they share the memory of their activations, as they never run together."""

    def __init__(self, device: torch.device):
        self._device, self._pool = device, torch.cuda.graph_pool_handle()

    def has_room(self, size: float) -> bool:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0] >= size + LEAST_FREE_BYTES

    def launch(self, run: Run) -> torch.Tensor:
        with beside(self._device):
            loss = run()
        torch.cuda.empty_cache()  # the recording reserves memory of its own
        return loss

    def record(self, run: Run) -> tuple[Callable[[], None], torch.Tensor]:
        graph, loss = capture(self._device, run, self._pool)
        return graph.replay, loss


def graphs_for(device: torch.device, network: torch.nn.Module) -> Graphs | None:
    """None where passes of the network cannot be recorded."""
    return CudaGraphs(device) if can_record(device, network) else None


@dataclass(frozen=True, eq=False)
class _Recording:
    """`run` is held for the tensors that it made and the recording reads."""

    crops: "Crops"
    run: Run
    replay: Callable[[], None]
    loss: torch.Tensor


class RecordedPasses:
    """Adds the gradients of crops to a network's parameters, whose `.grad` stay the same tensors.

    `prepare(crops)` makes the pass of crops; `needed(crops)` is the bytes of its activations.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        prepare: Callable[["Crops"], Run],
        needed: Callable[["Crops"], float],
        graphs: Graphs,
    ):
        self._network, self._prepare, self._needed, self._graphs = network, prepare, needed, graphs
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._records = True
        self._recordings: dict[tuple, _Recording] = {}
        self._seen: Counter[tuple] = Counter()
        self._reserved: float = 0.0  # bytes, shared by the recordings
        self._addresses: list[int] = []  # of the weights that the recordings read

    @property
    def count(self) -> int:
        """The number of recordings."""
        return len(self._recordings)

    def release(self) -> None:
        """Gives back the memory of all recordings; they are made anew when their shapes come again."""
        self._recordings.clear()
        self._seen.clear()
        self._reserved = 0.0

    def stop(self, reason: object) -> None:
        """Records nothing from now on; passes stay the same, but are launched one kernel after another."""
        self.release()
        self._records = False
        logger.warning("training steps are not recorded from now on, which may be slower: %s", reason)

    def add(self, crops: "Crops") -> torch.Tensor:
        """Adds the gradients of crops -> the loss, a scalar on the device.

        Raises RuntimeError where memory runs out in a pass; the gradients are then worthless.
        """
        self._attach()
        if not self._records or are_launched():
            return self._prepare(crops)()
        if self._recordings and addresses(self._network) != self._addresses:  # a host has moved the weights
            self.release()
        shape = tuple(crops.music.shape)
        if shape in self._recordings:
            return self._replayed(self._recordings[shape], crops)
        self._seen[shape] += 1
        if self._seen[shape] == SEEN_BEFORE + 1 and self._fits(crops):
            return self._recorded(shape, crops)
        return self._prepare(crops)()

    def _attach(self) -> None:
        """Makes the recordings' gradients those of the parameters again, where an optimiser has dropped them."""
        for parameter, own in zip(self._parameters, self._gradients, strict=True):
            if parameter.grad is not own:
                own.zero_() if parameter.grad is None else own.copy_(parameter.grad)
                parameter.grad = own

    def _fits(self, crops: "Crops") -> bool:
        more = max(self._needed(crops) - self._reserved, 0.0)
        return len(self._recordings) < MOST_RECORDINGS and self._graphs.has_room(more)

    def _recorded(self, shape: tuple, crops: "Crops") -> torch.Tensor:
        """Records the pass of this shape after running it."""
        own = crops.empty_like()
        own.copy_(crops)
        run = self._prepare(own)
        made = self._graphs.launch(run)
        try:
            self._recordings[shape] = _Recording(own, run, *self._graphs.record(run))
        except RuntimeError as exc:
            self.stop("out of memory" if is_out_of_memory(exc) else exc)
            return made
        self._reserved = max(self._reserved, self._needed(crops))
        self._addresses = addresses(self._network)
        return made

    def _replayed(self, recording: _Recording, crops: "Crops") -> torch.Tensor:
        recording.crops.copy_(crops)
        recording.replay()
        return recording.loss.clone()  # the next replay overwrites it

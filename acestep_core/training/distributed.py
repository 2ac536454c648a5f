"""Processes that teach one adapter together, as `accelerate launch` starts them: each learns from some items of a step.

Their gradients are added up, so the step is the one that a single process would have made of all items.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import PartialState


class ProcessGroup:
    """This process among those that were started together; alone where none were."""

    def __init__(self, state: "PartialState | None" = None):
        self._state = state
        self.size: int = state.num_processes if state else 1
        self.index: int = state.process_index if state else 0

    @staticmethod
    def of_this_process(cpu: bool = False) -> "ProcessGroup":
        """Met by the environment that a launcher sets."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return ProcessGroup()
        from accelerate import PartialState

        return ProcessGroup(PartialState(cpu=cpu))

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes and tells."""
        return self.index == 0

    @property
    def device(self) -> torch.device | None:
        """Its own; None where the process is alone and may choose."""
        return self._state and self._state.device

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Each tensor becomes its sum over all processes, in place; all travel as one."""
        if self.size == 1:
            return
        from accelerate.utils import reduce

        summed = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "sum")
        for tensor, part in zip(tensors, summed.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process; all ask at once."""
        told = torch.tensor([float(flag)], device=self.device or "cpu")
        self.add_up([told])
        return bool(told)

    def part(self) -> None:
        """To be called at the end, when nobody waits for anybody any longer."""
        if self._state:
            self._state.wait_for_everyone()
            self._state.destroy_process_group()

"""Processes that train one adapter together, started by `accelerate launch` or `torchrun`: each computes some items of
a step.

Their gradients are summed, so the step equals that of a single process with all items.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import UserError

if TYPE_CHECKING:
    from accelerate import PartialState

# Set by accelerate's launcher for several processes, of which it starts one where it knows of no GPUs.
_ALONE = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"}


class ProcessGroup:
    """This process and those that were started with it; a group of one where there are none."""

    def __init__(self, state: "PartialState | None" = None):
        self._state = state
        self.size: int = state.num_processes if state else 1
        self.index: int = state.process_index if state else 0

    @staticmethod
    def of_this_process(cpu: bool = False) -> "ProcessGroup":
        """The group that the launcher's environment variables name. Raises UserError where they name half of one."""
        if "WORLD_SIZE" not in os.environ and os.environ.keys() >= _ALONE:
            raise UserError(
                "accelerate launch: started one process alone, as it does without --multi_gpu; give that, or on CPUs "
                "use torchrun (web/docs/guides/deployment.md)"
            )
        if (size := int(os.environ.get("WORLD_SIZE", "1"))) < 2:
            return ProcessGroup()
        from accelerate import PartialState

        state = PartialState(cpu=cpu)
        if state.num_processes != size:
            raise UserError(f"WORLD_SIZE: got {size} processes, which no GPU connects; give --device cpu too")
        return ProcessGroup(state)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and the notes."""
        return self.index == 0

    @property
    def device(self) -> torch.device | None:
        """This process's device; None in a group of one, which may use any."""
        return self._state and self._state.device

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over all processes, in one transfer."""
        if self.size == 1:
            return
        from accelerate.utils import reduce

        summed = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "sum")
        for tensor, part in zip(tensors, summed.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All processes must call it at the same point."""
        flags = torch.tensor([float(flag)], device=self.device or "cpu")
        self.sum([flags])
        return bool(flags)

    def close(self) -> None:
        """Waits for all processes and ends the group; call it last."""
        if self._state:
            self._state.wait_for_everyone()
            self._state.destroy_process_group()

"""Forward passes of a stage, recorded once as a CUDA graph and replayed where a GPU is faster than Python launches.

That is so with short songs on large GPUs and with adapters, which launch much for little. A replay runs the kernels
that a pass runs, so the numbers are the same to the bit.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ..nn.quantise import stored
from ..nn.streamed_linear import StreamedLinear
from .velocity import Velocity

logger = logging.getLogger(__name__)

IDLE_SHARE = 0.25  # of the time a pass takes to launch: a GPU that is done so soon after it has been waiting
LEAST_REPLAYS = 2  # as long as recording takes
LEAST_FREE_BYTES = 1 << 30  # a recording keeps the memory of its pass to itself

Velocities = torch.Tensor | tuple[torch.Tensor, ...]
_launches = ContextVar("launches", default=False)  # every pass, recorded or not


@contextmanager
def launched() -> Iterator[None]:
    """Passes are launched as if nothing were ever recorded: what counts operations sees none in a replay."""
    before = _launches.set(True)
    try:
        yield
    finally:
        _launches.reset(before)


def with_cuda_graph(velocity: Velocity, passes: int) -> "Velocity | CudaGraphVelocity":
    """The velocity of a stage of so many passes, which records itself where that will pay."""
    on_nvidia = velocity.device.type == "cuda" and torch.version.hip is None
    fetches = any(isinstance(module, StreamedLinear) for module in velocity.transformer.modules())
    return CudaGraphVelocity(velocity, passes) if on_nvidia and not fetches else velocity


class CudaGraphVelocity:
    """velocity(latents, t) and its kin. The first pass of each kind is made as ever, the second timed too."""

    def __init__(self, velocity: Velocity, passes: int):
        self.device = velocity.device
        self._velocity, self._left = velocity, passes
        self._kinds: dict[tuple, _Kind] = {}

    def __call__(self, latents: torch.Tensor, t: float) -> torch.Tensor:
        return self._pass(self._velocity, latents, t)

    def null(self, latents: torch.Tensor, t: float) -> torch.Tensor:
        return self._pass(self._velocity.null, latents, t)

    def with_null(self, latents: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pass(self._velocity.with_null, latents, t)

    def _pass(self, look: Callable[..., Velocities], latents: torch.Tensor, t: float) -> Velocities:
        if _launches.get():
            return look(latents, t)
        key = getattr(look, "__name__", ""), latents.shape
        if key not in self._kinds:
            self._kinds[key] = _Kind(look, self._velocity)
        made = self._kinds[key].run(latents, t, self._left)
        self._left -= 1
        return made


class _Kind:
    """Passes of one kind and shape."""

    def __init__(self, look: Callable[..., Velocities], velocity: Velocity):
        self._look, self._transformer, self._device = look, velocity.transformer, velocity.device
        self._made = 0
        self._waits = False  # whether the GPU does, for what is launched
        self._graph: torch.cuda.CUDAGraph | None = None
        self._velocities: Velocities | None = None  # what it gives

    def run(self, latents: torch.Tensor, t: float, left: int) -> Velocities:
        if self._graph is None and self._waits and left >= LEAST_REPLAYS:
            self._record(latents)
        if self._graph is not None and self._places() == self._recorded:
            return self._replay(latents, t)
        self._graph = self._velocities = None  # with the memory that only they need
        self._made += 1
        if self._made != 2:  # the first one makes what later ones find, and its time tells nothing
            return self._look(latents, t)
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        made = self._look(latents, t)
        launched = time.perf_counter()
        torch.cuda.synchronize(self._device)
        self._waits = time.perf_counter() - launched < IDLE_SHARE * (launched - start)
        return made

    def _record(self, latents: torch.Tensor) -> None:
        self._waits = False  # it is tried once
        if torch.cuda.mem_get_info(self._device)[0] < LEAST_FREE_BYTES:
            return
        self._latents, self._t = torch.empty_like(latents), torch.ones(1, device=self._device)
        graph, side = torch.cuda.CUDAGraph(), _side_stream(self._device)
        draws = torch.cuda.default_generators[self._latents.get_device()]
        as_before = draws.clone_state()
        here = torch.cuda.current_stream(self._device)
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    self._velocities = self._look(self._latents, self._t)
                finally:
                    graph.capture_end()
            self._graph, self._recorded = graph, self._places()
        except RuntimeError as exc:  # what cannot be recorded, an adapter of its own kind say, is launched as ever
            logger.info("steps are not recorded: %s", exc)
            draws.graphsafe_set_state(as_before)  # a recording that fails never lets go of it
        here.wait_stream(side)

    def _places(self) -> list[int]:
        """Where the weights lie; a host that makes room for something else may have moved them."""
        weights = (*self._transformer.parameters(), *self._transformer.buffers())
        return [tensor.data_ptr() for weight in weights for tensor in stored(weight)]

    def _replay(self, latents: torch.Tensor, t: float) -> Velocities:
        self._latents.copy_(latents)
        self._t.fill_(t)
        self._graph.replay()
        made = self._velocities  # of which the next replay makes other ones
        return made.clone() if isinstance(made, torch.Tensor) else tuple(part.clone() for part in made)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # One for all: matrix products keep a workspace for each stream that they ever ran in.
    return torch.cuda.Stream(device)

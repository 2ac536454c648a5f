"""Forward passes of a stage, recorded once as a CUDA graph and replayed, if the GPU waits for Python's launches.

That is the case for short songs on large GPUs, and with adapters, which launch many small kernels. A replay runs the
kernels of a pass, so the numbers are the same to the bit.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from ..nn.quantise import stored
from ..nn.streamed_linear import StreamedLinear
from .velocity import Velocity

logger = logging.getLogger(__name__)

IDLE_SHARE = 0.25  # of a pass's launch time: a GPU that finishes this soon after the launch was waiting for it
LEAST_REPLAYS = 2  # recording takes as long as this many passes
LEAST_FREE_BYTES = 1 << 30  # a recording reserves the memory of its pass

_Made = TypeVar("_Made")
Velocities = torch.Tensor | tuple[torch.Tensor, ...]
_launches = ContextVar("launches", default=False)  # whether every pass is launched and none replayed


@contextmanager
def launched() -> Iterator[None]:
    """Launches every pass without a recording, for counters of operations, which see none in a replay."""
    before = _launches.set(True)
    try:
        yield
    finally:
        _launches.reset(before)


def with_cuda_graph(velocity: Velocity, passes: int) -> "Velocity | CudaGraphVelocity":
    """The velocity of a stage of `passes` passes, recorded as a CUDA graph where that is faster."""
    return CudaGraphVelocity(velocity, passes) if can_record(velocity.device, velocity.transformer) else velocity


class CudaGraphVelocity:
    """velocity(latents, t) and its variants. The first pass of each kind is launched, the second launched and timed."""

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

    def _pass(self, forward: Callable[..., Velocities], latents: torch.Tensor, t: float) -> Velocities:
        if _launches.get():
            return forward(latents, t)
        key = getattr(forward, "__name__", ""), latents.shape
        if key not in self._kinds:
            self._kinds[key] = _Kind(forward, self._velocity)
        made = self._kinds[key].run(latents, t, self._left)
        self._left -= 1
        return made


class _Kind:
    """Passes of one kind (conditional, unconditional, both) and shape."""

    def __init__(self, forward: Callable[..., Velocities], velocity: Velocity):
        self._forward, self._transformer, self._device = forward, velocity.transformer, velocity.device
        self._made = 0
        self._waits = False  # whether the GPU waits for launches
        self._graph: torch.cuda.CUDAGraph | None = None
        self._velocities: Velocities | None = None  # the recording's output

    def run(self, latents: torch.Tensor, t: float, left: int) -> Velocities:
        if self._graph is None and self._waits and left >= LEAST_REPLAYS:
            self._record(latents)
        if self._graph is not None and addresses(self._transformer) == self._recorded:
            return self._replay(latents, t)
        self._graph = self._velocities = None  # releases the memory that the recording reserves
        self._made += 1
        if self._made != 2:  # the first pass fills caches, so its time means nothing
            return self._forward(latents, t)
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        made = self._forward(latents, t)
        launched = time.perf_counter()
        torch.cuda.synchronize(self._device)
        self._waits = time.perf_counter() - launched < IDLE_SHARE * (launched - start)
        return made

    def _record(self, latents: torch.Tensor) -> None:
        self._waits = False  # recording is tried once
        if torch.cuda.mem_get_info(self._device)[0] < LEAST_FREE_BYTES:
            return
        self._latents, self._t = torch.empty_like(latents), torch.ones(1, device=self._device)
        try:
            self._graph, self._velocities = capture(self._device, lambda: self._forward(self._latents, self._t))
            self._recorded = addresses(self._transformer)
        except RuntimeError as exc:  # a pass that cannot be recorded, with an unusual adapter say, stays launched
            logger.info("steps are not recorded: %s", exc)

    def _replay(self, latents: torch.Tensor, t: float) -> Velocities:
        self._latents.copy_(latents)
        self._t.fill_(t)
        self._graph.replay()
        made = self._velocities  # the next replay overwrites them
        return made.clone() if isinstance(made, torch.Tensor) else tuple(part.clone() for part in made)


def can_record(device: torch.device, network: torch.nn.Module) -> bool:
    """Whether passes of a network can be recorded: on NVIDIA's GPUs, with all weights there."""
    on_nvidia = device.type == "cuda" and torch.version.hip is None
    return on_nvidia and not any(isinstance(module, StreamedLinear) for module in network.modules())


def are_launched() -> bool:
    """Whether this is within `launched`, where nothing is recorded or replayed."""
    return _launches.get()


def addresses(network: torch.nn.Module) -> list[int]:
    """Of its weights, which a host may move to make room for other models: recordings read the old places."""
    weights = (*network.parameters(), *network.buffers())
    return [tensor.data_ptr() for weight in weights for tensor in stored(weight)]


def capture(device: torch.device, run: Callable[[], _Made], pool=None) -> tuple[torch.cuda.CUDAGraph, _Made]:
    """Records what `run` launches, without computing it -> the graph, and the tensors that a replay computes anew.

    `pool`: memory shared with other recordings that are never replayed at the same time. Raises RuntimeError where
    something in it cannot be recorded.
    """
    graph, draws = torch.cuda.CUDAGraph(), torch.cuda.default_generators[torch.empty(0, device=device).get_device()]
    as_before = draws.clone_state()
    try:
        with beside(device):
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                made = run()
            finally:
                graph.capture_end()
    except RuntimeError:
        draws.graphsafe_set_state(as_before)  # else the generator would stay in its state of the failed recording
        raise
    return graph, made


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """On the stream of recordings, in order with what is launched before and afterwards."""
    side, here = _side_stream(device), torch.cuda.current_stream(device)
    side.wait_stream(here)
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        here.wait_stream(side)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # One stream for all recordings: matrix products keep a workspace for each stream that they ran in.
    return torch.cuda.Stream(device)

"""One side of a comparison: its computation, and the seconds, operations and memory that this takes.

`Apart` holds it in a process of its own, so that neither side's allocator serves the other.
"""

import multiprocessing
import time
from collections.abc import Callable

import numpy
import torch

from ..errors import UserError
from ..memory.malloc import keep_freed_memory, return_freed_memory
from ..models.cuda_graph import launched
from ..system.torchaudio_import import settle_torchaudio
from .resident import forget_most_resident, most_resident_bytes

OURS, THEIRS = "ours", "theirs"
MODES = {"inference_mode": torch.inference_mode, "no_grad": torch.no_grad}
MATRIX, MATRIX_ON_GPU, TAPS, PRODUCTS = 4096, 8192, 7, 3
_PATIENCE_S = 20  # for a process to end after its pipe is closed

Run = Callable[[], torch.Tensor]


class Contender:
    """The computation that `make(side=...)` returns, run under a gradient mode."""

    def __init__(self, make: Callable[..., Run], side: str, device: torch.device, dtype: torch.dtype, mode: str):
        _hush()
        self.device, self.dtype, self.mode = device, dtype, MODES[mode]
        others = self._reserved()
        with self.mode():
            self.run = make(side=side)
        self._held = self._reserved() - others
        return_freed_memory()  # the memory used to make random weights is not measured

    def counted(self) -> tuple[numpy.ndarray, int]:
        """The result of `first`, and its FLOPs: two for each multiplication in a product or convolution."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False, custom_mapping=flop_counts())
        with launched(), counter:
            made = self.first()
        return made, counter.get_total_flops()

    def first(self) -> numpy.ndarray:
        """The result; memory is measured from here on."""
        with self.mode():
            made = self.run()
        if self.device.type != "cuda":
            forget_most_resident()
        return made.float().cpu().numpy()

    def seconds(self) -> float:
        with self.mode():
            start = time.perf_counter()
            float(self.run().flatten()[-1])  # a number on the CPU is there only when the device is done
            return time.perf_counter() - start

    def memory_bytes(self) -> int | None:
        """The peak since `first`, or of a GPU in one more run; None where the system does not report it."""
        if self.device.type != "cuda":
            return most_resident_bytes()
        before = self._reserved()  # by the other side too, where both are in one process
        torch.cuda.reset_peak_memory_stats(self.device)
        with self.mode():
            self.run()
        return torch.cuda.max_memory_reserved(self.device) - before + self._held

    def _reserved(self) -> int:
        """Bytes reserved on a GPU: recorded CUDA graphs reserve memory that does not count as allocated."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(self.device)

    def flop_rate(self) -> float:
        """FLOPs a second that this machine reaches: the higher rate of a large matrix product and of an equally large
        convolution, because libraries are not equally fast at both on every processor.
        """
        size = MATRIX_ON_GPU if self.device.type == "cuda" else MATRIX
        channels, at = size // TAPS, {"device": self.device, "dtype": self.dtype}
        matrix = torch.randn(size, size, **at)
        image, taps = torch.randn(1, channels, 1, size, **at), torch.randn(size, channels, 1, TAPS, **at)
        image, taps = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (image, taps))
        product = 2 * size**3 / _least_seconds(lambda: matrix @ matrix)
        padding = (0, TAPS // 2)
        convolution = _least_seconds(lambda: torch.nn.functional.conv2d(image, taps, padding=padding))
        return max(product, 2 * size**2 * channels * TAPS / convolution)


class Apart:
    """A Contender in a process of its own. `keeps_freed_memory`: with malloc set as this command line sets it.

    Raises what the contender raises, and UserError where its process dies.
    """

    def __init__(self, make: Callable[..., Run], side: str, *where, keeps_freed_memory: bool):
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        arguments = (far, keeps_freed_memory, torch.get_num_threads(), make, side, *where)
        self._side, self._process = side, context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        far.close()

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *exc):
        self._pipe.close()  # then the process ends
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.terminate()

    def call(self, method: str):
        """The result of the contender's method."""
        try:
            self._pipe.send(method)
            answer = self._pipe.recv()
        except (EOFError, BrokenPipeError) as exc:
            raise UserError(
                f"{self._side}: its process ended at once, perhaps for want of memory; take fewer --seconds or --layers"
            ) from exc
        if isinstance(answer, Exception):
            raise answer
        return answer


class Here:
    """A Contender in this process."""

    def __init__(self, *arguments, keeps_freed_memory: bool):
        del keeps_freed_memory  # the setting of this process stays
        self._contender = Contender(*arguments)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *exc):
        del self._contender

    def call(self, method: str):
        return getattr(self._contender, method)()


def _serve(pipe, keeps_freed_memory: bool, threads: int, *arguments):
    if keeps_freed_memory:
        keep_freed_memory()
    torch.set_num_threads(threads)
    contender = None
    try:
        while True:
            method = pipe.recv()
            contender = contender or Contender(*arguments)
            pipe.send(getattr(contender, method)())
    except EOFError:
        return
    except Exception as exc:  # noqa: BLE001  the calling process raises it
        pipe.send(exc)


def _least_seconds(run: Run) -> float:
    least = float("inf")
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        float(run().flatten()[-1])
        least = min(least, time.perf_counter() - start)
    return least


def _hush():
    settle_torchaudio()
    from diffusers.utils import logging

    logging.set_verbosity_error()  # it warns of casts that change nothing here


def flop_counts() -> dict:
    """FLOP counts of operations that torch's own counter miscounts: products added in place, and attention with
    grouped heads or windows.
    """
    aten = torch.ops.aten
    plain = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
    counts = {f"_scaled_dot_product_{kind}": _attention_flop for kind in plain} | {
        "_flash_attention_forward": _flash_flop
    }
    backward = {name.removesuffix("_forward") + "_backward": _backward(flop) for name, flop in counts.items()}
    return {getattr(aten, name): flop for name, flop in ({"addmm_": _product_flop} | counts | backward).items()}


def _product_flop(_, left, right, *__, **___) -> int:
    """FLOPs of the product of [N, K] and [K, M]."""
    return 2 * left[0] * left[1] * right[1]


def _attention_flop(query, key, *_, **__) -> int:
    """FLOPs of attention of queries [B, H, N, D] to keys [B, K, M, D]: the products of all query heads."""
    items, heads, tokens, width = query
    return 4 * items * heads * tokens * key[2] * width


def _flash_flop(query, key, *_, window_size_left: int | None = None, window_size_right: int | None = None, **__) -> int:
    """FLOPs of attention of queries [B, N, H, D] to keys [B, M, K, D], within the window if there is one."""
    items, tokens, heads, width = query
    seen = key[1] if window_size_left is None else min(key[1], window_size_left + window_size_right + 1)
    return 4 * items * heads * tokens * seen * width


def _backward(forward: Callable[..., int]) -> Callable[..., int]:
    """FLOPs of a backward pass: five products where the forward pass has two, as the scores are computed again."""
    return lambda grad, query, key, *more, **how: 5 * forward(query, key, *more, **how) // 2

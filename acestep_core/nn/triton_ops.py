"""Operations fused into one pass over a tensor, where plain torch takes five to ten, on GPUs with a working Triton.

Callers check `usable` first and have a plain torch version for everything else: other devices, Windows without Triton,
a machine without the C compiler that Triton needs, and training, as these operations give no gradients.
"""

import functools
import logging
from contextlib import AbstractContextManager, nullcontext

import torch

logger = logging.getLogger(__name__)

FIRST_CAPABILITY = 8  # Ampere, the first with bfloat16 in Triton


def usable(x: torch.Tensor) -> bool:
    """Whether these operations work on `x`: its device, its dtype, and no gradients."""
    return x.is_cuda and not torch.is_grad_enabled() and _works(x.device)


def modulated(
    x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float
) -> torch.Tensor:
    """x / rms(x) · weight · (1 + scale) + shift: [B, N, C], shift and scale [1 or B, 1, C]; computed in float32."""
    from . import triton_kernels as fused_kernels

    x, out = x.contiguous(), torch.empty_like(x)
    shift, scale = (part.expand(len(x), 1, -1) for part in (shift, scale))
    with _on(x.device):
        fused_kernels.modulated(x, weight, shift, scale, out, eps)
    return out


def normed_and_turned(
    x: torch.Tensor, weight: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float
) -> torch.Tensor:
    """Heads [B, N, H, D], normed and rotated by cosines and sines [N, 1, D / 2]; computed in float32."""
    from . import triton_kernels as fused_kernels

    x, out = x.contiguous(), torch.empty_like(x)
    with _on(x.device):
        fused_kernels.normed_and_turned(x, weight, cos.contiguous(), sin.contiguous(), out, eps)
    return out


def snake(
    x: torch.Tensor, target: torch.Tensor, bias: torch.Tensor | None, rate: torch.Tensor, gain: torch.Tensor
) -> torch.Tensor:
    """y + sin²(rate · y) · gain of y = x + bias, into `target`, which may be x: [B, N, C], contiguous; in float32."""
    from . import triton_kernels as fused_kernels

    with _on(x.device):
        fused_kernels.snake(x, target, bias, rate, gain)
    return target


def _on(device: torch.device) -> AbstractContextManager:
    """Makes the tensor's GPU the current one, on which Triton launches."""
    return nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device)


@functools.cache
def _works(device: torch.device) -> bool:
    if torch.version.hip is None and torch.cuda.get_device_capability(device)[0] < FIRST_CAPABILITY:
        return False
    try:
        return _is_right(device)
    except torch.OutOfMemoryError:  # not evidence against Triton: the caller handles it
        raise
    except Exception as exc:  # noqa: BLE001  compilers and drivers raise anything: plain torch makes the song
        logger.info("Triton does not work here, so a GPU's small passes are not fused: %s", exc)
        return False


def _is_right(device: torch.device) -> bool:
    """Whether all operations give the right values, at the dtype of most models."""
    with torch.inference_mode():
        x = torch.linspace(-2, 2, 128, device=device, dtype=torch.bfloat16).reshape(1, 2, 64)
        ones = torch.ones(64, device=device, dtype=torch.bfloat16)
        half = ones[:32].float().expand(2, 32)[:, None]
        wide = x.float()
        normed = wide * (wide.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        turned = normed_and_turned(x[:, :, None], ones, half, half, 1e-6)[:, :, 0]
        low, high = normed.chunk(2, dim=-1)
        pairs = (
            (modulated(x, ones, ones[None, None], ones[None, None], 1e-6), 2 * normed + 1),
            (turned, torch.cat([low - high, low + high], -1)),
            (snake(x, torch.empty_like(x), ones, ones.float(), ones.float()), wide + 1 + (wide + 1).sin().square()),
        )
        return all(torch.allclose(made.float(), right, rtol=0.02, atol=0.02) for made, right in pairs)

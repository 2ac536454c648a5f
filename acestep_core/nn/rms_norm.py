"""RMS norms of our and diffusers' modules, x / rms(x) · w, in fewer passes over the stream than the modules take.

A factor that follows a norm is multiplied into the norm's weight, which is small. A norm that was hooked or replaced is
called as a module.
"""

import torch
from torch.nn import functional

from . import triton_ops

_DIFFUSERS = "diffusers.models.normalization", "RMSNorm"  # known by name: its import takes seconds


class RMSNorm(torch.nn.Module):
    """x / rms(x) · w over the last axis, rounded before the product as diffusers and transformers do."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        made = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * made.to(self.weight.dtype)).to(x.dtype)


def modulated(norm: torch.nn.Module, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """norm(x) · (1 + scale) + shift: [B, N, C], with shift and scale [1 or B, 1, C]."""
    if is_plain(norm) and triton_ops.usable(x):
        return triton_ops.modulated(x, norm.weight, shift, scale, norm.eps)
    if not is_plain(norm) or x.device.type != "cpu":
        return torch.addcmul(shift, normed(norm, x), 1 + scale)
    return torch.addcmul(shift, x * inverse_rms(x, norm.eps), norm.weight * (1 + scale))


def normed(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """norm(x), in the dtype of x: [..., C]."""
    if not is_plain(norm):
        return norm(x).to(x.dtype)
    if x.device.type != "cpu":  # one kernel there
        return functional.rms_norm(x, norm.weight.shape, norm.weight.to(x.dtype), norm.eps)
    return (x * inverse_rms(x, norm.eps) * norm.weight).to(x.dtype)


def inverse_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / sqrt(mean(x²) + eps) over the last axis, which is kept; float32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return (length.square() / x.shape[-1] + eps).rsqrt()


def is_plain(norm: torch.nn.Module) -> bool:
    """Whether a norm is ours or diffusers', with a weight and without hooks, so that this file may compute it."""
    hooked = norm._forward_pre_hooks or norm._forward_hooks or "forward" in vars(norm)
    kind = type(norm)
    is_known = kind is RMSNorm or (kind.__module__, kind.__name__) == _DIFFUSERS
    return is_known and norm.weight is not None and getattr(norm, "bias", None) is None and not hooked

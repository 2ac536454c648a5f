"""Root mean square norms of diffusers' modules, in fewer passes over the stream than the modules take: x / rms(x) · w.

What a norm is multiplied by afterwards is multiplied into its weight instead, which is small. A norm that is more than
diffusers made it (hooked, replaced) is called as a module.
"""

import torch


def modulated(norm: torch.nn.Module, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """norm(x) · (1 + scale) + shift: [B, N, C], with shift and scale [1 or B, 1, C]."""
    if not _is_plain(norm):
        return torch.addcmul(shift, norm(x), 1 + scale)
    return torch.addcmul(shift, x * inverse_rms(x, norm.eps), norm.weight * (1 + scale))


def normed(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """norm(x), in the dtype of x: [..., C]."""
    divided, weight = unweighted(norm, x)
    return (divided if weight is None else divided * weight).to(x.dtype)


def unweighted(norm: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """norm(x) [..., C] but for a weight [C] that it is still to be multiplied by, if there is one."""
    return (x * inverse_rms(x, norm.eps), norm.weight) if _is_plain(norm) else (norm(x), None)


def inverse_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / sqrt(mean(x²) + eps) over the last axis, which is kept; float32."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return (length.square() / x.shape[-1] + eps).rsqrt()


def _is_plain(norm: torch.nn.Module) -> bool:
    from diffusers.models.normalization import RMSNorm

    hooked = norm._forward_pre_hooks or norm._forward_hooks or "forward" in vars(norm)
    return type(norm) is RMSNorm and norm.weight is not None and norm.bias is None and not hooked

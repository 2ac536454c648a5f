"""torch's Muon on any device: its own makes matrices orthogonal in bfloat16, which a CPU without it emulates slowly."""

import torch

from ..nn.dtypes import product_dtype


class Muon(torch.optim.Muon):
    """torch's Muon with the learning rates of AdamW, its matrix products in a format that the device has.

    Keller Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; the rate's factor is that of
    arXiv:2502.16982.
    """

    def __init__(self, parameters, lr: float, weight_decay: float):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self) -> None:
        if all(product_dtype(p.device) == torch.bfloat16 for group in self.param_groups for p in group["params"]):
            super().step()
            return
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                self._descend(parameter, group)

    def _descend(self, parameter: torch.Tensor, group: dict) -> None:
        grad = parameter.grad
        mean = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(grad))
        mean.lerp_(grad, 1 - group["momentum"])
        ahead = grad.lerp(mean, group["momentum"])
        rate = group["lr"] * 0.2 * max(parameter.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(_orthogonal(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"]), alpha=-rate)


def _orthogonal(matrix: torch.Tensor, coefficients, steps: int, eps: float) -> torch.Tensor:
    """A matrix with the same singular vectors, its singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = coefficients
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x

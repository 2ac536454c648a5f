"""The recipe's Muon computes what torch's does, with and without bfloat16."""

import pytest
import torch
from acestep_pack.acestep_core.tiny_recipe import muon
from acestep_pack.acestep_core.tiny_recipe.muon import Muon


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(64, 48), (48, 160)])
def test_steps_are_torchs_but_for_the_rounding(monkeypatch, dtype, shape):
    monkeypatch.setattr(muon, "product_dtype", lambda device: dtype)
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 7680)[: shape[0] * shape[1]].view(shape)) for _ in "ab")
    start = theirs.detach().clone()
    mine = Muon([ours], 1e-2, 0.01)
    torchs = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        mine.step()
        torchs.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()
    assert mine.state_dict()["state"][0].keys() == torchs.state_dict()["state"][0].keys()


def test_a_parameter_without_a_gradient_stays(monkeypatch):
    monkeypatch.setattr(muon, "product_dtype", lambda device: torch.float32)
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    Muon([parameter], 1e-2, 0.01).step()
    assert torch.equal(parameter, torch.ones(4, 4))

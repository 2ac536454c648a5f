"""Solvers on flows whose end is known."""

from itertools import pairwise

import pytest
import torch
from acestep_pack.acestep_core.flow.guidance import Guidance, Guided
from acestep_pack.acestep_core.flow.schedule import times
from acestep_pack.acestep_core.flow.solvers import SOLVERS

NOISE, MUSIC = torch.randn(2, 2, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()


class Flow:
    """dx/dt = field(x, t), with the times at which it was asked."""

    def __init__(self, field):
        self.field, self.asked = field, []

    def __call__(self, latents, t):
        self.asked.append(t)
        return self.field(latents, t)


def solve(name, flow, table, latents, knows_zero=True):
    fresh = torch.Generator().manual_seed(1)
    guided, shape = Guided(flow, Guidance()), latents.shape

    def draw():
        return torch.randn(shape, generator=fresh)

    for t, t_next in pairwise(table):
        latents, x0 = SOLVERS[name](guided, latents, t, t_next, draw, knows_zero)
    return latents, x0


@pytest.mark.parametrize("name", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_straight_flow_is_followed_exactly(name, steps):
    latents, x0 = solve(name, Flow(lambda x, t: NOISE - MUSIC), times(steps, 3.0), NOISE)
    assert torch.allclose(latents, MUSIC, atol=1e-5)
    assert torch.allclose(x0, MUSIC, atol=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_estimate_is_the_music_after_the_first_step(name):
    flow = Flow(lambda x, t: (x - MUSIC) / max(t, 1e-6))  # always points at the music
    _, x0 = solve(name, flow, (1.0, 0.7), NOISE)
    assert torch.allclose(x0, MUSIC, atol=1e-5)


def test_orders():
    """dx/dt = x from t = 1 to 0 divides by e; halving the step halves Euler's error and quarters Heun's."""

    def error(name, steps):
        latents, _ = solve(name, Flow(lambda x, t: x), times(steps), torch.ones(1, 1, 1, dtype=torch.float64))
        return abs(float(latents) - torch.e**-1)

    assert error("euler", 20) / error("euler", 40) == pytest.approx(2, rel=0.1)
    assert error("heun", 20) / error("heun", 40) == pytest.approx(4, rel=0.1)


def test_heun_does_not_ask_a_distilled_model_at_zero():
    table = (1.0, 0.5, 0.0)
    flow = Flow(lambda x, t: x)
    solve("heun", flow, table, NOISE)
    assert flow.asked == [1.0, 0.5, 0.5, 0.0]
    flow = Flow(lambda x, t: x)
    solve("heun", flow, table, NOISE, knows_zero=False)
    assert flow.asked == [1.0, 0.5, 0.5]


def test_sde_noises_afresh_between_but_not_at_the_end():
    flow = Flow(lambda x, t: (x - MUSIC) / t)
    latents, x0 = solve("sde", flow, (1.0, 0.6), NOISE)
    fresh = torch.randn(NOISE.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(latents, 0.6 * fresh + 0.4 * MUSIC, atol=1e-5)
    latents, x0 = solve("sde", flow, (1.0, 0.6, 0.0), NOISE)
    assert torch.equal(latents, x0) and torch.allclose(latents, MUSIC, atol=1e-5)

"""Guidance as arithmetic: what each kind does to two velocities [B, C, T], and when."""

import math

import pytest
import torch
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.guidance import GUIDANCE, Apg, Guidance, Guided, adg, cfg

KINDS = [kind for kind, row in GUIDANCE.items() if row]


@pytest.fixture
def flows():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 4, 50, generator=generator) for _ in range(3)]  # latents, with condition, without


class Recorded:
    """A velocity whose two kinds of calls are counted."""

    def __init__(self, cond, null):
        self.cond_value, self.null_value, self.cond_times, self.null_times = cond, null, [], []

    def __call__(self, latents, t):
        self.cond_times.append(t)
        return self.cond_value

    def with_null(self, latents, t):
        self.null_times.append(t)
        return self(latents, t), self.null_value


def test_cfg(flows):
    latents, cond, null = flows
    assert torch.allclose(cfg(3.0)(latents, 0.5, cond, null), cond + 2 * (cond - null), atol=1e-5)


def test_apg_pushes_only_across_and_within_bounds(flows):
    latents, cond, null = flows
    push = (Apg(4.0)(latents, 0.5, cond, 10 * null) - cond) / 3
    assert float((push * cond).sum(-1).abs().max()) < 1e-4
    assert float(push.norm(dim=-1).max()) <= 2.5 + 1e-5


def test_apg_remembers_its_last_push(flows):
    latents, cond, null = flows
    combine, small = Apg(4.0), cond + 1e-3 * null  # so small that the bound is never met
    first = combine(latents, 0.9, cond, small) - cond
    second = combine(latents, 0.8, cond, small) - cond
    assert torch.allclose(second, 0.25 * first, atol=1e-5)
    assert torch.equal(Apg(4.0)(latents, 0.8, cond, small) - cond, first)  # a new one remembers nothing


@pytest.mark.parametrize(("scale", "turn"), [(1.5, 0.501 * 0.4), (9.0, 3.14 / 6)], ids=["by the scale", "at its limit"])
def test_adg_turns_the_estimate_away_from_the_unconditioned_one(scale, turn):
    """Two channels, one frame, at t = 1 from latents of zero: velocities are estimates of the music, negated."""
    plain, music = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(0.4), math.sin(0.4)])
    velocity = adg(scale)(torch.zeros(1, 2, 1), 1.0, -music[None, :, None], -plain[None, :, None])
    expected = math.cos(turn) * music + math.sin(turn) * torch.tensor([0.0, 1.0])
    assert torch.allclose(-velocity[0, :, 0], expected, atol=1e-5)


def test_adg_of_equal_velocities_changes_nothing(flows):
    latents, cond, _ = flows
    assert torch.allclose(adg(5.0)(latents, 0.5, cond, cond), cond, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_item_alone_is_the_same(flows, kind):
    latents, cond, null = flows
    whole, alone = GUIDANCE[kind](5.0), GUIDANCE[kind](5.0)
    for t in (0.9, 0.8):
        together = whole(latents, t, cond, null)
        assert torch.allclose(alone(latents[1:2], t, cond[1:2], null[1:2]), together[1:2], atol=1e-6)


def test_interval_includes_both_ends(flows):
    latents, cond, null = flows
    velocity = Recorded(cond, null)
    guided = Guided(velocity, Guidance("cfg", 7.0, (0.25, 0.9)))
    for t in (1.0, 0.90004, 0.5, 0.25, 0.2):
        guided(latents, t)
    assert velocity.null_times == [0.90004, 0.5, 0.25]  # an end typed with four digits means the time it was read from
    assert torch.equal(guided(latents, 1.0), cond)


@pytest.mark.parametrize("guidance", [Guidance(), Guidance("none", 7.0), Guidance("apg", 1.0)])
def test_no_guidance_asks_once(flows, guidance):
    latents, cond, null = flows
    velocity = Recorded(cond, null)
    assert torch.equal(Guided(velocity, guidance)(latents, 0.5), cond)
    assert velocity.null_times == []


def test_corrector_is_plain_and_leaves_no_trace(flows):
    latents, cond, null = flows
    guidance = Guidance("apg", 5.0)
    guided, straight = Guided(Recorded(cond, null), guidance), Guided(Recorded(cond, null), guidance)
    guided(latents, 0.9), straight(latents, 0.9)
    assert torch.equal(guided.corrector(latents, 0.8), cfg(5.0)(latents, 0.8, cond, null))
    assert torch.equal(guided(latents, 0.8), straight(latents, 0.8))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("magic",), "got 'magic', expected one of none, cfg, apg, adg"),
        (("cfg", 0.5), r"scale: got 0.5, expected 1 \(none\) or more"),
        (("cfg", float("nan")), "scale: got nan"),
        (("cfg", 7.0, (0.9, 0.2)), "interval: got 0.9 to 0.2, expected 0 <= low <= high <= 1"),
    ],
)
def test_impossible_guidance(values, said):
    with pytest.raises(UserError, match=said):
        Guidance(*values)

"""Where a run begins, changes its condition and keeps music; the numbers of the original where tables are its own."""

import pytest
import torch
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.morph import draws_of
from acestep_pack.acestep_core.flow.schedule import share_time, split, start_time, steps_until, steps_within, times
from acestep_pack.acestep_core.flow.song_run import RunState, SongRun
from acestep_pack.acestep_core.flow.stage_plan import StagePlan
from acestep_pack.acestep_core.models.reference import Reference
from acestep_pack.acestep_core.models.source import EditSource, Morph, Variation

SHARES = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


def song_run(counts=(3, 3, 2), shift=3.0, reference=None, seeds=(1, 2), **source):
    plans = [StagePlan(table, "euler", Guidance()) for *_, table in split(times(sum(counts), shift), counts)]
    reference = reference or Reference(source=EditSource(torch.ones(1, 4, 10), 10, **source))
    return SongRun(plans, reference, seeds, 4, 10, shift)


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("share", SHARES)
def test_shares_are_counted_as_in_the_original(share, shift):
    for steps in range(1, 61):
        table = times(steps, shift)
        assert steps_until(table, share_time(share, shift)) == int(steps * share + 1e-9)
        for first in range(steps):
            left = steps - first
            assert steps_until(table[first:], share_time(share, shift, table[first])) == int(left * share + 1e-9)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("share", SHARES)
def test_first_steps_are_counted_as_in_the_original_whatever_stage_they_are_in(share, shift):
    for steps in range(1, 61):
        table = times(steps, shift)
        assert steps_within(table, share, shift) == round(steps * share)
        cut = steps // 3
        both = steps_within(table[: cut + 1], share, shift) + steps_within(table[cut:], share, shift)
        assert both == round(steps * share)
    assert steps_within((1.0, 0.5, 0.5, 0.0), share, shift) in range(4)  # times of two models may be one


@pytest.mark.parametrize(
    "source",
    [
        {"closeness": 0.0, "structure": 0.6},
        {"closeness": 0.3, "structure": 0.6},
        {"closeness": 0.5},
        {"closeness": 0.97},
        {"morph": Morph(0.2, 0.7, 2)},
        {"window": torch.arange(10)[None] > 4, "keeps": True, "injection_ratio": 0.5},
    ],
    ids=str,
)
def test_stages_that_run_alone_are_parts_of_the_same_run(source):
    reference = Reference(source=EditSource(torch.ones(1, 4, 10), 10, **source))
    whole, state, begun = song_run(reference=reference), RunState(3.0), None
    for index, plan in enumerate(whole.plans):
        alone = SongRun([plan], reference, (1, 2), 4, 10, state.shift, state.start, state.draws)
        here = [part for part in whole.parts if part.index == index]
        for part, own in zip(here, alone.parts, strict=True):
            assert (part.plan, part.draws) == (own.plan, own.draws)
            assert not part.kept or part.kept.injection_ratio == own.kept.injection_ratio
        if here:
            assert alone.switch == whole.switch and alone.start == whole.start
            begun = alone if begun is None else begun
        state = alone.state
    assert torch.equal(begun.latents(), whole.latents())


@pytest.mark.parametrize("closeness, start", [(0.0, 1.0), (0.3, 0.75), (0.5, 0.5), (0.6, 0.5), (1.0, 0.3)])
def test_a_run_begins_at_the_nearest_time(closeness, start):
    table = times(8, 3.0)
    assert start_time([table], closeness) == pytest.approx(start)
    assert start_time([table[:4], table[3:7], table[6:]], closeness) == pytest.approx(start)


def test_closeness_that_makes_no_sense():
    with pytest.raises(UserError, match="closeness: got 1.5"):
        start_time([(1.0, 0.0)], 1.5)


def test_stages_before_the_start_are_left_out():
    run = song_run(closeness=0.5)
    assert [(part.index, len(part.plan.times)) for part in run.parts] == [(2, 3)]
    expected = 0.5 * run.first_noise + 0.5 * torch.ones(1, 4, 10)
    assert torch.allclose(run.latents(), expected)
    assert [part.index for part in song_run(closeness=0.3).parts] == [1, 2]


def test_injections_are_counted_over_all_stages():
    window = torch.zeros(1, 10, dtype=torch.bool)
    window[:, 2:5] = True
    run = song_run(window=window, keeps=True, injection_ratio=0.5)
    assert [part.kept.injection_ratio * 3 for part in run.parts[:2]] == pytest.approx([3, 1])
    assert run.parts[2].kept.injection_ratio == 0


def test_draws_of_a_morph_add_up_over_stages():
    for begin, end, averages in ((0.2, 0.7, 2), (0.0, 1.0, 1), (0.5, 0.6, 3)):
        morph = Morph(begin, end, averages)
        whole = draws_of(times(10, 3.0), morph, 3.0)
        assert whole == (int(10 * end) - int(10 * begin)) * averages + (end < 1)
        for counts in ((3, 3, 4), (1, 8, 1), (5, 5)):
            run = song_run(counts, morph=morph)
            last = run.parts[-1]
            assert last.draws + draws_of(last.plan.times, morph, 3.0) == whole


def test_other_noise_has_the_same_variance():
    reference = Reference(variation=Variation(0.5, seed=9))
    mixed = song_run(reference=reference, seeds=tuple(range(300))).first_noise
    assert mixed.var() == pytest.approx(1.0, abs=0.05)
    single = song_run(reference=Reference(variation=Variation(0.5, seed=10)), seeds=(1,)).first_noise
    assert torch.equal(mixed[1:2], single)


@pytest.mark.parametrize("given", [{"begin": 0.5, "end": 0.5}, {"begin": -0.1}, {"end": 1.1}, {"averages": 0}])
def test_morphs_that_make_no_sense(given):
    with pytest.raises(UserError, match="morph: got"):
        Morph(**given)


@pytest.mark.parametrize("given", [{"structure": 1.1}, {"closeness": float("nan")}, {"structure": "1"}])
def test_sources_that_make_no_sense(given):
    with pytest.raises(UserError, match="expected a number from 0 to 1"):
        EditSource(torch.ones(1, 4, 10), 10, **given)
    with pytest.raises(UserError, match="codes have no sound to begin with"):
        EditSource(torch.ones(1, 4, 10), 10, closeness=0.5, codes=torch.zeros(1, 2, 1))

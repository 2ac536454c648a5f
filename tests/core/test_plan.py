import dataclasses
import json
from pathlib import Path

import pytest
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.stage_plan import SamplingSettings, plan, stage_times
from acestep_pack.acestep_core.models.defaults import VariantDefaults

SCHEDULES = json.loads((Path(__file__).parents[1] / "golden" / "prompts_and_schedules.json").read_text())["schedules"]
TURBO, BASE = VARIANTS["turbo"], VARIANTS["base"]
TINY = VariantDefaults(
    "tiny", 19, 3.0, guidance=3.0, guidance_kind="cfg", boundaries=(0.3, 0.1), cascade_steps=(14, 3, 2)
)
TURBO_TABLE = (*next(s["timesteps"] for s in SCHEDULES if s["steps"] == 8 and s["shift"] == 3), 0.0)


def joined(stages):
    return tuple(t for stage in stages for t in stage.times[:-1]) + stages[-1].times[-1:]


def test_three_turbo_stages_are_the_turbo_table_cut_after_three_and_six_steps():
    stages = plan([TURBO] * 3, SamplingSettings())
    assert [stage.steps for stage in stages] == [3, 3, 2]
    assert joined(stages) == pytest.approx(TURBO_TABLE, abs=1e-12)
    assert joined(stages) == joined(plan([TURBO], SamplingSettings()))  # to the bit


@pytest.mark.parametrize("steps, counts", [((3, 3, 2), [3, 3, 2]), (8, [3, 3, 2]), (16, [6, 6, 4]), (3, [1, 1, 1])])
def test_steps_alone_cut_the_runs_own_table(steps, counts):
    stages = plan([TURBO] * 3, SamplingSettings(steps=steps))
    one = plan([TURBO], SamplingSettings(steps=sum(counts)))
    assert [stage.steps for stage in stages] == counts
    assert joined(stages) == joined(one)


def test_boundaries_may_be_given_alone_or_with_steps():
    alone = plan([TURBO] * 3, SamplingSettings(boundaries=(0.9, 0.3)))
    assert [(s.times[0], s.times[-1]) for s in alone] == [(1.0, 0.9), (0.9, 0.3), (0.3, 0.0)]
    assert [s.steps for s in alone] == [2, 5, 1]
    both = plan([TURBO] * 3, SamplingSettings(steps=(1, 2, 3), boundaries=(0.9, 0.3)))
    assert [s.steps for s in both] == [1, 2, 3]


def test_each_model_spends_its_own_steps_and_guidance_on_its_stretch():
    stages = plan([BASE, TURBO, TURBO], SamplingSettings())
    assert [s.steps for s in stages] == [8, 3, 2]  # a sixth of base's fifty, at its own shift
    assert stages[0].guidance == Guidance("apg", 7.0)
    assert stages[1].guidance == Guidance()


def test_what_the_checkpoint_says_of_its_cascade_counts():
    own = VariantDefaults("tiny", 20, 2.0, boundaries=(0.7, 0.4), cascade_steps=(4, 5, 6))
    stages = plan([own] * 3, SamplingSettings())
    assert [s.steps for s in stages] == [4, 5, 6] and stages[1].times[0] == 0.7
    assert [s.steps for s in plan([own], SamplingSettings())] == [20]
    assert len(plan([own] * 2, SamplingSettings())) == 2


def test_guidance_goes_to_the_stages_made_for_it():
    stages = plan([BASE, TURBO, TURBO], SamplingSettings(guidance=4))
    assert [s.guidance.scale for s in stages] == [4, 1, 1]
    assert plan([BASE], SamplingSettings(guidance=1))[0].guidance == Guidance()
    assert [s.guidance for s in plan([BASE, TURBO], SamplingSettings(guidance=("cfg:3", 2)))] == [
        Guidance("cfg", 3.0),
        Guidance("apg", 2.0),
    ]
    assert [s.guidance.scale for s in plan([TURBO] * 2, SamplingSettings(guidance="adg:3"))] == [3, 3]
    kept = Guidance("apg", 5.0, (0.2, 0.8))
    assert plan([BASE], SamplingSettings(guidance=kept))[0].guidance == kept


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"steps": (3, 3)}, "steps: got 3,3 for 3 stages, expected 3 numbers"),
        ({"steps": (3, 0, 2)}, "expected 3 numbers of at least 1"),
        ({"steps": 2}, "steps: got 2, expected at least one for each of the 3 stages"),
        ({"boundaries": (0.5,)}, "boundaries: got 0.5 for 3 stages, expected 2 flow times"),
        ({"boundaries": (0.5, 0.8)}, "boundaries: got 0.5, 0.8"),
        ({"boundaries": (1.0, 0.5)}, "fall between 1 and 0, such as 0.8333,0.5"),
        ({"solver": "magic"}, "solver: got 'magic', expected one of euler, heun, sde"),
        ({"guidance": "loud"}, "guidance: got 'loud', expected a scale such as 7"),
        ({"guidance": "dpm:7"}, "guidance: got 'dpm', expected one of none, cfg"),
        ({"guidance": (1, 2)}, "guidance: got 2 values for 3 stages"),
        ({"guidance": 0.5}, "guidance scale: got 0.5"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told(settings, message):
    with pytest.raises(UserError, match=message):
        plan([TURBO] * 3, SamplingSettings(**settings))


def test_where_models_know_other_times_the_next_ones_is_that_of_the_hand_over():
    found = plan((VARIANTS["base"], VARIANTS["turbo"]), SamplingSettings(boundaries=(0.8333,), steps=(4, 4)))
    assert found[0].times[-1] == found[1].times[0] != 0.8333


def test_times_near_a_taught_one_become_it():
    stages = plan([TURBO] * 3, SamplingSettings(boundaries=(0.8333, 0.5)))
    assert stages[0].times[-1] == stages[1].times[0] == next(t for t in TURBO.valid_times if abs(t - 0.8333) < 1e-3)
    free = dataclasses.replace(TURBO, valid_times=None)
    assert plan([free] * 3, SamplingSettings(boundaries=(0.8333, 0.5)))[0].times[-1] == 0.8333


# ---- a stage by itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [TINY, TURBO, BASE, VARIANTS["turbo-shift1"]], ids=lambda own: own.variant)
def test_stages_in_the_three_slots_are_the_cascade(own):
    """To the bit, whether a stage is told where its latents are or goes by its slot."""
    together = [stage.times for stage in plan([own] * 3, SamplingSettings())]
    assert [stage_times(own, slot) for slot in range(3)] == together
    ats = (1.0, *(times[-1] for times in together))
    assert [stage_times(own, slot, at=ats[slot]) for slot in range(3)] == together


def test_turbo_stages_in_the_three_slots_are_the_turbo_table():
    stages = [stage_times(TURBO, slot) for slot in range(3)]
    assert [len(times) - 1 for times in stages] == [3, 3, 2]
    assert (*stages[0][:-1], *stages[1][:-1], *stages[2]) == pytest.approx(TURBO_TABLE, abs=1e-12)
    assert all(t in (*TURBO.valid_times, 0.0) for times in stages for t in times)


def test_a_checkpoint_tells_its_own_places_and_steps():
    assert [len(stage_times(TINY, slot)) - 1 for slot in range(3)] == [14, 3, 2]
    assert [(times[0], times[-1]) for times in (stage_times(TINY, slot) for slot in range(3))] == [
        (1.0, 0.3),
        (0.3, 0.1),
        (0.1, 0.0),
    ]


@pytest.mark.parametrize("at", [1.0, 0.7, 0.31])
def test_a_stage_begins_where_its_latents_are(at):
    times = stage_times(TINY, 0, at=at)
    assert (times[0], times[-1]) == (at, 0.3)
    assert stage_times(TINY, 0, at=at, start=at) == times
    assert stage_times(TINY, 0, at=0.5, start=at)[0] == at  # what a user says counts


def test_latents_of_an_unknown_time_begin_where_the_slot_does():
    assert [stage_times(TINY, slot, at=None)[0] for slot in range(3)] == [1.0, 0.3, 0.1]


@pytest.mark.parametrize("own", [TINY, TURBO, BASE], ids=lambda own: own.variant)
def test_finished_music_is_not_taken_to_pure_noise(own):
    """At t = 1 nothing would be left of it: the first stage begins at the time of its table nearest to its middle."""
    table, times = stage_times(own, 0), stage_times(own, 0, finished=True)
    assert times[0] in table[1:-1] and times[-1] == table[-1]
    middle = (table[0] + table[-1]) / 2
    assert all(abs(times[0] - middle) <= abs(t - middle) for t in table[1:-1])
    for slot in (1, 2):  # where something is left
        assert stage_times(own, slot, finished=True) == stage_times(own, slot)
    for chosen in ({"start": 1.0}, {"at": 1.0, "start": 1.0}):
        assert stage_times(own, 0, finished=True, **chosen)[0] == 1.0
    one_step = stage_times(own, 0, finished=True, end=0.99)
    assert 0.99 < one_step[0] < 1 and one_step[-1] == 0.99


def test_a_stage_off_its_place_spends_as_many_steps_as_the_model_would():
    assert len(stage_times(TINY, 0, at=0.7)) - 1 == 6  # of 19 steps at shift 3 as many lie between 0.7 and 0.3
    assert stage_times(TINY, 2, start=1.0, end=0.0) == plan([TINY], SamplingSettings())[0].times
    assert len(stage_times(BASE, 1, start=0.5, end=0.4)) - 1 == 5
    assert len(stage_times(TINY, 0, start=0.301)) - 1 == 1


def test_what_a_user_says_counts():
    assert stage_times(TINY, 1, start=0.8, end=0.4, steps=2, shift=1.0) == pytest.approx((0.8, 0.6, 0.4))
    assert len(stage_times(TINY, 0, steps=5)) - 1 == 5 and stage_times(TINY, 0, steps=5)[-1] == 0.3
    assert len(stage_times(TINY, 0, shift=1.0)) - 1 == 14 and stage_times(TINY, 0, shift=1.0) != stage_times(TINY, 0)
    assert stage_times(TINY, 2, end=0.05)[-1] == 0.05


def test_a_cascade_of_another_length_has_places_of_its_own():
    two = [stage_times(TINY, slot, slots=2) for slot in range(2)]
    assert two == [stage.times for stage in plan([TINY] * 2, SamplingSettings())]


def test_a_typed_time_near_a_taught_one_becomes_it():
    assert stage_times(TURBO, 1, start=0.8333)[0] in TURBO.valid_times
    assert stage_times(TINY, 1, start=0.8333)[0] == 0.8333


@pytest.mark.parametrize(
    "wish, said",
    [
        ({"slot": 0, "start": 0.2, "end": 0.6}, "would begin at t = 0.2 and end at t = 0.6, but t falls from 1"),
        ({"slot": 0, "at": 0.25}, "would begin at t = 0.25 and end at t = 0.3,"),
        ({"slot": 1, "at": 0.1}, "would begin at t = 0.1 and end at t = 0.1,"),
        ({"slot": 2, "start": 0.0}, "would begin at t = 0 and end at t = 0,"),
        ({"slot": 0, "start": 1.5}, "times: got start 1.5 and end 0.3, expected 1 >= start > end >= 0"),
        ({"slot": 0, "end": -0.5}, "times: got start 1 and end -0.5"),
        ({"slot": 0, "steps": -1}, "steps: got -1, expected at least 1"),
        ({"slot": 0, "shift": -3.0}, "shift: got -3.0, expected more than 0"),
        ({"slot": 0, "shift": float("nan")}, "shift: got nan"),
        ({"slot": 0, "start": float("nan")}, "times: got start nan"),
    ],
)
def test_a_stretch_that_cannot_be_gone_is_told(wish, said):
    with pytest.raises(UserError, match=said):
        stage_times(TINY, **wish)

import dataclasses
import json
from pathlib import Path

import pytest
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS, VariantDefaults
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.guidance import Guidance
from acestep_pack.acestep_core.plan import Settings, plan

SCHEDULES = json.loads((Path(__file__).parents[1] / "golden" / "prompts_and_schedules.json").read_text())["schedules"]
TURBO, BASE = VARIANTS["turbo"], VARIANTS["base"]
TURBO_TABLE = (*next(s["timesteps"] for s in SCHEDULES if s["steps"] == 8 and s["shift"] == 3), 0.0)


def joined(stages):
    return tuple(t for stage in stages for t in stage.times[:-1]) + stages[-1].times[-1:]


def test_three_turbo_stages_are_the_turbo_table_cut_after_three_and_six_steps():
    stages = plan([TURBO] * 3, Settings())
    assert [stage.steps for stage in stages] == [3, 3, 2]
    assert joined(stages) == pytest.approx(TURBO_TABLE, abs=1e-12)
    assert joined(stages) == joined(plan([TURBO], Settings()))  # to the bit


@pytest.mark.parametrize("steps, counts", [((3, 3, 2), [3, 3, 2]), (8, [3, 3, 2]), (16, [6, 6, 4]), (3, [1, 1, 1])])
def test_steps_alone_cut_the_runs_own_table(steps, counts):
    stages = plan([TURBO] * 3, Settings(steps=steps))
    one = plan([TURBO], Settings(steps=sum(counts)))
    assert [stage.steps for stage in stages] == counts
    assert joined(stages) == joined(one)


def test_boundaries_may_be_given_alone_or_with_steps():
    alone = plan([TURBO] * 3, Settings(boundaries=(0.9, 0.3)))
    assert [(s.times[0], s.times[-1]) for s in alone] == [(1.0, 0.9), (0.9, 0.3), (0.3, 0.0)]
    assert [s.steps for s in alone] == [2, 5, 1]
    both = plan([TURBO] * 3, Settings(steps=(1, 2, 3), boundaries=(0.9, 0.3)))
    assert [s.steps for s in both] == [1, 2, 3]


def test_each_model_spends_its_own_steps_and_guidance_on_its_stretch():
    stages = plan([BASE, TURBO, TURBO], Settings())
    assert [s.steps for s in stages] == [8, 3, 2]  # a sixth of base's fifty, at its own shift
    assert stages[0].guidance == Guidance("apg", 7.0)
    assert stages[1].guidance == Guidance()


def test_what_the_checkpoint_says_of_its_cascade_counts():
    own = VariantDefaults("tiny", 20, 2.0, boundaries=(0.7, 0.4), cascade_steps=(4, 5, 6))
    stages = plan([own] * 3, Settings())
    assert [s.steps for s in stages] == [4, 5, 6] and stages[1].times[0] == 0.7
    assert [s.steps for s in plan([own], Settings())] == [20]
    assert len(plan([own] * 2, Settings())) == 2


def test_guidance_goes_to_the_stages_made_for_it():
    stages = plan([BASE, TURBO, TURBO], Settings(guidance=4))
    assert [s.guidance.scale for s in stages] == [4, 1, 1]
    assert plan([BASE], Settings(guidance=1))[0].guidance == Guidance()
    assert [s.guidance for s in plan([BASE, TURBO], Settings(guidance=("cfg:3", 2)))] == [
        Guidance("cfg", 3.0),
        Guidance("apg", 2.0),
    ]
    assert [s.guidance.scale for s in plan([TURBO] * 2, Settings(guidance="adg:3"))] == [3, 3]
    kept = Guidance("apg", 5.0, (0.2, 0.8))
    assert plan([BASE], Settings(guidance=kept))[0].guidance == kept


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
        plan([TURBO] * 3, Settings(**settings))


def test_times_near_a_taught_one_become_it():
    stages = plan([TURBO] * 3, Settings(boundaries=(0.8333, 0.5)))
    assert stages[0].times[-1] == stages[1].times[0] == next(t for t in TURBO.valid_times if abs(t - 0.8333) < 1e-3)
    free = dataclasses.replace(TURBO, valid_times=None)
    assert plan([free] * 3, Settings(boundaries=(0.8333, 0.5)))[0].times[-1] == 0.8333

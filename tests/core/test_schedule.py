"""Tables of flow times, against the original's and against themselves."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.schedule import (
    TURBO_TIMES,
    check,
    snap,
    split,
    times,
    turbo_nearest,
    untrained_times,
)
from safetensors.torch import load_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
KNOWN = json.loads((GOLDEN / "prompts_and_schedules.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("known", KNOWN["schedules"], ids=lambda known: f"{known['steps']}-{known['shift']}")
def test_tables_of_the_original(known):
    table = times(known["steps"], known["shift"])
    assert table == pytest.approx((*known["timesteps"], 0.0), abs=1e-12)


def test_turbo_times():
    assert pytest.approx(KNOWN["turbo_valid_timesteps"], abs=1e-12) == TURBO_TIMES
    for shift in (1.0, 2.0, 3.0):
        assert untrained_times(times(8, shift), TURBO_TIMES) == ()


def test_custom_times_move_to_the_nearest_that_turbo_knows():
    run = load_file(GOLDEN / "m2b_a" / "turbo_custom_timesteps.safetensors")
    custom = run["in.timesteps"].tolist()
    assert turbo_nearest(custom) == pytest.approx((*run["out.timesteps"].tolist(), 0.0), abs=1e-6)
    assert turbo_nearest(custom[:-1]) == turbo_nearest(custom)
    # The list beside the runs agrees but for one value, 0.76, which it maps to 0.75 where the run went to 0.7692.
    listed = KNOWN["custom_mapping"]
    differing = [
        t for t, ours, theirs in zip(custom, turbo_nearest(custom), listed["mapped"]) if abs(ours - theirs) > 1e-9
    ]
    assert differing == pytest.approx([0.76])


@pytest.mark.parametrize("custom", [(), (0.0,), [1 - i / 30 for i in range(30)]])
def test_custom_times_out_of_number(custom):
    with pytest.raises(UserError, match="expected 1 to 20 for a turbo model"):
        turbo_nearest(custom)


def test_three_stages_cut_from_the_turbo_table():
    table = times(8, 3.0)
    stages = split(table, (3, 3, 2))
    assert [(start, end) for start, end, _ in stages] == [(1.0, table[3]), (table[3], table[6]), (table[6], 0.0)]
    assert table[3] == pytest.approx(5 / 6) and table[6] == pytest.approx(0.5)
    for (start, end, part), count in zip(stages, (3, 3, 2)):
        assert part == table[table.index(start) : table.index(start) + count + 1]
        # A stage that knows only its stretch visits the same times.
        assert times(count, 3.0, start, end) == pytest.approx(part, abs=1e-12)
        assert times(count, 3.0, start, end)[0] == start and times(count, 3.0, start, end)[-1] == end


def test_snap_and_untrained_times():
    assert snap((1.0, 0.8333, 0.0), TURBO_TIMES) == (1.0, times(8, 3.0)[3], 0.0)
    assert snap((1.0, 0.82, 0.0), TURBO_TIMES) == (1.0, 0.82, 0.0)
    assert snap((0.8333, 0.1), ()) == (0.8333, 0.1)
    assert untrained_times((1.0, 0.82, 0.5, 0.01), TURBO_TIMES) == (0.82,)  # the last is only the end


@pytest.mark.parametrize(
    ("table", "valid"),
    [
        (times(200, start=0.01), ()),
        (times(200, start=0.01), TURBO_TIMES),
        (times(9, start=0.50021, end=0.49981), TURBO_TIMES),
        (times(3, start=5e-5), ()),
    ],
)
def test_fine_times_stay_apart(table, valid):
    snapped = snap(table, valid)
    assert all(a > b for a, b in pairwise(snapped)) and snapped == pytest.approx(table, abs=1e-4)
    assert check(snapped) == snapped == snap(snapped, valid)


def test_times_that_were_given_twice_stay_one():
    assert snap((1.0, 0.7693, 0.7693, 0.00005), TURBO_TIMES) == (1.0, 10 / 13, 10 / 13, 0.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: times(0), "steps: got 0, expected at least 1"),
        (lambda: times(4, shift=0.0), "shift: got 0.0, expected more than 0"),
        (lambda: times(4, start=0.4, end=0.6), "got start 0.4 and end 0.6, expected 1 >= start > end >= 0"),
        (lambda: times(4, start=1.2), "got start 1.2 and end 0"),
        (lambda: split(times(8), (3, 3)), r"got 3\+3 for a table of 8 steps"),
        (lambda: split(times(8), (8, 0)), r"got 8\+0 for a table of 8 steps, expected at least 1 each"),
        (lambda: check((0.5,)), "expected two or more"),
        (lambda: check((0.5, 0.9, 0.1)), "got 0.5, 0.9, 0.1, expected two or more that fall"),
        (
            lambda: check((0.5, 0.0, 0.0)),
            "got 0.5, 0, 0, expected two or more that fall from at most 1, 0 being the last",
        ),
    ],
)
def test_impossible_tables(wrong, said):
    with pytest.raises(UserError, match=said):
        wrong()

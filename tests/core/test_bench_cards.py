import json

import pytest
from acestep_pack.acestep_core.bench import cards
from acestep_pack.acestep_core.cli import bench_cards
from core_tests.golden_cases import TESTS

PUBLISHED = ("xl", "2b", "2b"), (3, 3, 2)
BY_NAME = {card.name: card for card in cards.CARDS}


def test_flops_are_those_that_were_counted():
    """TFLOP of a step and of a decode of 240 s, counted on the published networks."""
    assert cards.step_flop("2b", 240) == pytest.approx(9.89e12, rel=0.03)
    assert cards.step_flop("xl", 240) == pytest.approx(27.23e12, rel=0.03)
    assert cards.step_flop("2b", 30) == pytest.approx(1.14e12, rel=0.03)
    assert cards.vocoder_flop(240) == pytest.approx(29.2e12, rel=0.03)


def test_what_was_measured_on_an_h200_is_reckoned_within_a_quarter():
    h200 = cards.Card("H200", 141, 945, 4800)
    for (families, steps, seconds), measured in {
        (("xl", "2b", "2b"), (3, 3, 2), 240): 0.48,
        (("2b",), (8,), 240): 0.44,
        (("2b",), (8,), 30): 0.18,  # the first song 0.22, its next seed 0.14
    }.items():
        assert cards.song(h200, families, steps, seconds).seconds == pytest.approx(measured, rel=0.25)
    assert cards.training_step(h200)[0] == pytest.approx(4 * 0.225, rel=0.25)


def test_small_cards_fetch_models_and_take_longer():
    small, large = (cards.song(BY_NAME[name], *PUBLISHED, 240) for name in ("RTX 4060", "RTX 4090"))
    assert (small.holds, large.holds) == ("layers", "all") and small.seconds > 4 * large.seconds
    assert cards.song(cards.Card("tiny", 1, 10, 100), *PUBLISHED, 240).seconds is None
    assert {min(card.gigabytes for card in cards.CARDS), max(card.gigabytes for card in cards.CARDS)} == {8, 80}


def test_the_command_prints_the_guides_table(command):
    code, lines, _ = command("bench", "cards")
    assert code == 0 and "not measured" in lines[0] and lines[1:] == bench_cards.table()
    guide = (TESTS.parent / "web" / "docs" / "guides" / "speed.md").read_text(encoding="utf-8")
    assert "\n".join(lines[1:]) in guide
    code, lines, _ = command("bench", "cards", "--json")
    assert [json.loads(line)["name"] for line in lines] == [card.name for card in cards.CARDS]

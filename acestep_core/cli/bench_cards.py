"""`acestep-cascade bench cards`: songs and trainings on graphics cards, reckoned and not measured."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..bench.cards import CARDS, Card, Estimate, song, training_step
from ..console import Console
from ..memory.plan import ALL, LAYERS, NETWORKS, PARTS

SECONDS = 240.0
SONGS = {"2B, 8 steps": (("2b",), (8,)), "XL → 2B → 2B, 3 + 3 + 2": (("xl", "2b", "2b"), (3, 3, 2))}
_HELD = {ALL: "all held", PARTS: "a model at a time", NETWORKS: "a network at a time", LAYERS: "a layer at a time"}


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = f"Reckon, not measure, a song of {SECONDS:g} s and a step of training on graphics cards."
    parser.add_argument("--json", action="store_true", help="one line of JSON for each card")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.json:
        for card in CARDS:
            console.result(json.dumps(_row(card), ensure_ascii=False))
        return
    console.result(
        f"Reckoned from FLOPs, bandwidth and the memory plan, not measured. Songs of {SECONDS:g} s in bf16, vocoder "
        "included; LoRA: seconds of a step of four crops."
    )
    for line in table():
        console.result(line)


def table() -> list[str]:
    """The lines of a table in Markdown."""
    head = ["card", "memory", *SONGS, "LoRA of the 2B"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *map(_cells, CARDS)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(card: Card) -> list[str]:
    took, crop = training_step(card)
    songs = [_shown(song(card, *models, SECONDS)) for models in SONGS.values()]
    return [card.name, f"{card.gigabytes} GB", *songs, f"{took:.1f} s ({crop:g} s each)"]


def _shown(made: Estimate) -> str:
    return "does not fit" if made.seconds is None else f"{made.seconds:.1f} s ({_HELD[made.holds]})"


def _row(card: Card) -> dict:
    took, crop = training_step(card)
    songs = {name: asdict(song(card, *models, SECONDS)) for name, models in SONGS.items()}
    training = {"seconds": took, "crop_seconds": crop}
    return {"reckoned": True, **asdict(card), "songs": songs, "lora_step": training}

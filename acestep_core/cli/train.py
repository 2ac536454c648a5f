"""`acestep-cascade train`: an adapter, a small stage model, the embedded cascade."""

import argparse
from collections.abc import Sequence

from .parser import add_commands

COMMANDS = {
    "lora": ("train an adapter on your clips", "train_lora"),
    "distill": ("make a small stage model of a large one", "train_distill"),
    "tiny": ("train the embedded cascade", "train_tiny"),
}


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    actions = parser.add_subparsers(metavar="|".join(COMMANDS), required=True)
    add_commands(actions, COMMANDS, argv)

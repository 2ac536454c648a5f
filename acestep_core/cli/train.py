"""`acestep-cascade train`: trains an adapter, a small stage model, or the embedded cascade."""

import argparse
from collections.abc import Sequence

from .parser import add_commands

COMMANDS = {
    "lora": ("train an adapter on your clips", "train_lora"),
    "distill": ("distill a small stage model from a large one", "train_distill"),
    "tiny": ("train the embedded cascade", "train_tiny"),
}


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    actions = parser.add_subparsers(metavar="|".join(COMMANDS), required=True)
    add_commands(actions, COMMANDS, argv)

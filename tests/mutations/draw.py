"""What a mutation draws: the same for the same case, wherever and whenever it is run."""

import random
from collections.abc import Sequence


class Draw(random.Random):
    """Random numbers of one case: `kind` says what is mutated and how, `number` which of these cases it is."""

    def __init__(self, kind: str, number: int):
        super().__init__(f"{kind}-{number}")
        self.kind, self.number = kind, number

    def in_turn(self, choices: Sequence):
        """One of the choices: cases of following numbers take them all, each once, in an order of the kind's own."""
        mixed = list(choices)
        random.Random(self.kind).shuffle(mixed)
        return mixed[self.number % len(mixed)]

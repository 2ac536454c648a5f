"""`acestep-cascade bench lora`: how far an adapter moves the embedded cascade towards a style it was not trained on.

The band plays clips of a genre that pretraining leaves out; `acestep-cascade train lora` trains on them as on a user's.
Songs with captions of the style, without and with the adapter, are then compared with the band's own clips. So are
songs of other styles, which should not change. None of these captions or seeds was trained on.
"""

from collections.abc import Callable
from itertools import chain, count, islice
from pathlib import Path

from ..console import Clock, Console

GENRE, SECONDS = "chiptune", 12.0
TRAINED_SEEDS, FURTHER_SEEDS = 2_000_000, 2_500_000  # below the measured seeds, and far above them
CLIPS, SONGS = 60, 24
STRENGTH, PRESERVE = 1.0, 0.25

Train = Callable[[Path, Path, float, Console], object]  # (clips, adapter to be made, share of own songs, console)


def measure_style(
    work: Path, clips: int, songs: int, strength: float, preserve: float, console: Console, train: Train
) -> dict[str, float]:
    """All figures; the adapter that `train` makes stays in `work`."""
    from ..band.folder import write_clips
    from .adapters import measure

    for _ in write_clips(work / "clips", training_seeds(clips), SECONDS, GENRE):
        pass
    console.note(f"{clips} clips of {GENRE} played")
    adapter = work / f"{GENRE}.safetensors"
    begun = adapter.with_name(f"{adapter.name}.training").exists()
    clock = Clock()
    train(work / "clips", adapter, preserve, console)
    # After a resumed training the clock shows only a part of its time.
    taken = {} if begun else {"minutes of training, clips prepared and all": clock.seconds / 60}
    figures = {"clips of the style": clips} | taken
    figures |= {"strength": strength, "share of the crops from songs of its own": preserve}
    return figures | measure(adapter, strength, songs, SECONDS, GENRE, console)


def training_seeds(clips: int) -> list[int]:
    """Seeds of the clips to train on; none of them is measured."""
    from .adapters import STYLE_SEEDS

    return [*islice(chain(range(TRAINED_SEEDS, STYLE_SEEDS), count(FURTHER_SEEDS)), clips)]

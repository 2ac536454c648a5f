"""Folders that a training keeps: each is there whole or not at all."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name only when it is full."""
    aside = folder.with_name(f".{folder.name}.incomplete")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was stopped
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # where it could not be filled, or not renamed


def folders(work: Path, kind: str) -> list[Path]:
    """Those of a kind, such as step-000250, or previews of those names, in the order of their steps. What a user named
    alike, step-000250-good, is none of them.
    """
    found = ((re.fullmatch(rf"{kind}-(\d+)(\.flac)?", path.name), path) for path in work.glob(f"{kind}-*"))
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

"""Folders that a training writes, each whole or not at all."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which gets the name `folder` once the block has ended without an error."""
    unfinished = folder.with_name(f".{folder.name}.incomplete")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def folders(work: Path, kind: str) -> list[Path]:
    """Folders such as step-000250, or previews step-000250.flac, by step. Names such as step-000250-good are not among
    them: a user gave those.
    """
    found = ((re.fullmatch(rf"{kind}-(\d+)(\.flac)?", path.name), path) for path in work.glob(f"{kind}-*"))
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

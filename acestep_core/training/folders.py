"""Folders that a training writes."""

import re
from pathlib import Path

WITHOUT = "without.flac"  # the preview without the adapter, beside those of steps


def folders(work: Path, kind: str) -> list[Path]:
    """Folders such as step-000250, or previews step-000250.flac, by step. Names such as step-000250-good are not among
    them: a user gave those.
    """
    found = ((re.fullmatch(rf"{kind}-(\d+)(\.flac)?", path.name), path) for path in work.glob(f"{kind}-*"))
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

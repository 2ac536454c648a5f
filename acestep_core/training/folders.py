"""Folders that a training writes."""

import re
from pathlib import Path


def folders(work: Path, kind: str) -> list[Path]:
    """Those of a kind, such as step-000250, or previews of those names, in the order of their steps. What a user named
    alike, step-000250-good, is none of them.
    """
    found = ((re.fullmatch(rf"{kind}-(\d+)(\.flac)?", path.name), path) for path in work.glob(f"{kind}-*"))
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

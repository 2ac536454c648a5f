"""Digests of model files: they show whether a model is still the same one, without reading gigabytes."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from .checkpoint import read_checkpoint
from .layouts import STAGE_PARTS
from .registry import PLANNER, STAGE, TEXT, VOCODER

DIGITS = 12
SAMPLES, SAMPLE_BYTES = 64, 1 << 14
_PARTS = {STAGE: STAGE_PARTS, TEXT: ("text_encoder",), VOCODER: ("vae",), PLANNER: (PLANNER,)}


def sampled(files: Iterable[Path], sample_bytes: int = SAMPLE_BYTES) -> "hashlib._Hash":
    """A SHA-256 of each file's size and of 64 samples spread over it, the first from its header."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as weights:
            for sample in range(SAMPLES):
                weights.seek(sample * max(0, size - sample_bytes) // (SAMPLES - 1))
                digest.update(weights.read(sample_bytes))
    return digest


def files_digest(files: Iterable[Path]) -> str:
    """Twelve hex digits for the contents of these files, wherever they lie. Raises OSError."""
    return _files_digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=64)
def _files_digest(states: tuple[tuple[Path, int, int], ...]) -> str:
    return sampled(file for file, *_ in states).hexdigest()[:DIGITS]


def model_digest(path: Path, kind: str) -> str:
    """Twelve hex digits for a model's weights, config and tokenizer. Raises CheckpointError, OSError.

    `kind` is the part it is loaded as: "stage", "text", "vocoder" or "planner". In another layout a model has another
    digest.
    """
    checkpoint = read_checkpoint(path)
    weights = sorted({info.file for part in _PARTS[kind] for info in checkpoint.part(part).tensors.values()})
    beside = [file.parent / "config.json" for file in weights]
    if kind in (TEXT, PLANNER) and checkpoint.tokenizer_folder:
        beside.append(checkpoint.tokenizer_folder / "tokenizer.json")
    return files_digest([*weights, *dict.fromkeys(file for file in beside if file.is_file())])

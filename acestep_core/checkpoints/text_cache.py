"""A cache of TextStates on disk: for prompts that were encoded before, the text encoder is not even loaded.

A file's name is a hash of the text encoder's weights and tokenizer, of the prompts, dtype and device. A damaged file is
made anew; beyond the size limit, the least recently used files are removed.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import AceStepError
from ..models.text_encoder import TextStates
from ..spec import LYRIC_TOKENS_MAX, TEXT_TOKENS_MAX
from ..system.files import write_whole
from ..system.folders import cache_folder
from .checkpoint import Checkpoint
from .digest import sampled

logger = logging.getLogger(__name__)

LIMIT_BYTES = 256 << 20
_FORM = 1  # of the files; a change makes all of them unknown
_CHECKSUM = "sha256"
_SAMPLE_BYTES = 1 << 16


def fingerprint(encoder: Checkpoint) -> str:
    """A hash of a text encoder on disk: of its config, its tokenizer, and samples spread over its weights."""
    part = encoder.part("text_encoder")
    digest = sampled(sorted({info.file for info in part.tensors.values()}), _SAMPLE_BYTES)
    digest.update(json.dumps(part.arguments, sort_keys=True, default=str).encode())
    tokenizer = encoder.tokenizer_folder and encoder.tokenizer_folder / "tokenizer.json"
    digest.update(tokenizer.read_bytes() if tokenizer else b"")
    return digest.hexdigest()


@dataclass(frozen=True)
class TextCache:
    """TextStates of one text encoder in a folder; `encoder` is its fingerprint, dtype and device."""

    folder: Path
    encoder: str
    limit_bytes: int = LIMIT_BYTES

    def get(self, prompts: tuple[str, ...], make: Callable[[], TextStates]) -> TextStates:
        """The TextStates of these prompts, from the disk or from `make`."""
        key = json.dumps([_FORM, self.encoder, *prompts])
        file = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        known = _read(file)
        if known is not None:
            return known
        states = make()
        if states.text.shape[1] >= TEXT_TOKENS_MAX or states.lyrics.shape[1] >= LYRIC_TOKENS_MAX:
            return states  # not cached: the text may be cut, of which the encoder must warn each time
        try:
            self._write(file, states)
        except (OSError, AceStepError) as exc:
            logger.info("%s: text states are not kept (%s)", self.folder, exc)
        return states

    def _write(self, file: Path, states: TextStates) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(states, name).detach().cpu().contiguous() for name in ("text", "lyrics")}
        write_whole(file, save(tensors, {_CHECKSUM: _checksum(tensors)}))
        self._shrink()

    def _shrink(self) -> None:
        files = [(path.stat(), path) for path in self.folder.glob("*.safetensors")]
        left = sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if left <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            left -= stat.st_size


def _read(file: Path) -> TextStates | None:
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if (stored.metadata() or {}).get(_CHECKSUM) != _checksum(tensors):
                return None
        os.utime(file)  # the time of its last use
        return TextStates(**tensors)
    except (OSError, SafetensorError, TypeError):  # not there, damaged, other tensors
        return None


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def text_cache(encoder: Checkpoint, device: torch.device, dtype: torch.dtype | None) -> TextCache | None:
    """The cache of a text encoder on disk at a dtype; None where ACESTEP_CACHE is "off"."""
    folder = cache_folder()
    if folder is None:
        return None
    return TextCache(folder / "text", f"{fingerprint(encoder)} {dtype} {device.type}")

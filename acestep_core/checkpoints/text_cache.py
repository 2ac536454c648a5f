"""TextStates kept on disk between runs: a caption that was read before is not read again, and its encoder not loaded.

A file is found by what made it: the text encoder's weights and tokenizer, the prompts to the letter, dtype and device.
What cannot be read is made anew; the files that were not asked for longest go first.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..errors import AceStepError
from ..models.text_encoder import TextStates
from ..spec import LYRIC_TOKENS_MAX, TEXT_TOKENS_MAX
from ..system.files import write_whole
from ..system.folders import cache_folder
from .checkpoint import Checkpoint
from .digest import sampled

logger = logging.getLogger(__name__)

LIMIT_BYTES = 256 << 20
_SAMPLE_BYTES = 1 << 16
_FORM = 1  # of the files; another one makes all of them unknown


def fingerprint(encoder: Checkpoint) -> str:
    """Of a text encoder on disk, by its weights' header and samples all through them, and by its tokenizer."""
    part = encoder.part("text_encoder")
    digest = sampled(sorted({info.file for info in part.tensors.values()}), _SAMPLE_BYTES)
    digest.update(json.dumps(part.arguments, sort_keys=True, default=str).encode())
    tokenizer = encoder.tokenizer_folder and encoder.tokenizer_folder / "tokenizer.json"
    digest.update(tokenizer.read_bytes() if tokenizer else b"")
    return digest.hexdigest()


@dataclass(frozen=True)
class TextCache:
    """States in a folder, made by one text encoder (`encoder` is its fingerprint, dtype and device)."""

    folder: Path
    encoder: str
    limit_bytes: int = LIMIT_BYTES

    def get(self, prompts: tuple[str, ...], make: Callable[[], TextStates]) -> TextStates:
        """The states of these prompts, from the disk or from `make`."""
        key = json.dumps([_FORM, self.encoder, *prompts])
        file = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        known = _read(file)
        if known is not None:
            return known
        states = make()
        if states.text.shape[1] >= TEXT_TOKENS_MAX or states.lyrics.shape[1] >= LYRIC_TOKENS_MAX:
            return states  # perhaps cut, which its user is to be told each time
        try:
            self._write(file, states)
        except (OSError, AceStepError) as exc:
            logger.info("%s: text states are not kept (%s)", self.folder, exc)
        return states

    def _write(self, file: Path, states: TextStates) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(states, name).detach().cpu().contiguous() for name in ("text", "lyrics")}
        write_whole(file, save(tensors))
        self._throw_out()

    def _throw_out(self) -> None:
        files = [(path.stat(), path) for path in self.folder.glob("*.safetensors")]
        left = sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if left <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            left -= stat.st_size


def _read(file: Path) -> TextStates | None:
    try:
        tensors = load_file(file)
        os.utime(file)  # asked for last
        return TextStates(**tensors)
    except (OSError, SafetensorError, TypeError):  # not there, damaged, of another form
        return None


def text_cache(encoder: Checkpoint, device: torch.device, dtype: torch.dtype | None) -> TextCache | None:
    """The cache of a text encoder on disk at that dtype; None where the user wants none."""
    folder = cache_folder()
    if folder is None:
        return None
    return TextCache(folder / "text", f"{fingerprint(encoder)} {dtype} {device.type}")

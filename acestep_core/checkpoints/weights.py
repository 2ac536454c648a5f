"""Safetensors files on disk: headers read and checked without torch, tensors found by name over one file or shards.

A header lists every tensor's dtype, shape and place, so a cut-off download shows before a byte of weights is read.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError

WEIGHT_NAMES = ("model.safetensors", "diffusion_pytorch_model.safetensors")
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
DTYPES = ("F32", "F16", "BF16")
_HEADER_LIMIT_BYTES = 100_000_000  # safetensors' own


@dataclass(frozen=True)
class TensorInfo:
    """One tensor on disk: where, under which name, and what it is."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """name -> TensorInfo of one safetensors file, whole file checked by its length. Raises CheckpointError."""
    return _read(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself beside its tensors. Raises CheckpointError."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    _refuse_other_formats(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        length = int.from_bytes(start[:8], "little")
        if start[8:9] not in (b"{", b"") or len(start) < 8 or not 2 <= length <= _HEADER_LIMIT_BYTES:
            raise CheckpointError(_what_is_it(path, start))
        if length + 8 > size:
            raise CheckpointError(_cut_off(path, size, f"more than {length + 8:,}"))
        file.seek(8)
        text = file.read(length)
    try:
        entries = json.loads(text)
        metadata = dict(entries.pop("__metadata__", None) or {})
        infos = {n: TensorInfo(path, n, e["dtype"], tuple(e["shape"])) for n, e in entries.items()}
        end = max((e["data_offsets"][1] for e in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(_what_is_it(path, start)) from error
    if size < 8 + length + end:
        raise CheckpointError(_cut_off(path, size, f"{8 + length + end:,}"))
    if not infos:
        raise CheckpointError(f"{path} holds no tensors at all; fetch the file again")
    return infos, metadata


def read_folder(folder: Path) -> dict[str, TensorInfo]:
    """name -> TensorInfo of the weights in a folder: one file, or the shards of an index. Raises CheckpointError."""
    for name in WEIGHT_NAMES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read_header(folder / name)
        if index.is_file():
            return _read_shards(index)
    raise CheckpointError(_no_weights(folder))


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises CheckpointError when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: a model folder needs it beside its weights; copy it from where the model came from, "
            "or download the model again"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}, expected an object; download it again")
    return value


def partial_downloads(folder: Path) -> list[Path]:
    """Files that a broken-off download left in a folder."""
    return sorted(p for p in folder.rglob("*.incomplete") if p.is_file())


def _read_shards(index: Path) -> dict[str, TensorInfo]:
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{index} has no weight_map, so it names no files; download it again")
    missing = sorted({shard for shard in shards.values() if not (index.parent / shard).is_file()})
    if missing:
        raise CheckpointError(
            f"{index.parent} is half downloaded: {', '.join(missing)} of the {len(set(shards.values()))} files that "
            f"{index.name} names {'is' if len(missing) == 1 else 'are'} missing; download the model again, "
            "what is here will be kept"
        )
    infos: dict[str, TensorInfo] = {}
    for shard in sorted(set(shards.values())):
        infos.update(read_header(index.parent / shard))
    lost = [name for name in shards if name not in infos]
    if lost:
        raise CheckpointError(
            f"{index.parent}: the files lack {len(lost)} tensors that {index.name} promises, first {lost[0]}; "
            "they are from different versions of the model, download it again"
        )
    return infos


def _no_weights(folder: Path) -> str:
    pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in PICKLES and p.name != "silence_latent.pt"]
    if pickles:
        return f"{folder} has its weights only as {pickles[0]}: {_PICKLE_ADVICE}"
    if partial_downloads(folder):
        return f"{folder} is half downloaded, there is no {WEIGHT_NAMES[0]} yet; download the model again to go on"
    return (
        f"{folder} has no weights: expected model.safetensors, model.safetensors.index.json with its files, or a "
        "diffusers folder; check the path"
    )


_PICKLE_ADVICE = "a pickle, which can run any code when it is opened, so it is refused; get the .safetensors version"


def _refuse_other_formats(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; check the path")
    if path.suffix in PICKLES:
        raise CheckpointError(f"{path} is {_PICKLE_ADVICE}")
    if path.suffix == ".incomplete":
        raise CheckpointError(f"{path} is half downloaded; download the model again to go on")


def _cut_off(path: Path, size: int, expected: str) -> str:
    return f"{path} is cut off: it has {size:,} bytes of {expected}; the download broke off, fetch the file again"


def _what_is_it(path: Path, start: bytes) -> str:
    kinds = {
        b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
        b"PK\x03\x04": _PICKLE_ADVICE,
        b"\x80": _PICKLE_ADVICE,
        b"GGUF": "a GGUF file; get the .safetensors version",
        b"<": "a web page, not a model; the download needs a log-in or another address",
    }
    kind = next((text for mark, text in kinds.items() if start.startswith(mark)), None)
    if not start:
        return f"{path} is empty; the download broke off, fetch the file again"
    return f"{path} is {kind or 'no safetensors file, its header cannot be read; fetch the file again'}"

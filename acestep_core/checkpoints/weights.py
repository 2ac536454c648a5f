"""Safetensors files on disk: headers read and checked without torch, tensors found by name over one file or shards.

A header lists every tensor's dtype, shape and place, so a cut-off download shows before a byte of weights is read.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import CheckpointError
from ..json_text import JSON_BYTES_MAX, parse_json_object, read_json_object

WEIGHT_NAMES = ("model.safetensors", "diffusion_pytorch_model.safetensors")
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
DTYPES = ("F32", "F16", "BF16")
_BITS = MappingProxyType(
    {
        **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
        **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
        **dict.fromkeys(("I32", "U32", "F32"), 32),
        **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    }
)
_DIMENSION_MAX, _DIMENSIONS_MAX = 2**31 - 1, 8
_AGAIN = "download it again"
_NAME_SHOWN = 80


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
    """name -> TensorInfo of one safetensors file, whose length is checked. Raises CheckpointError."""
    return _read(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file: texts by name. Raises CheckpointError."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    text, size = header_text(path), path.stat().st_size
    entries = parse_json_object(text, f"{path}: the header", CheckpointError, "fetch the file again")
    metadata = _metadata(path, entries.pop("__metadata__", None))
    infos, end = {}, 0
    for name, entry in entries.items():
        infos[name], entry_end = _tensor_info(path, name, entry)
        end = max(end, entry_end)
    if size < 8 + len(text) + end:
        raise CheckpointError(_cut_off(path, size, f"{8 + len(text) + end:,}"))
    if not infos:
        raise CheckpointError(f"{path} holds no tensors at all; fetch the file again")
    return infos, metadata


def header_text(path: Path) -> bytes:
    """The header of a safetensors file as it stands there, a JSON text. Raises CheckpointError, OSError."""
    _refuse_other_formats(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        length = int.from_bytes(start[:8], "little")
        if start[8:9] not in (b"{", b"") or len(start) < 8 or not 2 <= length <= JSON_BYTES_MAX:
            raise CheckpointError(_kind_of(path, start))
        if length + 8 > size:
            raise CheckpointError(_cut_off(path, size, f"more than {length + 8:,}"))
        file.seek(8)
        return file.read(length)


def _metadata(path: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict | None) or not all(isinstance(text, str) for text in (value or {}).values()):
        raise CheckpointError(f"{path}: the metadata in its header are no texts by name; fetch the file again")
    return value or {}


def _tensor_info(path: Path, name: str, entry: object) -> tuple[TensorInfo, int]:
    """A header's entry, checked, and the byte where its tensor ends."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(dtype, str) and _are_sizes(shape, _DIMENSION_MAX) and len(shape) <= _DIMENSIONS_MAX):
        raise CheckpointError(_bad_entry(path, name, "its dtype or shape"))
    if not (_are_sizes(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1]):
        raise CheckpointError(_bad_entry(path, name, "its place in the file"))
    if dtype in _BITS and 8 * (offsets[1] - offsets[0]) != _BITS[dtype] * math.prod(shape):
        raise CheckpointError(_bad_entry(path, name, f"its size: {dtype} {shape} in {offsets[1] - offsets[0]:,} bytes"))
    return TensorInfo(path, name, dtype, tuple(shape)), offsets[1]


def _are_sizes(value: object, most: int | None = None) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and size >= 0 and (most is None or size <= most) for size in value
    )


def _bad_entry(path: Path, name: str, wrong: str) -> str:
    return f"{path} is damaged: its header is wrong about {name[:_NAME_SHOWN]}, {wrong}; fetch the file again"


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
    """The JSON object in a model's file. Raises CheckpointError where there is none."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: a model folder needs it beside its weights; copy it from where the model came from, "
            "or download the model again"
        )
    return read_json_object(path, CheckpointError, _AGAIN)


def partial_downloads(folder: Path) -> list[Path]:
    """Files that a broken-off download left in a folder."""
    return sorted(p for p in folder.rglob("*.incomplete") if p.is_file())


def shards_of(index: Path) -> dict[str, Path]:
    """Tensor's name -> its file, as an index of shards gives them, all beside it. Raises CheckpointError."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{index} has no weight_map, so it names no files; {_AGAIN}")
    for name, shard in shards.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise CheckpointError(
                f"{index}: weight_map puts {name[:_NAME_SHOWN]} into {str(shard)[:_NAME_SHOWN]!r}, expected the name "
                f"of a .safetensors file beside it; {_AGAIN}"
            )
    return {name: index.parent / shard for name, shard in shards.items()}


def _read_shards(index: Path) -> dict[str, TensorInfo]:
    shards = shards_of(index)
    files = sorted(set(shards.values()))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} is half downloaded: {', '.join(missing)} of the {len(files)} files that "
            f"{index.name} names {'is' if len(missing) == 1 else 'are'} missing; download the model again, "
            "the files that are here are kept"
        )
    infos: dict[str, TensorInfo] = {}
    for file in files:
        infos.update(read_header(file))
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
    if path.suffix in PICKLES and _begins_as_safetensors(path):
        raise CheckpointError(f"{path} is a safetensors file under another name; rename it to {path.stem}.safetensors")
    if path.suffix in PICKLES:
        raise CheckpointError(f"{path} is {_PICKLE_ADVICE}")
    if path.suffix == ".incomplete":
        raise CheckpointError(f"{path} is half downloaded; download the model again to go on")


def _begins_as_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= JSON_BYTES_MAX


def _cut_off(path: Path, size: int, expected: str) -> str:
    return f"{path} is cut off: it has {size:,} bytes of {expected}; the download broke off, fetch the file again"


def _kind_of(path: Path, start: bytes) -> str:
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

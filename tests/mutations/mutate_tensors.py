"""Mutations of safetensors files: the length of the header, what it says of each tensor, and the tensors themselves."""

import json
from collections.abc import Mapping

import numpy as np

from .draw import Draw

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
DTYPES = (*_SIZES, "F8_E4M3", "F8_E5M2", "C64", "U16", "U32", "U64", "F4", "", "f32", "torch.float32")
BAD_NUMBERS = (float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-42, 0.0)
LENGTHS = (0, 1, 2, 8, 2**31, 2**32, 2**63, 2**64 - 1, 100_000_000, 100_000_001)

Tensors = dict[str, tuple[str, list[int], bytes]]  # name -> dtype, shape, bytes


def split(data: bytes) -> tuple[str, bytes]:
    """The header's text, and the bytes of the tensors."""
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length].decode(), data[8 + length :]


def joined(header: bytes | str, body: bytes) -> bytes:
    header = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return len(header).to_bytes(8, "little") + header + body


def read(data: bytes) -> tuple[Tensors, dict[str, str]]:
    header, body = split(data)
    entries = json.loads(header)
    metadata = entries.pop("__metadata__", {})
    return {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])]) for name, entry in entries.items()
    }, metadata


def written(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    entries: dict = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape, values) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + len(values)]}
        start += len(values)
    return joined(json.dumps(entries), b"".join(values for _, _, values in tensors.values()))


def length(data: bytes, draw: Draw) -> bytes:
    """The file lies about how long its header is."""
    true = int.from_bytes(data[:8], "little")
    lie = draw.in_turn((*LENGTHS, true - 1, true + 1, true // 2, true + 1000, len(data), len(data) - 8))
    return lie.to_bytes(8, "little") + data[8:]


def offsets(data: bytes, draw: Draw) -> bytes:
    """Tensors lie over one another, outside the file, backwards, or with gaps between them."""
    header, body = split(data)
    entries = json.loads(header)
    names = [name for name in entries if name != "__metadata__"]
    one, two = entries[draw.in_turn(names)], entries[draw.choice(names)]
    start, end = one["data_offsets"]
    one["data_offsets"] = draw.in_turn(
        (
            two["data_offsets"],
            [end, start],
            [start, end + 4],
            [start, end - 4],
            [start + len(body), end + len(body)],
            [-4, end],
            [0, len(body)],
            [start, start],
            [2**63, 2**63 + end - start],
            [start],
            [start, end, end],
        )
    )
    return joined(json.dumps(entries), body)


def dtype(data: bytes, draw: Draw) -> bytes:
    """One tensor, or all of them, are of another dtype; bytes enough for it, or as they were."""
    tensors, metadata = read(data)
    names = list(tensors) if draw.random() < 0.3 else [draw.in_turn(list(tensors))]
    kind = draw.choice(DTYPES)
    for name in names:
        _, shape, values = tensors[name]
        if kind in _SIZES and draw.random() < 0.8:
            values = draw.randbytes(int(np.prod(shape)) * _SIZES[kind])
        tensors[name] = (kind, shape, values)
    return written(tensors, metadata)


def shape(data: bytes, draw: Draw) -> bytes:
    """One tensor has another shape: fewer axes or more, swapped, empty, half, double, or what its bytes cannot be."""
    tensors, metadata = read(data)
    name = draw.in_turn(list(tensors))
    kind, given, values = tensors[name]
    width, count = _SIZES[kind], int(np.prod(given))
    choices = (
        ([], values[:width]),
        ([0, *given[1:]], b""),
        ([*given[:-1], 0], b""),
        ([1, *given], values),
        ([*given, 1], values),
        ([count], values),
        (given[::-1], values),
        ([*given[:-1], max(1, (given or [1])[-1] // 2)], None),
        ([2 * (given or [1])[0], *given[1:]], values * 2),
        ([1] * 40 + given, values),
        ([10**9, 10**9], values),
        ([2**32, 2**32], values),
        ([-1, *given[1:]], values),
        ([10**6, 0], b""),
    )
    wanted, taken = draw.choice(choices)
    taken = values[: int(np.prod(wanted)) * width] if taken is None else taken
    return written({**tensors, name: (kind, wanted, taken)}, metadata)


def numbers(data: bytes, draw: Draw) -> bytes:
    """Values of one tensor are no numbers, or hardly any: one of them, or all."""
    tensors, metadata = read(data)
    floats = [name for name, (kind, _, values) in tensors.items() if kind == "F32" and values]
    name = draw.in_turn(floats)
    kind, given, values = tensors[name]
    changed = np.frombuffer(values, "<f4").copy()
    where = slice(None) if draw.random() < 0.5 else draw.randrange(len(changed))
    changed[where] = draw.choice(BAD_NUMBERS)
    return written({**tensors, name: (kind, given, changed.tobytes())}, metadata)


def names(data: bytes, draw: Draw) -> bytes:
    """Tensors are lost, new, or go by other names."""
    tensors, metadata = read(data)
    name = draw.in_turn(list(tensors))
    value = tensors[name]
    numbered = [*name.split(".")]
    numbered = [str(10**9) if part.isdecimal() else part for part in numbered]
    others = (
        *(f"{name}.more", name.upper(), f"x.{name}", "", "a" * 70_000, "\x1b[31mmutant", "\ud800", "../../x", "é"),
        *(".".join(numbered), name.replace(".0.", ".-1."), name.replace(".0.", ".٣."), name.replace(".", "..")),
        *(name.replace(".", "_"), name.split(".")[-1], name + "." * 50_000),
    )
    change = draw.randrange(3)
    if change != 0:
        tensors = {**tensors, draw.choice(others): value}
    if change != 1:
        del tensors[name]
    return written(tensors, metadata)


def metadata(data: bytes, draw: Draw) -> bytes:
    """What the file says of itself is of another kind, or too much, or would steer a terminal."""
    header, body = split(data)
    entries = json.loads(header)
    entries.pop("__metadata__", None)
    raw = draw.in_turn(
        (
            *("null", "[]", '"x"', "3", "{}", '[["a","b"]]', '["ab"]', '{"a":1}', '{"a":null}', '{"a":{"b":"c"}}'),
            '{"title":"\\u001b[31m\\u0007red"}',
            '{"title":"\\ud800"}',
            '{"title":"![x](http://example.com/a.png)<img src=x>"}',
            f'{{"title":"{"a" * 200_000}"}}',
            f'{{"title":{"[" * 100_000}{"]" * 100_000}}}',
            f'{{"trigger_words":"{"[" * 100_000}{"]" * 100_000}"}}',
            f'{{"lora_config":"{"[" * 100_000}{"]" * 100_000}"}}',
            '{"ss_network_alpha":"nan","ss_network_dim":"0"}',
            '{"ss_network_alpha":"1e999","ss_network_dim":"-1"}',
            '{"lora_alpha":"\\u0663","r":"4"}',
            '{"lora_config":"{\\"r\\": 0, \\"lora_alpha\\": NaN}"}',
            '{"lora_config":"{\\"r\\": 4, \\"lora_alpha\\": 8, \\"alpha_pattern\\": \\"(l+)+x\\"}"}',
            '{"lora_config":"{\\"r\\": [4], \\"lora_alpha\\": 8, \\"alpha_pattern\\": {\\"(.+)+x\\": null}}"}',
            json.dumps({f"key {i}": f"value\n{i}" for i in range(2000)}),
        )
    )
    inner = json.dumps(entries)[1:]
    return joined(f'{{"__metadata__":{raw},{inner}', body)


TENSORS = {function.__name__: function for function in (length, offsets, dtype, shape, numbers, names, metadata)}

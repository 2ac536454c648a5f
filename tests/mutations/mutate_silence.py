"""Mutations of silence_latent.pt: tensors of every other kind, things that are no tensor, and pickles that run code."""

import io
import os
import pickle
import zipfile

from .draw import Draw

RAN = "a-pickle-ran"  # a folder in the working folder that is there if a pickle was let run


class _RunsCode:
    def __reduce__(self):
        return os.mkdir, (RAN,)


def _saved(value, **how) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def _zipped(data: bytes, keep) -> bytes:
    """The same archive with other entries: `keep` gives name and bytes of each, or None."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            kept = keep(info.filename, source.read(info))
            if kept is not None:
                made.writestr(*kept)
    return target.getvalue()


def _compressed(data: bytes, most: int) -> bytes:
    """An archive whose storage is `most` zero bytes, squeezed to thousandths of that."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for info in source.infolist():
            made.writestr(info.filename, bytes(most) if "/data/" in info.filename else source.read(info))
    return target.getvalue()


def value(data: bytes, draw: Draw) -> bytes:
    """Another tensor, or something else that torch can save."""
    import torch

    silence = torch.load(io.BytesIO(data), weights_only=True)
    makes = (
        lambda: silence[..., :0],
        lambda: silence[..., :1],
        lambda: silence[0],
        lambda: silence[None],
        lambda: silence[0, 0, 0],
        lambda: silence[:, :-1],
        lambda: silence.transpose(1, 2),
        lambda: torch.zeros(0),
        lambda: silence.to_sparse(),
        lambda: silence[0].to_sparse_csr(),
        lambda: silence.to(torch.complex64),
        lambda: silence.to(torch.complex64).conj(),
        lambda: silence.long(),
        lambda: silence.bool(),
        lambda: silence.to(torch.uint8),
        lambda: silence.double(),
        lambda: silence.half(),
        lambda: silence.to(torch.float8_e4m3fn),
        lambda: silence * float("nan"),
        lambda: silence * float("inf"),
        lambda: silence * 1e38,
        lambda: silence.to("meta"),
        lambda: torch.quantize_per_tensor(silence, 0.1, 0, torch.qint8),
        lambda: torch.nn.Parameter(silence),
        lambda: silence.clone().requires_grad_(),
        lambda: silence[..., :1].expand(1, silence.shape[1], 10**9),
        lambda: torch.zeros(1).expand(1, silence.shape[1], 10**12),
        lambda: torch.nested.nested_tensor([silence[0], silence[0][:, :3]]),
        lambda: [silence],
        lambda: (silence,),
        lambda: {"silence_latent": silence},
        lambda: None,
        lambda: 3,
        lambda: "silence",
        lambda: silence.numpy(),
        lambda: torch.float32,
        lambda: torch.Size([1, 8, 40]),
    )
    return _saved(draw.in_turn(makes)())


def form(data: bytes, draw: Draw) -> bytes:
    """The same tensor in another file, in part of one, or a file that would run code."""
    import numpy as np
    import torch

    silence = torch.load(io.BytesIO(data), weights_only=True)

    def array() -> bytes:
        file = io.BytesIO()
        np.save(file, silence.numpy())
        return file.getvalue()

    def script() -> bytes:
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
        return file.getvalue()

    def instead(part: str, other: bytes | None):
        """Of an archive's entries the one whose name holds `part` is another, or gone."""

        def keep(name: str, inner: bytes):
            return (name, inner) if part not in name else None if other is None else (name, other)

        return keep

    makes = (
        lambda: _saved(silence, _use_new_zipfile_serialization=False),
        lambda: _saved(silence, _use_new_zipfile_serialization=False)[:-400],
        lambda: _saved(_RunsCode()),
        lambda: _saved({"silence": silence, "more": _RunsCode()}),
        lambda: _saved(_RunsCode(), _use_new_zipfile_serialization=False),
        lambda: pickle.dumps(_RunsCode()),
        lambda: pickle.dumps({"a": [1, 2]}),
        lambda: _zipped(data, instead("data.pkl", pickle.dumps(_RunsCode(), 2))),
        lambda: _zipped(data, instead("data.pkl", b"\x80\x02" + b"]" * 100_000 + b".")),
        *(
            lambda part=part: _zipped(data, instead(part, None))
            for part in ("/data/", "data.pkl", "version", "byteorder")
        ),
        lambda: _zipped(data, instead("byteorder", b"big")),
        lambda: _zipped(data, instead("/data/", bytes(4))),
        lambda: _zipped(data, lambda name, inner: (name, b"")),
        lambda: _zipped(data, lambda name, inner: (f"../../{name}", inner)),
        lambda: _zipped(data, lambda name, inner: (name, inner.replace(b"FloatStorage", b"DoubleStorag"))),
        lambda: _compressed(data, 64 << 20),
        array,
        script,
    )
    return draw.in_turn(makes)()


SILENCE = {"value": value, "form": form}

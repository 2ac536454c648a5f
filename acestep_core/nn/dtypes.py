"""Devices and number formats, by name, and whether a device has instructions for a format.

A format without instructions is emulated slowly: on a CPU without bfloat16, matrix products in bfloat16 took 2.8 and
convolutions 3.9 times as long as in float32, in float16 7 and 500 times.
"""

import logging
from collections.abc import Sequence

import torch

from ..errors import UserError
from ..spec import DTYPE_NAMES

logger = logging.getLogger(__name__)

DTYPES = dict(zip(DTYPE_NAMES, (torch.float32, torch.bfloat16, torch.float16), strict=True))

FIRST_CUDA_WITH_BF16 = 8  # compute capability, Ampere
# Names in torch.cpu.get_capabilities, on x86 and ARM.
CPU_INSTRUCTIONS = {
    torch.bfloat16: ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"),
    torch.float16: ("amx_fp16", "avx512_fp16", "fp16_arith"),
}


def computes(device: torch.device, dtype: torch.dtype | None) -> bool:
    """Whether a device has instructions for a dtype. A torch that does not report a CPU's counts as none."""
    if device.type == "cpu" and dtype in CPU_INSTRUCTIONS:
        known = getattr(torch.cpu, "get_capabilities", dict)()
        return any(known.get(name) for name in CPU_INSTRUCTIONS[dtype])
    if device.type == "cuda" and dtype == torch.bfloat16 and torch.version.hip is None:
        return torch.cuda.get_device_capability(device)[0] >= FIRST_CUDA_WITH_BF16
    return True


def product_dtype(device: torch.device) -> torch.dtype:
    """Of matrix products in training: bfloat16 where the device has it, and else float32."""
    return torch.bfloat16 if computes(device, torch.bfloat16) else torch.float32


def suitable_dtype(device: torch.device, asked: torch.dtype | None, fits: bool = True) -> torch.dtype | None:
    """The dtype asked for, with a warning where it is emulated. Without one: float32 on a CPU without bfloat16, where
    that `fits`, and None (the files' own) anywhere else.
    """
    warn_if_emulated(device, asked)
    if asked is None and fits and device.type == "cpu" and not computes(device, torch.bfloat16):
        return torch.float32
    return asked


def warn_if_emulated(device: torch.device, *dtypes: torch.dtype | None) -> None:
    """Warns of each dtype that a device emulates."""
    for dtype in dict.fromkeys(dtypes):
        if not computes(device, dtype):
            name = str(dtype).removeprefix("torch.")
            logger.warning("this %s has no instructions for %s, so fp32 is several times faster", _kind(device), name)


def _kind(device: torch.device) -> str:
    return "CPU" if device.type == "cpu" else "GPU"


def pick_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None and "auto" take a CUDA GPU where there is one. Raises UserError."""
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise UserError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:1 or mps") from exc
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, False) or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UserError(f"device: {name} is not usable here; torch {torch.__version__} sees {_seen()}")
    return device


def _seen() -> str:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])])


def pick_dtype(
    name: str | torch.dtype | None, what: str = "dtype", names: Sequence[str] = DTYPE_NAMES
) -> torch.dtype | None:
    """The dtype of one of these names, also given as that dtype; None leaves it to the files. Raises UserError."""
    if name is None:
        return None
    dtype = DTYPES[name] if isinstance(name, str) and name in names else name
    if dtype not in [DTYPES[one] for one in names]:
        raise UserError(f"{what}: got {name!r}, expected one of {', '.join(names)}")
    return dtype

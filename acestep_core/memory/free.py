"""The memory that a device, this machine or the container around this process could still give, in bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PROGRAM_BYTES = 440 << 20  # Python with torch, and with diffusers, which only edits and plans import
FREE_SHARE = 0.9  # of what is free; the rest is lost between the blocks of an allocator


def free_bytes(device: "torch.device") -> float:
    """Bytes of a device's memory that a song may take; infinite where the device does not report it."""
    import torch

    if device.type == "cuda":
        return FREE_SHARE * torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return FREE_SHARE * (torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free_main_memory()


def total_bytes(device: "torch.device") -> float:
    """Bytes of a device's memory, or of this machine's and the container's around this process, whoever holds them."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return min([psutil.virtual_memory().total, *_container_limit()])


def program_bytes(device: "torch.device") -> int:
    """Main memory of the program beside models and songs, which a limit includes on a CPU; 0 for other devices."""
    return PROGRAM_BYTES if device.type == "cpu" else 0


def free_main_memory() -> float:
    """Bytes that this machine, or the container around this process, could still give."""
    import psutil

    return min([psutil.virtual_memory().available, *_left_in_container()])


def _container_limit(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    try:
        limit = (folder / "memory.max").read_text().strip()
    except OSError:
        return []
    return [int(limit)] if limit.isdigit() else []


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return []
    cached = int(stat.get("active_file", 0)) + int(stat.get("inactive_file", 0))  # given up when it is needed
    return [int(limit) - int(used) + cached] if limit.isdigit() else []

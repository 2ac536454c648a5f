"""Runs a function in a forked process under limits of CPU time and memory. Linux only: it forks, and reads /proc."""

import faulthandler
import gc
import json
import os
import resource
import selectors
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CPU_SECONDS, MEMORY_BYTES = 10, 2 << 30
WALL_SECONDS = 120  # on a machine with other work; a process that computes reaches the limit of CPU time first
_SLACK_BYTES = 256 << 20  # of address space, for stacks of threads and mapped files

Report = Callable[[str], None]


@dataclass(frozen=True)
class Ending:
    """How the process ended. `lines`: what the function reported; `returned`: its result, None if it was killed."""

    lines: list[str]
    returned: dict | None
    signal: str | None
    cpu_seconds: float
    grown_bytes: int  # peak memory beyond what the parent process had
    stack: str  # faulthandler's, of a process that a signal killed
    most_cpu_seconds: int = CPU_SECONDS

    @property
    def fault(self) -> str | None:
        """The limit that it exceeded, or the signal that killed it; None if it ended by itself."""
        if self.signal == "SIGXCPU" or self.cpu_seconds > self.most_cpu_seconds:
            return f"takes more than {self.most_cpu_seconds} s of CPU"
        if self.grown_bytes > MEMORY_BYTES:
            return f"takes {self.grown_bytes / 2**30:.1f} GiB of memory"
        if self.signal == "SIGALRM":
            return f"hangs for {WALL_SECONDS} s"
        if self.returned is None:
            return f"dies of {self.signal}" if self.signal else "ends the process"
        return None


def run(
    function: Callable[[Report], dict],
    scratch: Path,
    wall_seconds: float = WALL_SECONDS,
    cpu_seconds: int = CPU_SECONDS,
) -> Ending:
    """Runs the function in a fork of this process, which should have one thread only.

    The function gets a Report, to which it can give lines of text. `scratch`: a folder for a stack trace.
    """
    stack = scratch / f"stack-{os.getpid()}"
    stack.unlink(missing_ok=True)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        _run_child(function, writing, stack, cpu_seconds)
    os.close(writing)
    received, in_time = _receive(reading, time.monotonic() + wall_seconds)
    if not in_time:
        os.kill(child, signal.SIGABRT)  # faulthandler writes the stack
        time.sleep(1)
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    start_bytes, lines, returned = _parsed(received)
    killed_by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    return Ending(
        lines=lines,
        returned=returned,
        signal=killed_by if in_time else "SIGALRM",
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        grown_bytes=usage.ru_maxrss * 1024 - start_bytes,
        stack=stack.read_text(errors="replace") if stack.exists() else "",
        most_cpu_seconds=cpu_seconds,
    )


def _parsed(received: bytes) -> tuple[int, list[str], dict | None]:
    """The memory at the start, the reported lines, and the result, one JSON value a line."""
    start, *lines, last = received.decode().split("\n")
    return int(start or 0), [json.loads(line) for line in lines], json.loads(last) if last else None


def _receive(pipe: int, until: float) -> tuple[bytes, bool]:
    """Everything written before the other end is closed, and whether that was in time."""
    with selectors.DefaultSelector() as selector, open(pipe, "rb", buffering=0) as opened:
        selector.register(opened, selectors.EVENT_READ)
        received = b""
        while (left := until - time.monotonic()) > 0:
            if selector.select(left):
                if not (more := opened.read(65536)):
                    return received, True
                received += more
        return received, False


def _run_child(function: Callable[[Report], dict], pipe: int, stack: Path, cpu_seconds: int) -> None:
    """Never returns: the forked process ends here, whatever happens."""
    try:
        gc.disable()
        with open(stack, "w") as file:
            faulthandler.enable(file, all_threads=False)
            faulthandler.register(signal.SIGXCPU, file, all_threads=False, chain=True)
            _write(pipe, f"{_status('VmRSS')}\n")
            _set_limits(cpu_seconds)
            _write(pipe, json.dumps(function(lambda line: _write(pipe, f"{json.dumps(line)}\n"))))
    except BaseException:  # noqa: BLE001  two processes must not go on as one
        traceback.print_exc()
    finally:
        os._exit(0)


def _write(pipe: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(pipe, data) :]


def _set_limits(cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    most = _status("VmSize") + MEMORY_BYTES + _SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _status(field: str) -> int:
    """Bytes, of this process."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{field}:")[1].split()[0])

"""A function run in a process of its own under limits, and how it ended. Linux only: it forks, and reads /proc."""

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
WALL_SECONDS = 120  # of a machine where others work too; who is at work meets the limit of CPU time before it
_SLACK_BYTES = 256 << 20  # of address space: threads' stacks, files mapped

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Ending:
    """How a function ended. `told`: its lines on the way; `said`: what it returned, None where it was ended."""

    told: list[str]
    said: dict | None
    signal: str | None
    cpu_seconds: float
    grown_bytes: int  # the most memory that it took beyond what its parent had
    stack: str  # where it was when it was ended

    @property
    def trouble(self) -> str | None:
        """Which limit it broke, or how it died; None where it did not."""
        if self.signal == "SIGXCPU" or self.cpu_seconds > CPU_SECONDS:
            return f"takes more than {CPU_SECONDS} s of CPU"
        if self.grown_bytes > MEMORY_BYTES:
            return f"takes {self.grown_bytes / 2**30:.1f} GiB of memory"
        if self.signal == "SIGALRM":
            return f"hangs, without work, for {WALL_SECONDS} s"
        if self.said is None:
            return f"dies of {self.signal}" if self.signal else "ends the process"
        return None


def run(function: Callable[[Tell], dict], scratch: Path, wall_seconds: float = WALL_SECONDS) -> Ending:
    """Runs it in a fork of this process, which should have no threads. It may tell lines on its way.

    `scratch`: a folder for a stack trace.
    """
    stack = scratch / f"stack-{os.getpid()}"
    stack.unlink(missing_ok=True)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        _work(function, writing, stack)
    os.close(writing)
    report, in_time = _listen(reading, time.monotonic() + wall_seconds)
    if not in_time:
        os.kill(child, signal.SIGABRT)
        time.sleep(1)
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    start, told, said = _understood(report)
    ended = None if not os.WIFSIGNALED(status) else signal.Signals(os.WTERMSIG(status)).name
    return Ending(
        told=told,
        said=said,
        signal="SIGALRM" if not in_time else ended,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        grown_bytes=usage.ru_maxrss * 1024 - start,
        stack=stack.read_text(errors="replace") if stack.exists() else "",
    )


def _understood(report: bytes) -> tuple[int, list[str], dict | None]:
    """The memory at the start, what was told, and what was returned: JSON, a line each."""
    start, *lines, last = report.decode().split("\n")
    return int(start or 0), [json.loads(line) for line in lines], json.loads(last) if last else None


def _listen(pipe: int, until: float) -> tuple[bytes, bool]:
    """All that comes until the other end is closed, and whether that was in time."""
    with selectors.DefaultSelector() as selector, open(pipe, "rb", buffering=0) as opened:
        selector.register(opened, selectors.EVENT_READ)
        report = b""
        while (left := until - time.monotonic()) > 0:
            if selector.select(left):
                if not (more := opened.read(65536)):
                    return report, True
                report += more
        return report, False


def _write(pipe: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(pipe, data) :]


def _work(function: Callable[[Tell], dict], pipe: int, stack: Path) -> None:
    """In the child: never returns."""
    code = 1
    try:
        gc.disable()
        with open(stack, "w") as file:
            faulthandler.enable(file, all_threads=False)
            faulthandler.register(signal.SIGXCPU, file, all_threads=False, chain=True)
            _write(pipe, f"{_status('VmRSS')}\n")
            _limit()
            said = json.dumps(function(lambda line: _write(pipe, f"{json.dumps(line)}\n")))
            _write(pipe, said)
        code = 0
    except BaseException:  # noqa: BLE001  whatever it is, two processes must not go on as one
        traceback.print_exc()
    finally:
        os._exit(code)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    most = _status("VmSize") + MEMORY_BYTES + _SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _status(field: str) -> int:
    """Bytes, of this process."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{field}:")[1].split()[0])

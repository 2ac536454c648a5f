"""A process that writes the valid files and imports everything once, then forks: once for each worker, and there for
each case.

    python worker.py MATERIAL SCRATCH READ:WRITE...

Each pair of file descriptors is one worker's: it reads one case a line, as JSON, and writes its outcome as a line of
JSON.
"""

import gc
import importlib.util
import json
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def main(material: Path, scratch: Path, pairs: list[tuple[int, int]]) -> None:
    os.dup2(2, 1)
    _load_tests()
    import torch

    torch.set_num_threads(1)  # a fork of a process with threads may hang
    from mutations_tests import run_case

    scratch.mkdir(parents=True, exist_ok=True)
    run_case.build_material(material, scratch)
    run_case.warm_up(material, scratch)
    gc.collect()
    gc.freeze()
    workers = [os.fork() or _work(number, material, scratch, pairs) for number in range(len(pairs))]
    _close_all(pairs)
    for worker in workers:
        os.waitpid(worker, 0)


def _work(number: int, material: Path, scratch: Path, pairs: list[tuple[int, int]]) -> None:
    """One worker's life; never returns."""
    from mutations_tests import run_case
    from mutations_tests.cases import Case

    _close_all(pairs[:number] + pairs[number + 1 :])  # else the end of another worker is not seen
    own = scratch / str(number)
    own.mkdir(parents=True, exist_ok=True)
    reading, writing = pairs[number]
    with os.fdopen(reading) as cases, os.fdopen(writing, "w") as answers:
        for line in cases:
            outcome = run_case.outcome_of(Case(**json.loads(line)), material, own)
            answers.write(f"{outcome.to_json()}\n")
            answers.flush()
    os._exit(0)


def _close_all(pairs: list[tuple[int, int]]) -> None:
    for descriptor in (one for pair in pairs for one in pair):
        os.close(descriptor)


def _load_tests() -> None:
    """Makes the pack and the tests' own packages importable, as in pytest."""
    spec = importlib.util.spec_from_file_location("conftest", TESTS / "conftest.py")
    sys.modules["conftest"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [tuple(map(int, pair.split(":"))) for pair in sys.argv[3:]])

"""A process that imports everything once, then forks for each case.

    python worker.py MATERIAL SCRATCH [--build]

Reads one case a line, as JSON, from stdin, and writes its outcome as a line of JSON. With `--build` it writes the
material first; without, it waits for it.
"""

import gc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def main(material: Path, scratch: Path, build: bool) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    _load_tests()
    import torch

    torch.set_num_threads(1)  # a fork of a process with threads may hang
    from mutations_tests import run_case
    from mutations_tests.cases import Case

    scratch.mkdir(parents=True, exist_ok=True)
    if build:
        run_case.build_material(material, scratch)
    _wait_for(material / run_case.DONE)
    run_case.warm_up(material, scratch)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        outcome = run_case.outcome_of(Case(**json.loads(line)), material, scratch)
        answers.write(f"{outcome.to_json()}\n")
        answers.flush()


def _load_tests() -> None:
    """Makes the pack and the tests' own packages importable, as in pytest."""
    spec = importlib.util.spec_from_file_location("conftest", TESTS / "conftest.py")
    sys.modules["conftest"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _wait_for(file: Path) -> None:
    parent = os.getppid()
    while not file.exists():
        if os.getppid() != parent:  # the tests were ended
            sys.exit(1)
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--build" in sys.argv)

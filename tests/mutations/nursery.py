"""A process that has imported everything, and forks a child for each case that it is given.

    python nursery.py MATERIAL SCRATCH [--build]

Reads a case a line, as JSON, and writes its outcome as a line of JSON. `--build` makes the material first.
"""

import gc
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def main(whole: Path, scratch: Path, build: bool) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    _load_tests()
    import torch

    torch.set_num_threads(1)  # what has threads cannot be forked
    from mutations_tests import cradle

    scratch.mkdir(parents=True, exist_ok=True)
    if build:
        cradle.build(whole, scratch)
    while not (whole / cradle.DONE).exists():
        time.sleep(0.1)
    cradle.warm(whole, scratch)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        outcome = cradle.tried(json.loads(line), whole, scratch)
        answers.write(f"{outcome}\n")
        answers.flush()
    shutil.rmtree(scratch, ignore_errors=True)


def _load_tests() -> None:
    """The pack, and the tests' own packages, as pytest has them."""
    spec = importlib.util.spec_from_file_location("conftest", TESTS / "conftest.py")
    sys.modules["conftest"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--build" in sys.argv)

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20

SCRIPT = """
from acestep_core.memory.malloc import keep_freed_memory, return_freed_memory
from acestep_core.bench.resident import most_resident_bytes, forget_most_resident
keep_freed_memory()
import torch
def now():
    forget_most_resident()
    return most_resident_bytes()
before = now()
held = []
for _ in range(8):
    scrap, kept = torch.ones(8 << 20), torch.ones(1024)  # the small one stands on the heap above the large one
    held.append((scrap, kept))
full = now()
held = [kept for _, kept in held]
del scrap, kept
freed = now()
return_freed_memory()
print(full - before, freed - before, now() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is the C library of Linux that is asked")
def test_freed_memory_is_kept_until_it_is_returned():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    full, freed, returned = map(int, done.stdout.split())
    assert full > 250 * MIB and freed > 250 * MIB and returned < 64 * MIB

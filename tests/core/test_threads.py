import os
import sys

import pytest
import torch
from acestep_pack.acestep_core.system import threads

SETTINGS = threads.WAITS + threads.COUNTS


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A process of four CPUs without settings, before torch is imported; (cpu.max of its container) -> None."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    return (tmp_path / "cpu.max").write_text


def set_now():
    threads.prepare_threads()
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


@pytest.mark.parametrize(
    "quota, count",
    [(None, None), ("max 100000\n", None), ("150000 100000\n", "2"), ("5000 100000\n", "1"), ("900000 100000\n", None)],
)
def test_idle_threads_soon_sleep_and_are_as_many_as_the_container_allows(machine, quota, count):
    if quota:
        machine(quota)
    assert set_now() == threads.SHORTLY | ({"OMP_NUM_THREADS": count} if count else {})


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_user_stay(machine, monkeypatch, name):
    machine("100000 100000\n")
    monkeypatch.setenv(name, "3")
    own = threads.SHORTLY if name in threads.COUNTS else {"OMP_NUM_THREADS": "1"}
    assert set_now() == {name: "3"} | own


def test_threads_spin_for_a_moment_and_no_longer():
    assert threads.SHORTLY.keys() <= set(threads.WAITS)
    assert 5_000 <= int(threads.SHORTLY["GOMP_SPINCOUNT"]) < 300_000  # libgomp's own
    assert 0 < int(threads.SHORTLY["KMP_BLOCKTIME"]) < 200  # libomp's own


def test_nothing_is_set_once_torch_is_there(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert set_now() == {}


def test_a_program_with_too_many_threads_gets_fewer(monkeypatch):
    asked = []
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    for count in (8, 2, 1):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        threads.fit_threads()
    assert asked == [2]

"""`generate --cluster` and `serve --cluster`: what is skipped, what is refused, and the songs of real workers."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

import pytest
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.audio.tags import tagged
from acestep_pack.acestep_core.cli import parser, serve
from acestep_pack.acestep_core.cli.made_songs import is_made
from acestep_pack.acestep_core.cli.orders import orders_of
from acestep_pack.acestep_core.cluster import ray_workers, throughput
from acestep_pack.acestep_core.generation.making import Machine
from core_tests.conftest import command, own_folder, taught_family  # noqa: F401  fixtures

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from acestep_core.cli.parser import main; sys.exit(main())"
COUNT = 20 if os.environ.get("ACESTEP_RUN_ALL") else 6
SONGS = [{"caption": f"lo-fi beat {number}", "seconds": 10, "seed": number} for number in range(COUNT)]


def orders(*arguments):
    argv = ["generate", *map(str, arguments)]
    return orders_of(parser.build_parser(argv).parse_args(argv))


@pytest.fixture
def songs(own_folder):  # noqa: F811
    """A file of songs, and a folder for them."""
    Path("songs").mkdir()
    Path("many.jsonl").write_text("".join(f"{json.dumps(song)}\n" for song in SONGS))
    return ["--songs", "many.jsonl", "-o", "songs/", "--models", "tiny", "--steps", "3", "--device", "cpu"]


def write(order, wav, **changed):
    """The file that an order makes."""
    settings = json.loads(json.dumps(replace(order.settings, **changed).given()))
    order.path.write_bytes(tagged(wav, order.path.suffix[1:], song_tags(order.song, settings)))


@pytest.fixture
def flac():
    import io

    import numpy as np
    import soundfile

    target = io.BytesIO()
    soundfile.write(target, np.zeros((100, 2)), 16000, format="FLAC")
    return target.getvalue()


def test_songs_are_left_out_whose_files_hold_them(songs, flac):
    first, second, third, *_ = orders(*songs)
    assert [order.path.name for order in (first, second)] == ["song_1.flac", "song_2.flac"]
    write(first, flac)
    write(second, flac, steps=4)  # made with other settings
    third.path.write_bytes(b"no song")
    assert [is_made(order) for order in orders(*songs)] == [True] + [False] * (COUNT - 1)
    assert not is_made(orders(*songs, "--key", "A minor")[0]) and not is_made(orders(*songs, "--solver", "heun")[0])


def test_a_drawn_seed_may_be_any_and_a_plan_fills_in_what_was_open(songs, flac):
    argv = ["x", "--bpm", "90", "-o", "a.flac"]
    [order] = orders(*argv)
    write(order, flac, seed=5)
    assert is_made(orders(*argv)[0]) and not is_made(orders(*argv, "--seed", 7)[0])
    planned = replace(order, song=replace(order.song, key="A minor"))
    write(planned, flac, planner="p", planner_seed=1, codes=(1, 2))
    assert is_made(orders(*argv, "--plan", "p")[0])
    assert not is_made(orders("x", "--bpm", "91", "-o", "a.flac")[0])


def test_without_ray_one_line_says_how_to_install_it(songs, command, monkeypatch):  # noqa: F811
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    code, _, err = command("generate", *songs, "--cluster")
    assert code == parser.MISTAKE and err.count("\n") == 1 and "-m pip install 'ray>=" in err


@pytest.mark.parametrize(
    "options, message",
    [
        (["-o", "-", "--format", "wav", "x"], "got --cluster too, expected a folder or a file"),
        (["x", "--best-of", "2", "--judge"], "--judge: got --cluster too"),
        (["x", "--reference", "absent.wav"], "absent.wav: does not exist"),
    ],
)
def test_what_makes_no_sense_is_said_before_any_worker_starts(command, monkeypatch, options, message):  # noqa: F811
    class Pipe:
        buffer = None

        def isatty(self):
            return False

        def write(self, text):
            return 0

        def flush(self):
            pass

    if "-" in options:
        monkeypatch.setattr(sys, "stdout", Pipe())
    code, _, err = command("generate", *options, "--cluster")
    assert code == parser.MISTAKE and message in err


def test_workers_need_a_cluster(command):  # noqa: F811
    code, _, err = command("generate", "x", "--workers", 2)
    assert code == parser.MISTAKE and "--workers: got 2 and no --cluster" in err


def test_a_server_that_ends_leaves_its_cluster(monkeypatch):
    class Cluster:
        closed = False

        def __init__(self, address):
            assert address == "10.0.0.1:6379"

        def slots(self, make, workers, device, threads, say):
            return ["slot"] * workers

        def close(self):
            Cluster.closed = True

    monkeypatch.setattr(ray_workers, "RayCluster", Cluster)
    argv = ["serve", "--cluster", "10.0.0.1:6379", "--workers", "2"]
    arguments = parser.build_parser(argv).parse_args(argv)
    with pytest.raises(KeyboardInterrupt), serve._workers(arguments, [Machine()]) as slots:
        assert slots == ["slot"] * 2 and not Cluster.closed
        raise KeyboardInterrupt  # as uvicorn does after Ctrl-C
    assert Cluster.closed


def test_the_throughput_of_workers_is_told_in_one_line_and_mistakes_before_any_starts(command, monkeypatch):  # noqa: F811
    row = throughput.Throughput(2, 20, 30.0, 80.0, 44.0, 1.818, 20, 12.3, 3)
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: True)
    monkeypatch.setattr(throughput, "measure", lambda *_: row)
    _, [line], _ = command("bench", "cluster")
    assert line.startswith("2 workers: 1.82 x the songs a minute of one process") and "20 of 20 files equal" in line
    _, [line], _ = command("bench", "cluster", "--json")
    assert json.loads(line)["ratio"] == 1.818
    code, _, err = command("bench", "cluster", "--workers", 0)
    assert code == parser.MISTAKE and "--workers: got 0, expected at least 1" in err
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    code, _, err = command("bench", "cluster")
    assert code == parser.MISTAKE and err.count("\n") == 1 and "-m pip install 'ray>=" in err


# ---- real workers ----------------------------------------------------------------------------------------------------

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed; it comes with [cluster]")
needs_signals = pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL")


@pytest.fixture
def one_thread():
    """torch with the one thread that the workers take."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@needs_ray
@needs_signals
def test_a_killed_workers_songs_are_made_elsewhere_and_all_are_one_machines(
    songs, taught_family, one_thread, command  # noqa: F811
):  # fmt: skip
    given = ["generate", *songs, "--lyrics", "[Verse]\nneon rain", "--lrc", "--keep-latents"]
    given[given.index("tiny")] = str(taught_family)
    on_workers = [*given, "--cluster", "local", "--workers", "2"]
    Path("tmp").mkdir()
    places = {"TMPDIR": str(Path("tmp").resolve()), "RAY_TMPDIR": gettempdir()}  # Ray's sockets need short names
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *on_workers],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **places},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said, workers = [], []
    for text in process.stderr:
        said.append(text)
        workers += re.findall(r"worker \d+: \S+, process (\d+)", text)
        if text.startswith(f"{COUNT // 2} of {COUNT} songs"):
            os.kill(int(workers[0]), signal.SIGKILL)
    made = process.stdout.read().splitlines()
    assert process.wait() == 0 and len(made) == COUNT, "".join(said)
    assert "made again" in "".join(said) and len(workers) >= 3
    assert re.search(rf"of {COUNT} songs, about .+ left", "".join(said))
    assert list(Path("tmp").iterdir()) == []  # of the killed worker, and of the others

    code, _, err = command(*on_workers)  # before any worker is started
    assert code == parser.OK and f"{COUNT} of {COUNT} songs are made already" in err
    Path("one").mkdir()
    code, _, err = command(*[part if part != "songs/" else "one/" for part in given])
    assert code == parser.OK, err
    files = sorted(path.name for path in Path("one").iterdir())
    assert files == sorted(path.name for path in Path("songs").iterdir()) and len(files) == 3 * COUNT
    for name in files:
        assert Path("songs", name).read_bytes() == Path("one", name).read_bytes(), name


@pytest.mark.slow
@needs_ray
def test_throughput_counts_the_same_songs_of_both_sides(taught_family):  # noqa: F811
    given = ("--songs", 3, "--seconds", 10, "--repeats", 1, "--device", "cpu", "--json", "--models", taught_family)
    argv = [sys.executable, "-c", MAIN, "bench", "cluster", *map(str, given)]  # workers import the library by its name
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == parser.OK, done.stderr
    row = json.loads(done.stdout)
    assert (row["workers"], row["songs"], row["equal"]) == (2, 3, 3)
    assert row["ratio"] == pytest.approx(row["one_seconds"] / row["workers_seconds"], abs=0.01)

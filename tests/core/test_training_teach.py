"""`acestep-cascade train lora`: from a folder of clips to an adapter, killed and stopped on the way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.training import lora
from acestep_pack.acestep_core.training.distributed import ProcessGroup
from acestep_pack.acestep_core.training.lock import locked
from acestep_pack.acestep_core.training.progress import duration
from acestep_pack.acestep_core.training.settings import LoraSettings, with_own_times
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 16_000
QUICK = ["--rank", "2", "--steps", "40", "--accumulate", "2", "--crop", "2", "--warm-up", "2", "--device", "cpu"]
OFTEN = ["--save-every", "5", "--measure-every", "20"]


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(5):
        noise = 0.1 * torch.randn(1, 2, int(3.2 * RATE_HZ), generator=torch.Generator().manual_seed(seed))
        audio.write(folder / f"{seed}.wav", Waveform(noise.clamp(-1, 1), RATE_HZ))
        (folder / f"{seed}.txt").write_text(f"noise of kind {seed}")
    audio.write(folder / "still.wav", Waveform(torch.zeros(1, 2, 4 * RATE_HZ), RATE_HZ))
    (folder / "still.txt").write_text("nothing")
    return folder


@pytest.fixture
def arguments(clips, tiny_family):
    return lambda output, *more: [
        *("train", "lora", str(clips), "-o", output, "--model", str(tiny_family / "s")),
        *QUICK,
        *OFTEN,
        *more,
    ]


def started(arguments, module=("acestep_core",)):
    command = [sys.executable, "-m", *module, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)


def names(folder):
    return sorted(entry.name for entry in Path(folder).iterdir())


def stored(file):
    with safe_open(file, framework="pt") as opened:
        return opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


@pytest.mark.slow
def test_killed_and_gone_on_with_it_is_the_unbroken_training_to_the_bit(arguments, capsys):
    assert cli.main(arguments("unbroken", "--trigger", "zzt", "--preview-every", "40")) == 0
    said = capsys.readouterr()
    assert said.out.startswith("unbroken  40 steps, best on the clips held out: unbroken.training/best-0000")
    for part in (
        "still.wav: is silent; expected music",
        "clips: 4 to train on, 0.2 minutes; 1 held out",
        "adapter: LoRA of rank 2 on self, cross of s",
        "memory: about 0.00 GB beside the program itself (0.00 the base, 0.00 the adapter with its optimiser, ",
        "training: of 40 steps, 2 crops each; about ",
        "step 20/40  loss ",
        "previews/step-000040.flac  unbroken.training/previews/without.flac  unbroken.training/step-000040  0 s left",
    ):
        assert part in said.err
    assert Path("unbroken.training/previews/step-000040.flac").is_file()
    facts = read_adapter("unbroken").facts
    assert facts["trigger words"] == "zzt" and facts["base"] == "s"

    process = started(arguments("killed", "--trigger", "zzt"))
    while not Path("killed.training/step-000010").is_dir() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not Path("killed").exists()
    assert cli.main(arguments("killed", "--trigger", "zzt")) == 0
    assert "training: resumed at step " in capsys.readouterr().err
    for file in ("{}/adapter_model.safetensors", "{}.training/step-000040/state.safetensors"):
        (told, tensors), (expected_told, expected) = (stored(file.format(name)) for name in ("killed", "unbroken"))
        assert told == expected_told and tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert Path("killed.training/losses.csv").read_bytes() == Path("unbroken.training/losses.csv").read_bytes()


def test_a_share_of_the_crops_can_be_songs_of_the_models_own(arguments, capsys):
    Path("mine.txt").write_text("slow soul\nhouse\n")
    wish = ("--steps", "2", "--preserve-captions", "mine.txt")
    assert cli.main(arguments("kept", *wish)) == 2
    assert "--preserve-captions: got a file and no --preserve; give --preserve 0.25 too" in capsys.readouterr().err
    assert cli.main(arguments("kept", *wish, "--preserve", "0.25")) == 0
    assert "1 held out; 25% of the crops from 2 songs of its own\n" in capsys.readouterr().err
    assert len(list(Path("kept.training/cache/made").iterdir())) == 2
    assert read_adapter("kept").facts["settings"].count('"preserve": 0.25') == 1


@pytest.mark.slow
def test_two_processes_are_the_accumulation_of_one(arguments):
    wish = ("--steps", "5", "--save-every", "3", "--measure-every", "2", "--dropout", "0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port)
    launch = [("torch.distributed.run", *meeting, "--node-rank", rank, "-m", "acestep_core") for rank in "01"]
    two = [started(arguments("two", *wish), launcher) for launcher in launch]  # as on two machines
    assert cli.main(arguments("one", *wish)) == 0
    assert [process.wait(300) for process in two] == [0, 0]
    # Two items a step, so that the sum is of the same two numbers and equal to the bit.
    (_, tensors), (_, expected) = stored("two/adapter_model.safetensors"), stored("one/adapter_model.safetensors")
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert names("two.training") == names("one.training")


def test_a_launcher_that_starts_one_process_of_several_is_named(arguments, capsys, monkeypatch):
    for name, value in {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "10.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(arguments("one")) == 2
    assert "accelerate launch: started one process alone, as it does without --multi_gpu" in capsys.readouterr().err
    assert not Path("one.training").exists()


def test_processes_that_would_train_apart_are_named(monkeypatch):
    class Alone:
        """What accelerate makes on machines without GPUs, unless it is asked for CPUs."""

        num_processes, process_index = 1, 0

        def __init__(self, cpu):
            pass

    monkeypatch.setattr("accelerate.PartialState", Alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="got 2 processes, which no GPU connects; give --device cpu too"):
        ProcessGroup.of_this_process()


def test_ctrl_c_keeps_the_step_and_the_same_command_goes_on(arguments, capsys, monkeypatch):
    learn = lora.Trainer._optimise

    def pressed(trainer, rate):
        if trainer.step == 6:
            signal.raise_signal(signal.SIGINT)
        return learn(trainer, rate)

    monkeypatch.setattr(lora.Trainer, "_optimise", pressed)
    assert cli.main(arguments("made.safetensors")) == 130
    assert "saved at step 7 in made.safetensors.training; the same command resumes it" in capsys.readouterr().err
    assert cli.main(arguments("made.safetensors", "-q")) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("made.safetensors  40 steps")
    assert read_adapter("made.safetensors").layout == "comfyui"


def test_a_training_in_use_is_refused_and_its_holder_named(arguments, capsys):
    with locked(Path("one.training")):
        assert cli.main(arguments("one")) == 2
        said = capsys.readouterr().err
        assert f"one.training: is in use by another training (process {os.getpid()} on " in said
        assert "wait until it has ended, or choose another output" in said
        assert names("one.training") == [".holder", ".lock"]
    assert cli.main(arguments("one", "--steps", "1")) == 0
    assert ".holder" not in names("one.training")


def test_a_killed_trainings_lock_is_free(arguments):
    process = started(arguments("killed"))
    while not Path("killed.training/.holder").is_file() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    with locked(Path("killed.training")):
        assert f"process {os.getpid()} on" in Path("killed.training/.holder").read_text()


def test_fewer_steps_than_are_trained_are_refused(arguments, capsys):
    assert cli.main(arguments("one", "--steps", "5")) == 0
    before = Path("one.training/losses.csv").read_bytes()
    assert cli.main(arguments("one", "--steps", "3")) == 2
    said = capsys.readouterr().err
    assert (
        "steps: got 3, but 5 steps of one are trained already, and none can be taken back; expected at least 5" in said
    )
    assert Path("one.training/losses.csv").read_bytes() == before


@pytest.mark.slow
def test_both_names_of_gradient_checkpointing_are_one_setting(arguments):
    for option, stored in (("--frugal", True), ("--gradient-checkpointing", True), ("--no-frugal", False)):
        shutil.rmtree("one.training", ignore_errors=True)
        assert cli.main(arguments("one", "--steps", "1", option)) == 0
        settings = json.loads(read_adapter("one").facts["settings"])
        assert settings["gradient_checkpointing"] is stored and "frugal" not in settings


def test_a_folder_of_nothing_but_silence_says_so(arguments, clips, tmp_path, capsys):
    for name in ("still.wav", "still.txt"):
        (tmp_path / "silence").mkdir(exist_ok=True)
        shutil.copy(clips / name, tmp_path / "silence" / name)
    wish = arguments("out")
    wish[2] = "silence"
    assert cli.main(wish) == 2
    assert "silence: none of its 1 clips can be trained on; left out: " in capsys.readouterr().err
    for number in range(4):
        shutil.copy(clips / "still.wav", tmp_path / "silence" / f"{number}.wav")
        shutil.copy(clips / "still.txt", tmp_path / "silence" / f"{number}.txt")
    assert cli.main(wish) == 2
    assert capsys.readouterr().err.rstrip().endswith("; and 2 more")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--rank", "0"], "rank: got 0, expected a whole number of at least 1"),
        (["--targets", "self,ears"], "targets: got 'self, ears', expected some of self, cross, mlp"),
        (["--vram", "4"], "vram: got 4 GB, expected at least 8"),
        (["--kind", "oft"], "argument --kind: invalid choice: 'oft'"),
        (["--optimiser", "adamw8bit"], "pip install bitsandbytes, or choose adamw"),
        (["--keep", "0"], "keep: got 0, expected at least 1"),
        (["--model", "tiny"], "model: tiny is a whole cascade, expected one stage model, such as tiny-m"),
        (["--stretch", "0.2", "0.9"], "times: got start 0.2 and end 0.9, expected 1 >= start > end >= 0"),
        (["--model", "nonsense"], "nonsense is neither a file or folder nor a known stage model"),
        (["-o", "plain"], "plain: is a file, expected a folder or a name that ends in .safetensors"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(arguments, wrong, message, capsys):
    Path("plain").write_text("")
    assert cli.main([*arguments("out"), *wrong]) == 2
    assert message in capsys.readouterr().err and not Path("out.training").exists()


def test_a_model_with_one_place_in_its_cascade_is_taught_that_stretch():
    defaults = type("Defaults", (), {"boundaries": (0.6, 0.2)})
    settings = with_own_times(LoraSettings(), "M", defaults)
    assert (settings.start, settings.end) == (0.6, 0.2)
    assert with_own_times(LoraSettings(), "M, S", defaults) == LoraSettings()
    assert with_own_times(LoraSettings(), "M", VARIANTS["turbo"]) == LoraSettings()


@pytest.mark.parametrize("seconds, words", [(40.4, "40 s"), (720, "12 min"), (7500, "2 h 05 min")])
def test_times_are_told_in_words(seconds, words):
    assert duration(seconds) == words

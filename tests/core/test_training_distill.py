"""A student begins as its teacher's cut, learns from it, goes on where it was stopped, and plays as any stage model."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_vocoder
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.cli.train_distill import songs_to_make
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training.distillation import Distiller
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.prune import kept_layers, prune
from acestep_pack.acestep_core.training.settings import DistillSettings, Intervals, Size

ROOT = Path(__file__).resolve().parents[2]
WHOLE, SMALL = Size(32, 48, 2, 2, 1), Size(16, 24, 1, 1, 1)


@pytest.fixture
def distiller(tiny_family, tmp_path):
    """Trainings of a student of m on five clips drawn at random."""
    teacher, vocoder = load_stage_model(tiny_family / "m"), load_vocoder(tiny_family / "vae")

    def make(folder="work", intervals=Intervals(save=2, measure=2), dtype=torch.float32, size=SMALL, **changed):  # noqa: B008
        draw = torch.Generator().manual_seed(1)
        examples = [
            Example(Path(f"{i}.wav"), Song("x"), torch.randn(1, 8, 60, generator=draw),
                  torch.randn(1, 6, 32, generator=draw), str(i))
            for i in range(5)
        ]  # fmt: skip
        wish = {"steps": 4, "accumulate": 2, "warm_up": 1, "learning_rate": 3e-3, "crop_seconds": 1.0, "start": 0.5}
        wish["match"] = "teacher"
        settings = DistillSettings(size=size, **{**wish, **changed})
        return Distiller(teacher, examples, vocoder.latents, tmp_path / folder, settings, dtype, intervals)

    return make


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_where_nothing_is_cut_the_student_is_the_teacher_to_the_bit(distiller):
    one = distiller(size=WHOLE)
    assert same(one.network.state_dict(), one.model.transformer.state_dict())
    assert one.held_out_loss() == 0.0


@pytest.mark.parametrize(
    "of, count, kept",
    [
        (24, 24, range(24)),
        (24, 12, (0, 3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23)),
        (6, 4, (0, 1, 4, 5)),
        (6, 5, (0, 1, 2, 3, 5)),
        (4, 1, (0,)),
    ],
)
def test_layers_are_kept_evenly_and_their_windows_alternate(of, count, kept):
    assert kept_layers(of, count) == tuple(kept)


def test_channels_that_never_carry_anything_are_those_that_go(distiller):
    one = distiller()
    teacher, (condition, music, _, t) = one.model.transformer, one._sample(3, 0)
    with torch.no_grad():  # a teacher whose second half of neurons is silent
        for layer in teacher.layers:
            layer.mlp.up_proj.weight[24:] = 0
        student = prune(teacher, Size(32, 24, 2, 2, 1), one._calibrate)
        expected, made = (prepare(net, condition)(music, t) for net in (teacher, student))
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-2 * float(expected.std()))


def test_a_cut_that_is_seen_is_nearer_to_the_teacher_than_nothing(distiller):
    size = Size(24, 40, 2, 2, 1)
    seen, nothing = (distiller(name, size=size, begin=name).held_out_loss() for name in ("teacher", "nothing"))
    assert seen < 0.5 * nothing


@pytest.mark.parametrize(
    "changed",
    [{}, {"guidance": 3.0, "gradient_checkpointing": True}, {"match": "both"}, {"match": "music", "begin": "nothing"}],
)
@pytest.mark.slow
def test_it_learns(distiller, changed):
    one = distiller(steps=40, intervals=Intervals(0, 0), hold_out=0.0, **changed)
    losses = [it.loss for it in one.run()]
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])


def test_a_resumed_training_is_an_unbroken_one_to_the_bit(distiller):
    unbroken = distiller("a")
    told = [(it.step, it.loss, it.held_out) for it in unbroken.run()]
    assert [it.step for it in islice(distiller("b").run(), 3)] == [1, 2, 3]
    resumed = distiller("b")
    assert resumed.step == 2
    assert [(it.step, it.loss, it.held_out) for it in resumed.run()] == told[2:]
    assert same(resumed.network.state_dict(), unbroken.network.state_dict())
    with pytest.raises(UserError, match="holds a training with other guidance"):
        distiller("b", guidance=2.0)


def test_both_is_three_quarters_of_the_way_from_the_teacher_to_the_music(distiller):
    losses = {}
    for match in ("teacher", "both", "music"):
        one = distiller(match, match=match, size=WHOLE)  # the teacher itself, to the bit
        losses[match] = float(one._loss(*one._sample(1, 0)).detach())
    assert losses["teacher"] == 0 and losses["both"] == pytest.approx(0.75**2 * losses["music"])


@pytest.mark.parametrize(
    "is_turbo, guidance, match", [(False, 1.0, "both"), (True, 1.0, "teacher"), (False, 3.0, "teacher")]
)
def test_the_music_is_matched_too_where_the_teacher_is_no_other_than_its_mean(is_turbo, guidance, match):
    settings = DistillSettings(size=SMALL, guidance=guidance)
    assert settings.for_teacher({"is_turbo": is_turbo}).match == match
    assert DistillSettings(size=SMALL, match="music").for_teacher({"is_turbo": is_turbo}).match == "music"


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("ACESTEP_RUN_ALL"), reason="trainings of adapters share its loop; ACESTEP_RUN_ALL=1"
)
def test_two_processes_are_the_accumulation_of_one(tiny_family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = ["--hidden", "16", "--intermediate", "24", "--layers", "2", "--heads", "1", "--kv-heads", "1"]
    wish = ["train", "distill", "--teacher", str(tiny_family / "m"), *size, "--made", "2"]
    wish += ["--crop", "2", "--steps", "3", "--accumulate", "2", "--device", "cpu", "--quiet", "--student"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, "-m", "acestep_core", *wish, "two"]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    assert cli.main([*wish, "one"]) == 0
    # Two items a step, so that the sum is of the same two numbers and equal to the bit.
    two, one = (Path(f"{name}.training/losses.csv").read_text() for name in ("two", "one"))
    assert two == one and one.count("\n") == 4
    assert same(*(load_stage_model(tmp_path / name).transformer.state_dict() for name in ("two", "one")))


def test_bfloat16_learns_nearly_the_same_and_keeps_float32_weights(distiller):
    plain, half = distiller("a"), distiller("b", dtype=torch.bfloat16)
    assert [it.loss for it in half.run()] == pytest.approx([it.loss for it in plain.run()], rel=0.1)
    assert {parameter.dtype for parameter in half.parameters.values()} == {torch.float32}


def test_a_guided_teacher_is_matched_guided_and_the_student_plays_without(distiller, tmp_path):
    one = distiller(guidance=3.0)
    condition, music, _, t = one._sample(1, 0)
    velocity = prepare(one.model.transformer, condition)
    with torch.no_grad():
        assert not torch.allclose(one.teacher_velocity(condition, music, t), velocity(music, t))
    assert one.times.null_share == 0 and distiller("plain").times.null_share == 0.15
    assert load_stage_model(one.finish(tmp_path / "s")).defaults.guidance_kind == "none"


def test_the_command_makes_a_stage_model_that_plays(tiny_family, tmp_path, capsys):
    target = tmp_path / "student"
    size = ["--hidden", "16", "--intermediate", "24", "--layers", "2", "--heads", "1", "--kv-heads", "1"]
    wish = ["train", "distill", "--teacher", str(tiny_family / "m"), "--student", str(target), *size, "--made", "2"]
    wish += ["--crop", "2", "--steps", "3", "--accumulate", "1", "--device", "cpu"]
    assert cli.main(wish) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{target}  3 steps") and "flow times 0.5 to 0" in said.err
    found = find_cascade(tiny_family, s=target)
    assert found.stages[2].path == target and found.defaults[2].boundaries == found.defaults[1].boundaries
    song = Cascade.load(found).generate(Song("x", seconds=10), seed=1, steps=(1, 1, 1))
    assert bool(song.samples.isfinite().all()) and song.seconds == pytest.approx(10, abs=0.1)
    assert load_stage_model(tmp_path / "student.training" / "step-000003").name == "step-000003"
    assert cli.main([*wish, "--steps", "4"]) == 0
    assert "resumed at step 3 of 4 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--hidden", "16"], "size: got hidden only; give --intermediate, --layers, --heads, --kv-heads too"),
        ([], "size: got none, and a teacher of hidden size 32 has no default; give --hidden,"),
        (["--made", "0"], "--made: got 0, expected at least 1"),
        (["--captions", "no.txt"], "no.txt: could not be read (No such file or directory)"),
        (
            ["--guidance", "3", "--match", "music"],
            "match: got music with guidance 3, expected teacher: the music is not",
        ),
        (["--guidance", "0"], "guidance: got 0, expected 1 (none) or more, such as 7"),
        (["--hidden", "64"], "hidden: got 64, expected at most the teacher's 32"),
        (["--stretch", "0.2", "0.9"], "times: got start 0.2 and end 0.9, expected 1 >= start > end >= 0"),
        (["--teacher", "tiny"], "teacher: tiny is a whole cascade, expected one stage model, such as tiny-m"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(tiny_family, tmp_path, wrong, message, capsys):
    target = tmp_path / "student"
    size = [] if wrong in ([], ["--hidden", "16"]) else ["--hidden", "16", "--intermediate", "24", "--layers", "1"]
    size += ["--heads", "1", "--kv-heads", "1"] if size else []
    wish = ["train", "distill", "--teacher", str(tiny_family / "m"), "--student", str(target)]
    assert cli.main([*wish, *size, *wrong]) == 2
    assert message in capsys.readouterr().err and not target.exists()


def test_a_size_that_fits_not_into_the_teacher_says_why(distiller):
    for size, message in ((Size(64, 48, 2, 2, 1), "hidden: got 64, expected at most the teacher's 32"),
                          (Size(32, 48, 3, 2, 1), "layers: got 3, expected at most the teacher's 2"),
                          (Size(32, 48, 2, 2, 2), "kv heads: got 2, expected at most the teacher's 1")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            distiller(size=size)


def test_captions_are_lines_or_songs_as_json(tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text('slow soul\n\n{"caption": "house", "bpm": 124}\n')
    songs = songs_to_make(str(file), 3, "turbo", 60.0)
    assert {song.seconds for song in songs} == {60.0}  # as long as they are made
    assert {song.seconds for song in songs_to_make(None, 2, "tiny", 4.0)} == {10.0}
    assert [(song.caption, song.bpm) for song in songs] == [("slow soul", None), ("house", 124), ("slow soul", None)]
    with pytest.raises(UserError, match="clips: got none; give a folder of clips, or --captions FILE"):
        songs_to_make(None, 3, "turbo", 60.0)
    assert len({song.caption for song in songs_to_make(None, 4, "tiny", 60.0)}) > 1
    file.write_text('{"caption": "x", "bpm": 9}')
    with pytest.raises(UserError, match="captions.txt line 1: bpm: got 9"):
        songs_to_make(str(file), 1, "turbo", 60.0)

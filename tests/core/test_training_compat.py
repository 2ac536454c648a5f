"""Trainings that an earlier version began go on as it would have gone on: its files lie in tests/compat/training."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.facts import TRAINING
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.spec import LatentSpec
from acestep_pack.acestep_core.training.distillation import Distiller
from acestep_pack.acestep_core.training.loop import TrainingLoop
from acestep_pack.acestep_core.training.lora import Trainer
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.settings import DistillSettings, Intervals, LoraSettings, Size
from safetensors.torch import load_file

FILES = Path(__file__).resolve().parents[1] / "compat" / "training"
EXPECTED = json.loads((FILES / "expected.json").read_text())
LATENTS = LatentSpec(channels=4, samples_per_frame=480, sample_rate_hz=16_000)
INTERVALS = Intervals(save=3, measure=2)
COURSE = {"steps": 6, "accumulate": 2, "warm_up": 2, "learning_rate": 1e-2, "crop_seconds": 1.0}
ADAPTER = {"rank": 1, "alpha": 2.0, "targets": ("self",), "preserve": 0.25, "hold_out": 0.2, "dropout": 0.1}
ADAPTER |= {"start": 0.9, "end": 0.1, "gradient_checkpointing": True}
STUDENT = {"size": Size(8, 12, 1, 1, 1), "match": "both", "start": 0.5}


@pytest.fixture(scope="module")
def examples():
    stored = load_file(FILES / "examples.safetensors")
    return [
        Example(Path(f"{i}.wav"), Song("x"), stored[f"latents {i}"], stored[f"states {i}"], str(i)) for i in range(6)
    ]


@pytest.fixture
def training(tmp_path, examples):
    """A training of a kind on a copy of the stored folder, or in a new one."""

    def make(kind: str, is_stored: bool = True, **changed) -> TrainingLoop:
        work, model = tmp_path / f"{kind}.training", load_stage_model(FILES / "model")
        if is_stored and not work.exists():
            shutil.copytree(FILES / work.name, work)
        if kind == "lora":
            settings = LoraSettings(**{**COURSE, **ADAPTER, **changed})
            facts, vocoder = {"trigger words": "zzt"}, SimpleNamespace(latents=LATENTS)
            return Trainer(model, examples[:5], vocoder, work, settings, INTERVALS, facts, songs=examples[5:])
        settings = DistillSettings(**{**COURSE, **STUDENT, **changed})
        return Distiller(model, examples[:5], LATENTS, work, settings, torch.float32, INTERVALS)

    return make


def steps_of(trainer):
    return [[it.step, it.loss, it.learning_rate, it.held_out] for it in trainer.run()]


def check_close(steps, expected):
    """Steps, rates and what was measured when are equal, losses so far as two machines' kernels are."""
    assert len(steps) == len(expected)
    for made, wanted in zip(steps, expected, strict=True):
        assert [value is None for value in made] == [value is None for value in wanted]
        assert [value or 0.0 for value in made] == pytest.approx([value or 0.0 for value in wanted], rel=1e-4)


@pytest.mark.parametrize("kind", ["lora", "distill"])
def test_a_stored_training_goes_on_with_the_same_steps(training, kind):
    resumed = training(kind)
    assert resumed.step == 3 and resumed.identity == EXPECTED[kind]["identity"]
    check_close([list(row) for row in resumed.losses.read()], EXPECTED[kind]["steps"][:3])
    check_close(steps_of(resumed), EXPECTED[kind]["steps"][3:])
    check_close([list(row) for row in resumed.losses.read()], EXPECTED[kind]["steps"])


@pytest.mark.parametrize("kind", ["lora", "distill"])
def test_a_new_training_takes_the_steps_that_it_took_before(training, kind):
    check_close(steps_of(training(kind, is_stored=False)), EXPECTED[kind]["steps"])


@pytest.mark.parametrize(
    "kind, changed, named",
    [
        ("lora", {"gradient_checkpointing": False}, "gradient checkpointing"),
        ("lora", {"rank": 2}, "rank"),
        ("distill", {"gradient_checkpointing": True}, "gradient checkpointing"),
    ],
)
def test_a_stored_training_is_not_gone_on_with_under_other_settings(training, kind, changed, named):
    with pytest.raises(UserError, match=f"holds a training with other {named}; resume it with the same"):
        training(kind, **changed)


def test_a_stored_adapter_is_the_one_of_its_training_and_plays(training):
    adapter, model = read_adapter(FILES / "lora.safetensors"), load_stage_model(FILES / "model")
    assert adapter.layout == "comfyui" and adapter.ranks == (1,) and adapter.scales == (2.0,)
    assert adapter.facts[TRAINING] == training("lora").identity and adapter.facts["trigger words"] == "zzt"
    assert len(apply_adapter(model, adapter)[0].transformer.state_dict()) >= len(model.transformer.state_dict())


def test_a_stored_checkpoint_of_a_student_is_a_stage_model_of_its_size():
    student = load_stage_model(FILES / "distill.training" / "step-000003")
    size = Size.of(student.transformer.config)
    assert asdict(size) == {"hidden": 8, "intermediate": 12, "layers": 1, "heads": 1, "kv_heads": 1}
    assert student.defaults.boundaries == (0.8, 0.5)

"""Training in the graph: clips, the training itself, what is shown of it, and what it may not do."""

import os
import shutil
from pathlib import Path

import comfy.model_management as management
import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.training.lock import locked
from acestep_pack.acestep_core.training.memory_needs import adapter_parameters, training_bytes
from acestep_pack.acestep_core.training.settings import LoraSettings
from acestep_pack.nodes import dataset, load, lora, training, training_settings
from acestep_pack.nodes.host import locations, messages
from safetensors.torch import load_file, save_file

RATE_HZ = 48000
HOW = {
    "name": "style",
    "steps": 2,
    "memory": {"memory": "custom", "rank": 4, "crop_seconds": 3.0, "frugal": False},
    "learning_rate": 1e-3,
    "preview_every": 0,
    "seed": 0,
    "kind": "lora",
    "targets": "attention",
    "alpha": 0.0,
    "dropout": 0.0,
    "accumulate": 1,
    "warm_up": 0,
    "weight_decay": 0.01,
    "clip": 1.0,
    "hold_out": 0.0,
    "stretch": {"stretch": "auto"},
    "save_every": 0,
    "measure_every": 0,
}


def a_clip(path, seconds=4.0, pitch_hz=220.0):
    t = torch.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = 0.5 * torch.sin(2 * torch.pi * pitch_hz * t) * (1 - t * 4 % 1)
    audio.write(path, audio.Waveform(wave.expand(1, 2, -1), RATE_HZ))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        a_clip(folder / f"note{number}.flac", pitch_hz=220.0 * (number + 1))
        (folder / f"note{number}.txt").write_text("plucked notes\n")
    return folder


@pytest.fixture(scope="module")
def loaded():
    locations.offer_models_folder()
    with torch.inference_mode():
        return {
            "model": load.load_model(load.fetched("tiny-s", "stage", "1"), "auto"),
            "text_encoder": load.load_encoder(load.fetched("tiny-text", "text", "1"), "auto"),
            "vocoder": load.load_vocoder(load.fetched("tiny-vocoder", "vocoder", "1")),
        }


@pytest.fixture
def train(loaded, clips, run_node, comfy_models, comfy_folders, said):
    """train(steps=4): what Train LoRA returns."""

    def run(**other):
        chosen = {"clips": "folder", "folder": str(clips)}
        lesson, _ = run_node(dataset.LoraDataset, clips=chosen, trigger="zap").args
        return run_node(training.TrainLora, **loaded, dataset=lesson, **{**HOW, **other})

    return run


@pytest.fixture
def cancel(monkeypatch):
    """cancel(2): as if Cancel were pressed while step 2 is at work."""

    send = messages.show

    def at(step):
        def show(event, view):
            if event != training.EVENT:
                send(event, view)
            elif view["step"] == step:
                management.interrupt_current_processing(True)

        monkeypatch.setattr(training, "SHOW_SECONDS", 0.0)
        monkeypatch.setattr(messages, "show", show)

    yield at
    management.interrupt_current_processing(False)


def weights(path):
    return {name: (delta.a, delta.b) for name, delta in read_adapter(path).modules.items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


# ---- the training ----------------------------------------------------------------------------------------------------


def test_a_trained_adapter_is_worn_and_the_base_stays_as_it_was(train, loaded, run_node, comfy_models):
    transformer = loaded["model"].model.transformer
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    modes = [module.training for module in transformer.modules()]
    made = train(preview_every=2)
    adapter, path, curve = made.args
    assert Path(path) == comfy_models / "loras" / "style.safetensors" and "style.safetensors" in lora.choices()
    assert curve.shape == (1, 512, 1024, 3) and 0 < curve.mean() < 1
    after = transformer.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert [module.training for module in transformer.modules()] == modes
    worn, report = run_node(lora.ApplyLora, model=loaded["model"], adapter="none", strength=1.0, trained=adapter).args
    assert "style" in report and len(worn.adapters) == 1
    (info,) = run_node(lora.LoraInfo, adapter="none", trained=adapter).args
    assert "zap" in info and "tiny-s" in info
    (view,) = made.ui[training.VIEW]
    assert (view["step"], view["of"], len(view["points"])) == (2, 2, 2)
    files = [
        locations.training_folder("style").parents[1] / file["subfolder"] / file["filename"]
        for file in view["previews"]
    ]
    assert files and all(audio.read(file).seconds > 2 for file in files)


@pytest.mark.slow
def test_it_is_held_to_songs_of_its_own_which_are_made_once(train, few_own_songs, monkeypatch, said):
    train(name="plain")
    train(name="held", preserve=0.5)
    made = list((locations.training_folder(training.PREPARED) / "made").iterdir())
    assert len(made) == few_own_songs
    assert any(f"50% of the crops from {few_own_songs} songs of its own" in line for line in said)
    monkeypatch.setattr("acestep_pack.acestep_core.training.generated_clips._generate", None)  # none may be made again
    assert not same(*(weights(train(name=n, preserve=p).args[1]) for n, p in (("plain", 0.0), ("held", 0.5))))


def test_cancel_keeps_what_was_learnt_and_run_goes_on_exactly(train, cancel, said):
    whole = weights(train(name="whole", steps=4).args[1])
    cancel(2)
    with pytest.raises(messages.Cancelled):
        train(steps=4)
    assert said[-1].endswith("saved at step 2 of 4; Run resumes from there")
    assert not locations.new_adapter("style").exists()
    cancel(None)
    assert same(weights(train(steps=4).args[1]), whole)


def test_a_finished_training_is_done_at_once_and_more_steps_go_on(train, monkeypatch):
    train()
    with monkeypatch.context() as patched:
        patched.setattr("acestep_pack.acestep_core.training.loop.TrainingLoop._optimise", None)  # no step may be made
        train()
    train(steps=3)
    rows = (locations.training_folder("style") / "losses.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3"]


def test_an_adapter_of_another_training_is_never_replaced(train):
    path = Path(train().args[1])
    kept = path.read_bytes()
    with pytest.raises(UserError, match="other seed"):
        train(seed=1)
    locations.training_folder("style").rename(locations.training_folder("moved"))
    with pytest.raises(UserError, match="is there already and comes from another training; choose another name"):
        train(seed=1)
    foreign = locations.new_adapter("foreign")
    save_file(load_file(path), foreign)
    unmarked = foreign.read_bytes()
    with pytest.raises(UserError, match="choose another name"):
        train(name="foreign")
    assert (path.read_bytes(), foreign.read_bytes()) == (kept, unmarked)


def test_an_adapter_is_handed_on_when_its_trainings_folder_is_gone(train, monkeypatch, said):
    path = Path(train(steps=3).args[1])
    kept = path.read_bytes()
    shutil.rmtree(locations.training_folder("style"))
    with pytest.raises(
        UserError, match="3 steps are trained, and they cannot become 5, because the training's folder .* is gone"
    ):
        train(steps=5)
    monkeypatch.setattr("acestep_pack.acestep_core.training.loop.TrainingLoop._optimise", None)  # no step may be made
    adapter, again, curve = train(steps=3).args
    assert (Path(again), adapter.place, path.read_bytes()) == (path, path, kept) and curve.shape == (1, 512, 1024, 3)
    assert said[-1].endswith("3 steps were trained before; the training's folder is gone, and its plot with it")


def test_fewer_steps_than_are_trained_are_refused(train):
    path = Path(train(steps=3).args[1])
    kept = path.read_bytes()
    with pytest.raises(UserError, match="steps: got 2, but 3 steps of style are trained already, .* another name"):
        train(steps=2)
    shutil.rmtree(locations.training_folder("style"))
    with pytest.raises(UserError, match="3 steps are trained, and they cannot become 2"):
        train(steps=2)
    assert path.read_bytes() == kept


def test_a_training_that_another_process_runs_is_refused(train):
    with locked(locations.training_folder("style")), pytest.raises(UserError, match="style: is in use by another"):
        train()
    assert train(steps=2).args


def test_an_impossible_stretch_is_told_before_clips_are_prepared(train):
    with pytest.raises(UserError, match="got start 0.5 and end 0.5"):
        train(stretch={"stretch": "custom", "start": 0.5, "end": 0.5})
    assert not locations.training_folder(training.PREPARED).exists()


def test_an_adapter_that_was_deleted_is_written_anew(train):
    path = Path(train().args[1])
    ask = {name: HOW[name] for name in HOW} | {"dataset": None}
    assert not training.TrainLora.fingerprint_inputs(**ask)
    path.unlink()
    assert training.TrainLora.fingerprint_inputs(**ask)
    assert not training.TrainLora.fingerprint_inputs(**{**ask, "steps": 3})
    assert train() and path.exists()


def test_a_model_that_wears_an_adapter_is_not_taught(train, loaded, run_node, monkeypatch):
    adapter = train().args[0]
    worn, _ = run_node(lora.ApplyLora, model=loaded["model"], adapter="none", strength=1.0, trained=adapter).args
    monkeypatch.setitem(loaded, "model", worn)
    with pytest.raises(UserError, match="has an adapter"):
        train(name="other")


@pytest.mark.parametrize(
    "name", ["", "  ", "../evil", "a/b", "a\\b", "/etc/x", "C:x", ".hidden", "con", "NUL.txt", "x.", "a\nb", "x" * 101]
)
def test_a_name_that_could_leave_the_folder_is_refused(name, train):
    given = {"memory": {"memory": "auto"}, "stretch": {"stretch": "auto"}}
    assert "expected letters" in training.TrainLora.validate_inputs(name, **given)
    with pytest.raises(UserError, match="name: got"):  # as it comes through a link
        train(name=name)
    assert training.TrainLora.validate_inputs("soul 2.0-b", **given) is True
    assert "too long" in training.TrainLora.validate_inputs("歌" * 99, **given)


# ---- settings and memory ---------------------------------------------------------------------------------------------


def test_auto_fits_the_model_and_the_device(loaded, monkeypatch):
    auto = {**HOW, "memory": {"memory": "auto"}, "learning_rate": 0.0, "accumulate": 0}
    tiny = training_settings.settings_of(loaded["model"], auto)
    assert (tiny.rank, tiny.learning_rate, tiny.accumulate) == (16, 2e-3, 2)
    place = read_checkpoint(TINY_FOLDER / "s").defaults.boundaries[-1], 0.0  # in its cascade
    assert (tiny.start, tiny.end) == place
    named = training_settings.settings_of(loaded["model"], {**auto, "memory": {"memory": "16 GB"}})
    assert (named.rank, named.gradient_checkpointing, named.learning_rate) == (64, True, 1e-4)


def test_memory_grows_with_what_is_learnt(loaded):
    network = loaded["model"].model.transformer
    plain = LoraSettings(rank=4)
    from acestep_pack.acestep_core.training.lora import adapted

    with torch.inference_mode(False):
        made = sum(p.numel() for p in adapted(network, plain).parameters() if p.requires_grad)
    assert adapter_parameters(network, plain) == made
    least = training_bytes(network, LoraSettings(rank=4, gradient_checkpointing=True), 600)
    assert least < training_bytes(network, plain, 600) < training_bytes(network, LoraSettings(rank=64), 1200)


def test_comfyui_counts_the_memory_of_an_adapter(train, loaded, run_node):
    adapter = train().args[0]
    worn, _ = run_node(lora.ApplyLora, model=loaded["model"], adapter="none", strength=1.0, trained=adapter).args
    (branches,) = worn.adapters
    held = sum(a.nbytes + b.nbytes for a, b in weights(adapter.place).values())
    assert branches.patcher.model_size() == held


# ---- clips -----------------------------------------------------------------------------------------------------------


def told(run_node, folder, trigger=""):
    return run_node(dataset.LoraDataset, clips={"clips": "folder", "folder": str(folder)}, trigger=trigger).args


def test_regions_of_a_dataset(run_node, comfy_folders, said):
    folder = comfy_folders / "input" / "mine"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.flac", "sub/b.flac"):
        a_clip(folder / name, 12.0)
    chosen = {"clips": "folder", "folder": "mine"}
    lesson, report = run_node(dataset.LoraDataset, clips=chosen, trigger="zap", regions="sub/b.flac: 0-3, 6-end").args
    assert [clip.part for clip in lesson.dataset.clips] == [None, (0, 3), (6, None)]
    assert report.splitlines()[0] == "3 clips, 0.3 minutes; 2 of them are regions of a file"
    told = dataset.answer_clips({"clips": "folder", "folder": "mine"})
    assert told["clips"][1] == {"name": "sub/b.flac", "filename": "b.flac", "subfolder": "mine/sub", "type": "input"}
    for elsewhere in ("../mine", "", str(comfy_folders / "output")):
        with pytest.raises(UserError, match="folder: "):
            dataset.answer_clips({"clips": "folder", "folder": elsewhere})


def test_a_dataset_tells_what_it_holds_and_what_it_leaves_out(run_node, comfy_folders, said):
    folder = comfy_folders / "input" / "mine"
    folder.mkdir()
    a_clip(folder / "good.flac", 6.0)
    a_clip(folder / "mute.flac")
    (folder / "good.txt").write_text("plucked notes")
    lesson, report = told(run_node, "mine")
    assert report.splitlines()[0] == "1 clips, 0.1 minutes"
    assert "mute.flac: has no caption" in report and said[-1] == report
    assert lesson.trigger is None and [clip.path.name for clip in lesson.dataset.clips] == ["good.flac"]
    lesson, report = told(run_node, "mine", "zap")
    assert report.splitlines()[0].startswith("2 clips") and lesson.trigger == "zap"


def test_a_changed_file_changes_the_fingerprint(comfy_folders):
    folder = comfy_folders / "input" / "mine"
    folder.mkdir()
    a_clip(folder / "good.flac")
    ask = {"clips": {"clips": "folder", "folder": "mine"}, "trigger": ""}
    before = dataset.LoraDataset.fingerprint_inputs(**ask)
    assert dataset.LoraDataset.fingerprint_inputs(**ask) == before
    (folder / "good.txt").write_text("a caption")
    with_words = dataset.LoraDataset.fingerprint_inputs(**ask)
    os.utime(folder / "good.flac", ns=(0, 0))
    assert len({before, with_words, dataset.LoraDataset.fingerprint_inputs(**ask)}) == 3


@pytest.mark.parametrize(
    "folder, message",
    [
        ("", "is empty"),
        ("../secret", "is outside"),
        ("a/../../b", "is outside"),
        ("//server/share", "another machine"),
        ("\\\\server\\share", "another machine"),
        ("nowhere", "is not a folder"),
    ],
)
def test_a_folder_that_may_not_be_read_is_told(folder, message, run_node, comfy_folders, said):
    with pytest.raises(UserError, match=message):
        told(run_node, folder)


def test_whole_paths_are_for_those_at_the_machine_itself(clips, run_node, comfy_folders, said, monkeypatch):
    assert told(run_node, clips)[1].startswith("2 clips")
    for listens in ("0.0.0.0,::", "127.0.0.1,192.168.0.2"):
        monkeypatch.setattr(locations.args, "listen", listens)
        with pytest.raises(UserError, match="--listen"):
            told(run_node, clips)


def test_half_a_disk_is_no_dataset(clips, run_node, comfy_folders, said, monkeypatch):
    monkeypatch.setattr(dataset, "FILES_MOST", 2)
    with pytest.raises(UserError, match="more than 2 files"):
        told(run_node, clips)


def test_demo_clips_are_played_once(run_node, comfy_folders, said, monkeypatch):
    monkeypatch.setattr(dataset, "DEMO_SEEDS", range(2))
    monkeypatch.setattr(dataset, "DEMO_SECONDS", 3.0)
    ask = {"clips": {"clips": "demo clips"}, "trigger": ""}
    before = dataset.LoraDataset.fingerprint_inputs(**ask)
    _, report = run_node(dataset.LoraDataset, **ask).args
    made = sorted((comfy_folders / "input").rglob("*.flac"))
    assert report.startswith("2 clips") and len(made) == 2
    times = [path.stat().st_mtime_ns for path in made]
    run_node(dataset.LoraDataset, **ask)
    assert [path.stat().st_mtime_ns for path in made] == times
    assert dataset.LoraDataset.fingerprint_inputs(**ask) == before
    made[0].unlink()
    anew = dataset.LoraDataset.fingerprint_inputs(**ask)
    assert anew != before and dataset.LoraDataset.fingerprint_inputs(**ask) == anew
    run_node(dataset.LoraDataset, **ask)
    assert made[0].is_file() and dataset.LoraDataset.fingerprint_inputs(**ask) == anew


def test_a_folder_through_a_link_is_as_it_was_until_the_link_changes():
    ask = {"clips": {"clips": "folder", "folder": None}, "trigger": ""}
    assert dataset.LoraDataset.fingerprint_inputs(**ask) == dataset.LoraDataset.fingerprint_inputs(**ask) == "folder"

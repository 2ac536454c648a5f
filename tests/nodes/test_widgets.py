"""Every widget of every node changes what the model, the file or the next node gets: one walk over all of them."""

import ast
import dataclasses
import inspect
import os
import shutil
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from acestep_pack import nodes as pack
from acestep_pack.acestep_core.audio.files import write
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.band import EXAMPLE_SCORE
from acestep_pack.acestep_core.checkpoints.locate import LocalModel
from acestep_pack.acestep_core.editing.edited_song import EditedSong
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import Adapter, LowRank
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.models.defaults import ALL_TASKS
from acestep_pack.acestep_core.models.reference import Reference
from acestep_pack.acestep_core.nn.quantise import unquantised
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training.dataset import read_dataset
from acestep_pack.nodes import (
    audio,
    audio_region,
    dataset,
    edit_nodes,
    example_clip,
    label_clips,
    latents,
    listening,
    load,
    lora,
    plan_nodes,
    planner,
    play_score,
    reference,
    song,
    stages,
    stems,
    training,
    understand,
    vocoder,
)
from acestep_pack.nodes.host import locations
from acestep_pack.nodes.types import Handle, LabelledDataset
from comfy_api.latest import io
from core_tests.conftest import save_tiny_stage
from safetensors import safe_open
from safetensors.torch import load_file, save_file

PLANNER = Path(__file__).resolve().parents[1] / "golden_tasks" / "lm_a"
SONG = {
    "caption": "calm lo-fi beat",
    "lyrics": "[Instrumental]",
    "seconds": 10.0,
    "bpm": 0,
    "key": "auto",
    "time_signature": "auto",
    "language": "auto",
}
STAGE = {
    "seed": 1,
    "steps": 2,
    "stretch": {"stretch": "auto"},
    "guidance": {"guidance": "none"},
    "solver": "euler",
    "shift": 0.0,
}
CUSTOM = {"stretch": "custom", "start": 1.0, "end": 0.5}
SAVE = {
    "filename_prefix": "audio/song",
    "format": {"format": "flac", "bit_depth": "24"},
    "loudness": {"loudness": "as it is"},
    "title": "",
    "artist": "",
    "preview_only": False,
}
CASCADE = {slot: f"tiny-{slot}" for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
CASCADE |= {"vocoder_dtype": "auto", "quantise": "none"}

MEMORY = {"memory": "custom", "rank": 2, "crop_seconds": 1.0, "frugal": False}
STRETCH = {"stretch": "custom", "start": 0.8, "end": 0.2}
TRAINING = {
    "name": "style",
    "steps": 2,
    "memory": MEMORY,
    "learning_rate": 0.001,
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
    "hold_out": 0.25,
    "stretch": {"stretch": "auto"},
    "save_every": 0,
    "measure_every": 0,
    "preserve": 0.0,
}

ANSWER = {"seed": 1, "temperature": 0.85, "top_p": 0.9, "top_k": 0}
OTHER_ANSWER = {"seed": 2, "temperature": 0.0, "top_p": 0.1, "top_k": 1}
PLANNED = {**ANSWER, "choose_length": False, "codes": True, "codes_strength": 1.0, "guidance": 2.0, "negative": ""}
KEPT = {"caption": "", "lyrics": "", "seconds": 0.0, "bpm": 0}
KEPT |= dict.fromkeys(("key", "time_signature", "language"), song.AS_IT_IS)

# Node -> (what its widgets are at first, widget -> another value). A widget of a DynamicCombo is named combo.widget and
# given with the whole combo: before and after.
SUNG = Song("calm lo-fi beat", "[Verse]\nneon rain", seconds=10)
TONE = 0.3 * torch.sin(torch.arange(22_050) / 20)
TAKES = {"waveform": torch.stack([0 * TONE, TONE])[:, None], "sample_rate": 22_050}
CHANGES = {
    load.LoadCascade: (
        CASCADE,
        {
            "l": "tiny-m",
            "m": "tiny-s",
            "s": "tiny-m",
            "text_encoder": "other-text",
            "vocoder": "other-vocoder",
            "dtype": "bf16",
            "vocoder_dtype": "bf16",
            "quantise": "int8",
        },
    ),
    load.LoadStageModel: (
        {"model": "tiny-l", "dtype": "auto", "quantise": "none"},
        {"model": "tiny-m", "dtype": "bf16", "quantise": "int8"},
    ),
    load.LoadTextEncoder: (
        {"text_encoder": "tiny-text", "dtype": "auto"},
        {"text_encoder": "other-text", "dtype": "bf16"},
    ),
    load.LoadVocoder: ({"vocoder": "tiny-vocoder", "dtype": "auto"}, {"vocoder": "other-vocoder", "dtype": "bf16"}),
    song.SongNode: (
        SONG,
        {
            "caption": "loud techno",
            "lyrics": "[Verse]\nla",
            "seconds": 20.0,
            "bpm": 90,
            "key": "A minor",
            "time_signature": "3/4",
            "language": "English",
        },
    ),
    planner.LoadPlanner: (
        {"planner": "my-planner", "dtype": "auto", "quantise": "none"},
        {"planner": "other-planner", "dtype": "bf16", "quantise": "int8"},
    ),
    song.EditSong: (
        KEPT,
        {
            "caption": "loud techno",
            "lyrics": "[Verse]\nla",
            "seconds": 20.0,
            "bpm": 90,
            "key": "A minor",
            "time_signature": "3/4",
            "language": "English",
        },
    ),
    plan_nodes.PlanSong: (
        {**PLANNED, "reference": None},
        {
            **OTHER_ANSWER,
            "choose_length": True,
            "codes": False,
            "codes_strength": 0.5,
            "guidance": 8.0,
            "negative": "dusty drums",
        },
    ),
    plan_nodes.WriteSong: (
        {**ANSWER, "line": "a slow song", "instrumental": False, "seconds": 12.0, "bpm": 0}
        | dict.fromkeys(("key", "time_signature", "language"), "auto"),
        {
            **OTHER_ANSWER,
            "line": "driving techno, synth bass, saw lead, instrumental",
            "instrumental": True,
            "seconds": 0.0,
            "bpm": 90,
            "key": "A minor",
            "time_signature": "3/4",
            "language": "Japanese",
        },
    ),
    plan_nodes.RewriteSong: ({**ANSWER, "choose_length": False}, {**OTHER_ANSWER, "choose_length": True}),
    understand.UnderstandAudio: (ANSWER, OTHER_ANSWER),
    label_clips.LabelClips: ({**ANSWER, "folder": "clips"}, {**OTHER_ANSWER, "folder": "other"}),
    song.TextEncode: ({}, {}),
    reference.ReferenceEncode: ({"use": "timbre"}, {"use": "continuation"}),
    latents.EmptyLatent: ({"batch_size": 1}, {"batch_size": 2}),
    latents.EncodeAudio: ({}, {}),
    vocoder.Vocode: ({}, {}),
    listening.ScoreTakes: ({"audio": TAKES, "keep": 1}, {"keep": 2}),
    listening.LyricTimestamps: ({"song": SUNG, "words": False}, {"words": True}),
    lora.ApplyLora: (
        {"adapter": "style0.safetensors", "strength": 1.0},
        {"adapter": "style1.safetensors", "strength": 0.5},
    ),
    lora.LoraInfo: ({"adapter": "style0.safetensors"}, {"adapter": "style1.safetensors"}),
    dataset.LoraDataset: (
        {"clips": {"clips": "folder", "folder": "clips"}, "trigger": "zap", "regions": ""},
        {
            "regions": "1.flac: 0-3.5",
            "clips": {"clips": "demo clips"},
            "clips.folder": tuple({"clips": "folder", "folder": name} for name in ("clips", "other")),
            "trigger": "zip",
        },
    ),
    training.TrainLora: (
        TRAINING,
        {
            "name": "other",
            "steps": 3,
            "memory": {"memory": "tiny"},
            "memory.rank": (MEMORY, {**MEMORY, "rank": 3}),
            "memory.crop_seconds": (MEMORY, {**MEMORY, "crop_seconds": 2.0}),
            "memory.frugal": (MEMORY, {**MEMORY, "frugal": True}),
            "learning_rate": 0.01,
            "preview_every": 1,
            "seed": 1,
            "kind": "dora",
            "targets": "attention and mlp",
            "alpha": 1.0,
            "dropout": 0.5,
            "accumulate": 2,
            "warm_up": 9,
            "weight_decay": 0.5,
            "clip": 0.01,
            "hold_out": 0.5,
            "stretch": STRETCH,
            "stretch.start": (STRETCH, {**STRETCH, "start": 0.7}),
            "stretch.end": (STRETCH, {**STRETCH, "end": 0.1}),
            "save_every": 1,
            "measure_every": 1,
            "preserve": 0.5,
        },
    ),
    **{
        stage: (
            STAGE,
            {
                "seed": 2,
                "steps": 3,
                "stretch": CUSTOM,
                "stretch.start": ({**CUSTOM, "start": 0.9}, {**CUSTOM, "start": 0.8}),
                "stretch.end": (CUSTOM, {**CUSTOM, "end": 0.6}),
                "guidance": {"guidance": "cfg", "scale": 3.0},
                "guidance.scale": tuple({"guidance": "apg", "scale": scale} for scale in (3.0, 4.0)),
                "solver": "heun",
                "shift": 1.5,
            },
        )
        for stage in (stages.StageL, stages.StageM, stages.StageS)
    },
    edit_nodes.Cover: (
        {"structure": 1.0, "closeness": 0.0, "codes": True, "batch_size": 1},
        {"structure": 0.5, "closeness": 0.5, "codes": False, "batch_size": 2},
    ),
    edit_nodes.Repaint: (
        {"regions": "0.2-0.5", "strength": 0.5, "batch_size": 1},
        {"regions": "0.2-0.6", "strength": 0.1, "batch_size": 2},
    ),
    edit_nodes.Extend: (
        {"before": 0.0, "after": 2.0, "strength": 0.0, "batch_size": 1},
        {"before": 1.0, "after": 3.0, "strength": 1.0, "batch_size": 2},
    ),
    edit_nodes.Morph: (
        {"morph_begin": 0.0, "morph_end": 1.0, "averages": 1, "batch_size": 1},
        {"morph_begin": 0.2, "morph_end": 0.8, "averages": 2, "batch_size": 2},
    ),
    edit_nodes.Retake: ({"amount": 0.2, "seed": 0, "count": 1}, {"amount": 0.3, "seed": 1, "count": 2}),
    stems.ExtractStem: ({"tracks": "drums", "batch_size": 1}, {"tracks": "all", "batch_size": 2}),
    stems.AddStem: (
        {"track": "bass", "regions": "", "mix": False, "batch_size": 1},
        {"track": "drums", "regions": "0.2-0.5", "mix": True, "batch_size": 2},
    ),
    stems.Complete: ({"tracks": "drums", "batch_size": 1}, {"tracks": "drums, bass", "batch_size": 2}),
    play_score.PlayScore: (
        {"score": "example", "instrument": "as written"},
        {"score": "other.mid", "instrument": "piano"},
    ),
    example_clip.ExampleClip: ({}, {}),
    audio_region.AudioRegion: (
        {"audio": None, "regions": "bars 1", "bpm": 120.0, "time_signature": "auto", "file": "clips/1.flac"},
        {"regions": "1-2", "bpm": 100.0, "time_signature": "3/4", "file": "louder.flac"},
    ),
    audio.SaveAudio: (
        SAVE,
        {
            "filename_prefix": "audio/other",
            "format": {"format": "mp3"},
            "format.bit_depth": ({"format": "wav", "bit_depth": "24"}, {"format": "wav", "bit_depth": "16"}),
            "loudness": {"loudness": "target", "lufs": -20.0},
            "loudness.lufs": tuple({"loudness": "target", "lufs": lufs} for lufs in (-20.0, -30.0)),
            "title": "Rain",
            "artist": "Us",
            "preview_only": True,
        },
    ),
    audio.Spectrogram: (
        {"width": 256, "height": 128, "fmax_hz": 16000.0, "range_db": 80.0},
        {"width": 300, "height": 200, "fmax_hz": 8000.0, "range_db": 40.0},
    ),
    audio.Envelope: (
        {"fps": 24.0, "frames": 0, "measure": "loudness", "smoothing": 0.1},
        {"fps": 30.0, "frames": 7, "measure": "onsets", "smoothing": 1.0},
    ),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """What nodes are connected to: the embedded cascade, and a second of music that is no song of its."""
    locations.offer_models_folder()
    with torch.inference_mode():
        loaded = {
            "model": load.load_model(load.fetched("tiny-m", "stage", "1"), "auto"),
            "text_encoder": load.load_encoder(load.fetched("tiny-text", "text", "1"), "auto"),
            "vocoder": load.load_vocoder(load.fetched("tiny-vocoder", "vocoder", "1")),
        }
        coded = tmp_path_factory.mktemp("coded") / "coded"
        save_tiny_stage(coded, 0, (8, 8, 8), tasks=list(ALL_TASKS))  # the planner knows 512 codes
        asked = Song("calm lo-fi beat", seconds=10)
        t = torch.arange(48000) / 48000
        wave = 0.3 * torch.sin(2 * torch.pi * 220 * t) * (1 - 0.9 * t) * (t * 4 % 1)
        sound = {"waveform": wave.expand(1, 2, -1), "sample_rate": 48000}
        return loaded | {
            "song": asked,
            "source_song": Song("happy rock", seconds=10),
            "drawn": ((0.6, 0.8),),
            "text": loaded["text_encoder"].encoder.encode(asked),
            "latent": latents.to_latent(latents.Latents(torch.randn(1, 8, 200))),
            "audio": sound,
            "coded_model": load.load_model(LocalModel("coded", coded), "auto"),
            "planner": planner.load_planner(LocalModel("lm_a", PLANNER), "auto"),
            "dataset": LabelledDataset(read_dataset(some_clips(tmp_path_factory.mktemp("clips"), wave, 4))),
        }


def some_clips(folder: Path, wave: torch.Tensor, count: int) -> Path:
    """The same second of music over and over, louder with every clip."""
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        samples = wave.repeat(4).expand(1, 2, -1) * number / count
        write(folder / f"{number}.flac", Waveform(samples, 48000))
        (folder / f"{number}.txt").write_text(f"bpm: {60 * number}\nkey: C major\ncaption: calm lo-fi beat")
    return folder


@pytest.fixture
def other_parts(comfy_models, comfy_folders, monkeypatch):
    """A text encoder and a vocoder of the embedded family under other names, two adapters, two folders of clips."""
    monkeypatch.setattr(dataset, "DEMO_SEEDS", range(1))
    monkeypatch.setattr(dataset, "DEMO_SECONDS", 1.0)
    monkeypatch.setattr(training, "PREPARED", str(comfy_folders / "prepared"))  # once for all runs of a test
    faster = EXAMPLE_SCORE.read_bytes().replace((600_000).to_bytes(3), (500_000).to_bytes(3))
    (comfy_folders / "input" / "other.mid").write_bytes(faster)
    for name in ("clips", "other"):
        some_clips(comfy_folders / "input" / name, torch.sin(torch.arange(48000) / 20), 1)
    write(comfy_folders / "input" / "louder.flac", Waveform(torch.rand(1, 1, 200_000) - 0.5, 48000))
    tiny = Path(load.__file__).parents[1] / "acestep_core" / "tiny"
    for source, name in (("text_encoder", "other-text"), ("vae", "other-vocoder")):
        folder = shutil.copytree(tiny / source, comfy_models / "acestep" / name)
        (weights,) = folder.glob("*.safetensors")
        save_file({key: 1.1 * tensor for key, tensor in load_file(weights).items()}, weights)
    for name, factor in (("my-planner", 1.0), ("other-planner", 1.1)):
        folder = shutil.copytree(PLANNER, comfy_models / "acestep" / name)
        tensors = {key: factor * tensor for key, tensor in load_file(PLANNER / "model.safetensors").items()}
        save_file(tensors, folder / "model.safetensors")
    for seed in (0, 1):  # two adapters for tiny-m
        a, b = torch.randn(2, 4, 192, generator=torch.Generator().manual_seed(seed))
        adapter = Adapter(f"style{seed}", {"layers.0.self_attn.to_q": LowRank(a, b.T, 1.0)})
        save_adapter(adapter, comfy_models / "loras" / f"style{seed}.safetensors", "comfyui")


def widgets(node) -> set[str]:
    """Names of all widgets, those of a DynamicCombo as combo.widget."""
    names = set()
    for given in node.GET_SCHEMA().inputs:
        if isinstance(given, io.DynamicCombo.Input):
            names |= {given.id} | {f"{given.id}.{inner.id}" for option in given.options for inner in option.inputs}
        elif hasattr(given, "socketless"):  # what has a widget
            names.add(given.id)
    return names - {"audioUI"}


def seen(value, folder: Path):
    """Everything that the next node, the model or a listener could tell apart."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), str(value.dtype), value.double().sum().item(), value.double().abs().sum().item())
    if isinstance(value, EditedSong):
        return value.prompts(), value.seconds
    if isinstance(value, Song):
        return text_prompt(value), lyrics_prompt(value), value.seconds
    if isinstance(value, Handle):
        networks = [part.patcher.model for part in value.networks]
        weights = [weight for network in networks for weight in (*network.parameters(), *network.buffers())]
        strengths = [part.strength for network in networks for part in network.modules() if hasattr(part, "strength")]
        numbers = [(str(weight.dtype), unquantised(weight).double().abs().sum().item()) for weight in weights]
        return strengths, numbers, [part.patcher.model_size() for part in value.networks]
    if isinstance(value, Reference):
        source = [seen(part, folder) for part in vars(value.source).values()] if value.source else None
        return [seen(clip, folder) for clip in value.timbre], source, value.variation
    if dataclasses.is_dataclass(value):
        return [seen(part, folder) for part in vars(value).values()]
    if isinstance(value, dict):
        return {name: seen(part, folder) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [seen(part, folder) for part in value]
    return value


def content(file: Path):
    """What a file says; safetensors write their metadata in any order."""
    if file.suffix != ".safetensors":
        return file.read_bytes()
    with safe_open(file, framework="pt") as stored:
        told = sorted((stored.metadata() or {}).items())
    return told, [(name, tensor.numpy().tobytes()) for name, tensor in sorted(load_file(file).items())]


def test_every_node_is_walked():
    assert set(CHANGES) == set(pack.NODES)


# The stages' widgets are the same; with ACESTEP_RUN_ALL=1 those of all three are changed.
SPARED = () if os.environ.get("ACESTEP_RUN_ALL") else (stages.StageM, stages.StageS)
WALKED = [node for node in pack.NODES if node not in SPARED]


@pytest.mark.slow
@pytest.mark.parametrize("node", WALKED, ids=lambda node: node.__name__)
def test_every_widget_changes_something(node, run_node, parts, said, comfy_folders, other_parts, few_own_songs):
    before, changes = CHANGES[node]
    assert set(changes) == widgets(node)
    sockets = {given.id for given in node.GET_SCHEMA().inputs} & set(parts) - set(before)
    if issubclass(node, edit_nodes.EditNode):
        sockets.remove("latent")  # which would be that of the sound
    links = {name: parts[name] for name in sockets}

    if node in (understand.UnderstandAudio, label_clips.LabelClips):
        links["model"] = parts["coded_model"]

    def labels():
        return sorted((comfy_folders / "input").rglob("*.txt"))

    def outcome(given):
        shutil.rmtree(comfy_folders / "output", ignore_errors=True)
        for label in labels() if node is label_clips.LabelClips else ():
            label.unlink()
        for name in ("style", "other"):
            locations.new_adapter(name).unlink(missing_ok=True)
        made = run_node(node, **links, **given)
        files = sorted(path for path in (comfy_folders / "output").rglob("*") if path.is_file())
        if node is label_clips.LabelClips:
            return [(label.parent.name, label.read_text()) for label in labels()]
        return [seen(made.result or (), comfy_folders), [(file.name, content(file)) for file in files]]

    plain = outcome(before)
    assert outcome(before) == plain  # else any two runs would differ
    for name, change in changes.items():
        combo, _, inner = name.partition(".")
        first, then = change if inner else (before[combo], change)
        start = outcome({**before, combo: first}) if inner else plain
        if name == "quantise" and find_spec("torchao") is None:
            with pytest.raises(UserError, match="torchao is not installed"):
                outcome({**before, combo: then})
            continue
        assert outcome({**before, combo: then}) != start, f"{name} changes nothing"


@pytest.mark.parametrize("node", pack.NODES, ids=lambda node: node.__name__)
def test_every_input_says_what_it_does(node):
    schema = node.GET_SCHEMA()
    assert schema.description and schema.search_aliases and schema.category.startswith("ACE-Step/")
    given = [inner for one in schema.inputs for inner in one.get_all() if one.id != "audioUI"]
    assert [one.id for one in (*given, *schema.outputs) if not one.tooltip] == []
    assert (Path(pack.__file__).parents[1] / "web" / "docs" / f"{schema.node_id}.md").is_file()


@pytest.mark.parametrize("node", pack.NODES, ids=lambda node: node.__name__)
def test_nodes_are_thin(node):
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(node.execute))).body
    assert function.end_lineno - function.body[0].lineno < 8

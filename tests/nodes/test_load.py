"""Loaders: what they list, what they say before anything is loaded, and every layout that ComfyUI's users have."""

import inspect
import json
import os
import re
import shutil
import sys
from pathlib import Path

import comfy.model_management
import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints import hub
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.layouts import original_name
from acestep_pack.acestep_core.checkpoints.registry import KNOWN, STAGE, TEXT, VOCODER
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.memory.needs import cascade_needs
from acestep_pack.acestep_core.memory.plan import NETWORKS
from acestep_pack.acestep_core.spec import PUBLISHED_LATENTS
from acestep_pack.nodes import load, model_choice, stage_times
from acestep_pack.nodes.host import devices, downloads, locations
from comfyui_tests import published
from safetensors.torch import save_file

CASCADE = {slot: f"tiny-{slot}" for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto"}
LOADERS = {  # node -> its combos of models and what they offer
    load.LoadCascade: {"l": STAGE, "m": STAGE, "s": STAGE, "text_encoder": TEXT, "vocoder": VOCODER},
    load.LoadStageModel: {"model": STAGE},
    load.LoadTextEncoder: {"text_encoder": TEXT},
    load.LoadVocoder: {"vocoder": VOCODER},
}
COMBOS = [(node, name) for node, combos in LOADERS.items() for name in combos]


def given_to(node) -> dict:
    """What a loader is asked for by default."""
    return {one.id: one.default for one in node.GET_SCHEMA().inputs}


def validated(node, **changed):
    asked = inspect.signature(node.validate_inputs).parameters
    return node.validate_inputs(
        **{name: value for name, value in {**given_to(node), **changed}.items() if name in asked}
    )


def published_of(kind: str) -> list[str]:
    return [model.name for model in KNOWN.values() if kind in model.kinds and model.repo]


def fingerprint(node, **changed):
    return node.fingerprint_inputs(**{**given_to(node), **changed})


# ---- what is listed --------------------------------------------------------------------------------------------------


def test_what_would_be_fetched_is_marked_with_its_size(comfy_models):
    stage_models, text, vocoders = (load.choices(kind) for kind in (STAGE, TEXT, VOCODER))
    assert stage_models[:3] == ["tiny-l", "tiny-m", "tiny-s"] and (text[0], vocoders[0]) == (
        "tiny-text",
        "tiny-vocoder",
    )
    assert "acestep-v15-xl-turbo (download, 20.0 GB)" in stage_models
    assert "Qwen3-Embedding-0.6B (download, 1.2 GB)" in text
    assert "ace_1.5_vae (download, 337 MB)" in vocoders
    assert all(re.search(r"\(download, \d+(\.\d)? [GM]B\)$", choice) for choice in stage_models[3:])


def test_the_mark_comes_off_and_nothing_else(comfy_models):
    names = {model_choice.plain(choice) for choice in load.choices(STAGE)}
    assert names == {model.name for model in KNOWN.values() if STAGE in model.kinds}
    for name in ("mine (download, later).safetensors", "a (download, 1 GB) copy", "tiny-l"):
        assert model_choice.plain(name) == name


@pytest.mark.parametrize("node", LOADERS)
def test_a_new_node_can_run_as_it_is(node, comfy_models):
    given = {one.id: one for one in node.GET_SCHEMA().inputs if one.id in LOADERS[node]}
    assert set(given) == set(LOADERS[node])
    assert all(one.default in one.options for one in given.values())
    assert all(one.options[-1].startswith(list(published_of(LOADERS[node][name]))[-1]) for name, one in given.items())
    assert validated(node) is True


# ---- choices that outlive what they were chosen from -----------------------------------------------------------------


SFT = "acestep-v15-sft"


@pytest.fixture
def allowed(comfy_models):
    """A user chose one model to be downloaded."""
    assert load_routes()["POST"]({"choice": f"{SFT} (download, 4.8 GB)"}) == {"allowed": [SFT]}


def load_routes() -> dict:
    return {"GET": model_choice.answer_downloads, "POST": model_choice.answer_allow}


@pytest.mark.parametrize("marked", [True, False], ids=["saved before the download", "saved after it"])
def test_a_saved_choice_goes_on_working(marked, comfy_models, allowed, run_node, said):
    choice = "acestep-v15-sft (download, 4.8 GB)" if marked else "acestep-v15-sft"
    assert ("acestep-v15-sft (download, 4.8 GB)" in load.choices(STAGE)) and validated(
        load.LoadStageModel, model=choice
    )
    published.lay_out_folder(comfy_models / "acestep" / "acestep-v15-sft")
    assert "acestep-v15-sft" in load.choices(STAGE)
    assert validated(load.LoadStageModel, model=choice) is True
    assert validated(load.LoadCascade, l=choice) is True
    (handle,) = run_node(load.LoadStageModel, model=choice, dtype="auto").args
    assert (handle.model.name, handle.model.defaults.variant) == ("acestep-v15-sft", "turbo")  # as its config says
    shutil.rmtree(comfy_models / "acestep" / "acestep-v15-sft")
    assert validated(load.LoadStageModel, model=choice) is True  # it will be fetched


def refusal(node, run_node, **changed) -> str:
    """The error for a choice: before anything runs, or for Load Cascade, whose every input it would mark, when it runs,
    with the name of the input.
    """
    if node is not load.LoadCascade:
        return validated(node, **changed)
    assert validated(node, **changed) is True
    with pytest.raises(AceStepError) as caught:
        run_node(node, **{**CASCADE, "dtype": "auto", **changed})
    (name,) = changed
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value).removeprefix(f"{name}: ")


FOLDERS = {STAGE: "diffusion_models", TEXT: "text_encoders", VOCODER: "vae"}


@pytest.mark.parametrize("node, name", COMBOS)
@pytest.mark.parametrize("choice", ["missing.safetensors", "../../secret.safetensors", "/etc/passwd"])
def test_what_is_not_there_is_told_before_anything_is_loaded(node, name, choice, comfy_models, run_node, said):
    told = refusal(node, run_node, **{name: choice})
    file, folder = comfy_models / FOLDERS[LOADERS[node][name]], comfy_models / "acestep"
    assert told.startswith(f"{choice} is no ") and told.endswith(f"put a file into {file}, a folder into {folder}")


def test_a_model_of_another_kind_is_told_before_anything_is_loaded(comfy_models, run_node, said):
    kinds = {"m": ("tiny-vocoder", "stage model"), "text_encoder": ("tiny-l", "text encoder")}
    kinds |= {"vocoder": ("tiny-text", "vocoder")}
    for name, (choice, kind) in kinds.items():
        assert refusal(load.LoadCascade, run_node, **{name: choice}).startswith(f"{choice} is no {kind}")


def test_only_auto_parts_may_be_left_to_the_cascade(comfy_models):
    assert validated(load.LoadCascade, text_encoder="auto", vocoder="auto") is True
    for node, name in COMBOS:
        options = next(one.options for one in node.GET_SCHEMA().inputs if one.id == name)
        assert ("auto" in options) == (node is load.LoadCascade and name in ("text_encoder", "vocoder"))


@pytest.mark.parametrize("node, name", COMBOS)
def test_what_comes_through_a_link_is_not_known_yet(node, name, comfy_models):
    assert validated(node, **{name: None}) is True
    assert fingerprint(node, **{name: None}) == fingerprint(node, **{name: None})


# ---- fingerprints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(comfy_models):
    published.lay_out_files(comfy_models)
    return comfy_models


SPLIT = {
    load.LoadStageModel: ("model", published.STAGE, "diffusion_models"),
    load.LoadTextEncoder: ("text_encoder", published.TEXT_ENCODER, "text_encoders"),
    load.LoadVocoder: ("vocoder", published.VOCODER, "vae"),
    load.LoadCascade: ("s", published.STAGE, "diffusion_models"),
}


@pytest.mark.parametrize("node", SPLIT)
def test_a_changed_file_changes_the_fingerprint(node, files):
    name, choice, folder = SPLIT[node]
    before = fingerprint(node, **{name: choice})
    assert fingerprint(node, **{name: choice}) == before != fingerprint(node)
    (files / folder / "unrelated.safetensors").write_bytes(b"")
    assert fingerprint(node, **{name: choice}) == before
    file = files / folder / f"{choice}.safetensors"
    os.utime(file, ns=(0, 0))
    touched = fingerprint(node, **{name: choice})
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(0, 0))
    assert len({before, touched, fingerprint(node, **{name: choice})}) == 3


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "silence_latent.pt"])
def test_a_changed_file_of_a_folder_changes_the_fingerprint(changed, comfy_models):
    published.lay_out_folder(comfy_models / "acestep" / "mine")
    before = fingerprint(load.LoadStageModel, model="mine")
    os.utime(comfy_models / "acestep" / "mine" / changed, ns=(0, 0))
    assert fingerprint(load.LoadStageModel, model="mine") != before


def test_a_download_changes_the_fingerprint(comfy_models):
    choice = "acestep-v15-sft (download, 4.8 GB)"
    before = fingerprint(load.LoadStageModel, model=choice)
    assert before == fingerprint(load.LoadStageModel, model="acestep-v15-sft")
    published.lay_out_folder(comfy_models / "acestep" / "acestep-v15-sft")
    assert fingerprint(load.LoadStageModel, model=choice) != before


@pytest.mark.parametrize("folder, name", [("text_encoders", published.TEXT_ENCODER), ("vae", published.VOCODER)])
def test_a_changed_file_of_an_auto_part_changes_the_fingerprint(folder, name, files):
    choices = {slot: published.STAGE for slot in "lms"}
    before = fingerprint(load.LoadCascade, **choices)
    assert fingerprint(load.LoadCascade, **choices) == before
    os.utime(files / folder / f"{name}.safetensors", ns=(0, 0))
    assert fingerprint(load.LoadCascade, **choices) != before
    chosen = {**choices, "text_encoder": "tiny-text", "vocoder": "tiny-vocoder"}
    named = fingerprint(load.LoadCascade, **chosen)
    os.utime(files / folder / f"{name}.safetensors", ns=(1, 1))
    assert fingerprint(load.LoadCascade, **chosen) == named


# ---- the layouts of ComfyUI's users ----------------------------------------------------------------------------------


@pytest.fixture
def all_in_one(comfy_models):
    published.lay_out_all_in_one(comfy_models)
    return comfy_models


def assert_holds(model, tensors):
    """A stage model has the weights of the published layout's file."""
    parts = {"transformer": model.transformer, "condition_encoder": model.condition_encoder}
    for part, network in parts.items():
        for name, weight in network.named_parameters():
            assert torch.equal(weight, tensors[original_name(part, name)])


def test_split_files_are_loaded_one_by_one(files, run_node, said):
    (stage,) = run_node(load.LoadStageModel, model=published.STAGE, dtype="auto").args
    assert_holds(stage.model, published.stage())
    assert (stage.model.name, stage.model.family) == (published.STAGE, "2b")
    assert (stage.model.defaults.variant, stage.model.latents_channels) == ("turbo", 64)
    (encoder,) = run_node(load.LoadTextEncoder, text_encoder=published.TEXT_ENCODER, dtype="auto").args
    assert encoder.encoder.model.config.hidden_size == published.TEXT_WIDTH
    assert encoder.encoder.tokenizer.encode("ab").ids[0] > 0
    (vocoder,) = run_node(load.LoadVocoder, vocoder=published.VOCODER).args
    assert vocoder.vocoder.latents == PUBLISHED_LATENTS


@pytest.mark.slow
def test_a_file_without_silence_gets_it_from_the_vocoder_in_comfyuis_folder(files, run_node, said):
    (stage,) = run_node(load.LoadStageModel, model=published.STAGE, dtype="auto").args
    (vocoder,) = run_node(load.LoadVocoder, vocoder=published.VOCODER).args
    heard = vocoder.vocoder.encode(Waveform(torch.zeros(1, 2, 64 * 1920), 48_000))
    assert torch.allclose(stage.model.silent(40), heard[..., :40], atol=1e-5)
    (files / "vae" / f"{published.VOCODER}.safetensors").unlink()
    with pytest.raises(AceStepError, match="brings no silence_latent.pt, and there is no vocoder of 64 channels"):
        run_node(load.LoadStageModel, model=published.STAGE, dtype="auto")


def test_split_files_make_a_cascade(files, run_node, said):
    choices = {slot: published.STAGE for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
    l, m, s, encoder, vocoder = run_node(load.LoadCascade, **choices).args  # noqa: E741
    assert l is m is s and l.preview is vocoder
    assert_holds(l.model, published.stage())
    assert encoder.encoder.model.config.hidden_size == published.TEXT_WIDTH
    assert vocoder.vocoder.latents == PUBLISHED_LATENTS
    named = {"text_encoder": published.TEXT_ENCODER, "vocoder": published.VOCODER}
    assert run_node(load.LoadCascade, **{**choices, **named}).args[4].vocoder.latents == PUBLISHED_LATENTS


def test_an_all_in_one_checkpoint_is_loaded_whole_and_in_parts(all_in_one, run_node, said):
    name = published.ALL_IN_ONE
    choices = {slot: name for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
    l, m, s, encoder, vocoder = run_node(load.LoadCascade, **choices).args  # noqa: E741
    assert l is m is s
    parts = (
        run_node(load.LoadStageModel, model=name, dtype="auto").args[0],
        run_node(load.LoadTextEncoder, text_encoder=name, dtype="auto").args[0],
        run_node(load.LoadVocoder, vocoder=name).args[0],
    )
    for stage in (l, parts[0]):
        assert_holds(stage.model, published.stage())
    for one in (encoder, parts[1]):
        assert one.encoder.model.config.hidden_size == published.TEXT_WIDTH
    for one in (vocoder, parts[2]):
        assert one.vocoder.latents == PUBLISHED_LATENTS


def test_files_of_any_name_in_any_folder_of_that_kind(files, run_node, said):
    (files / "diffusion_models" / "music").mkdir()
    for folder, old, new in (
        ("diffusion_models", published.STAGE, "music/my merge.safetensors"),
        ("text_encoders", published.TEXT_ENCODER, "reader.safetensors"),
    ):
        (files / folder / f"{old}.safetensors").rename(files / folder / new)
    choices = {slot: "music/my merge.safetensors" for slot in "lms"} | {"text_encoder": "reader.safetensors"}
    made = run_node(load.LoadCascade, **choices, vocoder=published.VOCODER, dtype="auto").args
    assert made[0].model.name == "my merge"
    assert_holds(made[0].model, published.stage())


def test_a_variant_that_is_guessed_is_said_on_the_node(files, run_node, said):
    file = files / "diffusion_models" / f"{published.STAGE}.safetensors"
    file.rename(file.with_name("mystery.safetensors"))
    run_node(load.LoadStageModel, model="mystery.safetensors", dtype="auto")
    assert any("mystery.safetensors does not name its variant" in line for line in said)


def test_weights_in_8_bits_are_placed_by_what_they_take(comfy_models, run_node, said):
    pytest.importorskip("torchao")
    plain, rounded = (
        run_node(load.LoadStageModel, model="tiny-m", dtype="bf16", quantise=kind).args[0] for kind in ("none", "int8")
    )
    sizes = [handle.transformer.patcher.model_size() for handle in (plain, rounded)]
    assert 0.45 < sizes[1] / sizes[0] < 0.65
    for handle in (plain, rounded):
        handle.load_transformer(0)
        patcher = handle.transformer.patcher
        assert patcher.loaded_size() == patcher.model_size()
        assert patcher.partially_unload(patcher.offload_device, 1) == 0  # whole or not at all
        patcher.load(torch.device("meta"), full_load=True)
        assert handle.model.transformer.layers[0].self_attn.to_q.weight.is_meta


def test_without_torchao_8_bits_are_one_line(comfy_models, run_node, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(AceStepError, match="quantise: torchao is not installed.* -m pip install -U torchao"):
        run_node(load.LoadCascade, **CASCADE, dtype="auto", quantise="int8")


@pytest.mark.parametrize("started, each", [(None, 4), ("bf16_vae", 2), ("fp16_vae", 4)])
def test_the_vocoder_is_in_full_precision_unless_comfyui_is_told_otherwise(
    started, each, comfy_models, run_node, said, monkeypatch
):
    if started:
        monkeypatch.setattr(comfy.cli_args.args, started, True)
    cascade = run_node(load.LoadCascade, **CASCADE, dtype="bf16").args
    alone = run_node(load.LoadVocoder, vocoder="tiny-vocoder").args
    own = run_node(load.LoadVocoder, vocoder="tiny-vocoder", dtype="fp32").args
    sizes = [next(handle.vocoder.network.parameters()).element_size() for handle in (cascade[4], *alone, *own)]
    assert sizes == [each, each, 4]


@pytest.mark.parametrize(
    "has_bf16, free, dtype", [(True, 2**40, None), (False, 2**40, torch.float32), (False, 9, None)]
)
def test_auto_is_fp32_on_a_cpu_without_bf16_where_it_fits(has_bf16, free, dtype, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bf16}, raising=False)
    monkeypatch.setattr(devices, "free_main_memory", lambda: free)
    assert devices.stage_dtype("auto", 1000) is dtype


def test_a_dtype_that_the_cpu_emulates_is_said(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert (devices.stage_dtype("bf16", 1000), devices.vocoder_dtype("bf16")) == (torch.bfloat16, torch.bfloat16)
    assert [record.getMessage()[:41] for record in caplog.records] == ["this CPU has no instructions for bfloat16"] * 2


def test_models_of_two_families_are_told(files, run_node, said):
    with pytest.raises(AceStepError, match=f"{published.STAGE} makes latents of 64 channels, .* reads 8"):
        run_node(load.LoadCascade, **{**CASCADE, "m": published.STAGE, "dtype": "auto"})


def test_a_model_in_two_slots_is_loaded_once(comfy_models, run_node, said):
    l, m, s, *_ = run_node(load.LoadCascade, **{**CASCADE, "s": "tiny-l", "dtype": "auto"}).args  # noqa: E741
    assert l is s and l is not m
    assert [one.model.name for one in (l, m, s)] == ["tiny-l", "tiny-m", "tiny-l"]


@pytest.mark.parametrize(
    "node, given", [(load.LoadCascade, CASCADE), (load.LoadStageModel, {"model": "tiny-m"})], ids=["cascade", "stage"]
)
def test_what_a_song_takes_is_told_before_anything_is_loaded(node, given, comfy_models, run_node, said, monkeypatch):
    def loads(*_):
        raise AceStepError("loading")

    monkeypatch.setattr(load, "load_cascade", loads)
    monkeypatch.setattr(load, "load_model", loads)
    figures = re.compile(r"([\d.]+) GB for a song of 240 s, one network .*; ([\d.]+) GB where .* stay")
    told = []
    for dtype in ("fp32", "bf16"):
        with pytest.raises(AceStepError, match="loading"):
            run_node(node, **given, dtype=dtype)
        told.append([found for found in map(figures.fullmatch, said) if found][-1])
    assert all(float(one[1]) <= float(one[2]) for one in told)
    assert float(told[0][2]) >= float(told[1][2])


def prompt_of(*seconds) -> dict:
    """The loader (1) with a stage for each song, and a song that is none of its."""
    prompt = {"1": {"class_type": "AceStepLoadStageModel", "inputs": {"model": "tiny-l"}}}
    for at, each in enumerate(seconds):
        prompt[f"song {at}"] = {"class_type": "AceStepSong", "inputs": {"seconds": each}}
        prompt[f"text {at}"] = {"class_type": "AceStepTextEncode", "inputs": {"song": [f"song {at}", 0]}}
        links = {"model": ["1", 0], "text": [f"text {at}", 0]}
        prompt[f"stage {at}"] = {"class_type": "AceStepStageL", "inputs": links}
    other = {"class_type": "AceStepSong", "inputs": {"seconds": 555}}
    return prompt | {"other": other, "x": {"class_type": "PreviewAny", "inputs": {"source": ["other", 0]}}}


LENGTHS = [((30.0, 90), "90"), ((30.0, ["7", 0]), "30"), ((["7", 0],), "240"), ((), "240")]
LENGTHS += [((float("nan"), 90), "90"), ((float("inf"), 1e9, -5), "240")]  # their Song nodes refuse them


@pytest.mark.parametrize("seconds, told", LENGTHS)
def test_memory_is_told_for_the_longest_song_of_the_prompt(seconds, told, comfy_models, run_node, said):
    made = run_node(load.LoadStageModel, {"PROMPT": prompt_of(*seconds)}, model="tiny-l", dtype="auto")
    ((line,),) = (item["lines"] for item in made.ui["acestep_text"])
    assert f" GB for a song of {told} s, " in line and line in said


def test_a_lone_model_is_told_with_the_parts_of_its_own_family(comfy_models, run_node, said):
    alone = find_cascade("tiny-l", folders=())
    (stage,) = {stage.path for stage in alone.stages}
    ui = run_node(load.LoadStageModel, {"PROMPT": prompt_of(30)}, model="tiny-l", dtype="fp32").ui
    sizes = cascade_needs(alone, 4).sizes(30)
    assert ui["acestep_text"][0]["lines"][0].startswith(f"{sizes[NETWORKS] / 1e9:.1f} GB for a song of 30 s")
    assert str(alone.text.path).startswith(str(stage.parent)) and sizes[NETWORKS] < 1e9


def test_a_lone_model_without_its_family_is_told_with_published_parts(files, run_node, said):
    (files / "text_encoders" / f"{published.TEXT_ENCODER}.safetensors").unlink()
    run_node(load.LoadStageModel, model=published.STAGE, dtype="auto")
    assert any(re.fullmatch(r"1\.\d GB for a song of 240 s, .*", line) for line in said)


# ---- a model of full size --------------------------------------------------------------------------------------------

XL = {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_hidden_layers": 32}


def save_full_size(path: Path) -> None:
    """A published XL model's file: a true header over 9.6 GB of zeros that take no room on the disk."""
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    with torch.device("meta"):
        parts = {
            "transformer": AceStepTransformer1DModel(**XL, num_key_value_heads=8, encoder_hidden_size=2048),
            "condition_encoder": AceStepConditionEncoder(),
        }
    header, end = {}, 0
    for part, network in parts.items():
        for name, weight in network.named_parameters():
            start, end = end, end + 2 * weight.numel()
            entry = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [start, end]}
            header[original_name(part, name)] = entry
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def bytes_read() -> int:
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sparse files, /proc")
def test_a_model_of_full_size_is_listed_and_described_by_its_header_alone(comfy_models):
    file = comfy_models / "diffusion_models" / "acestep_v1.5_xl_sft_bf16.safetensors"
    save_full_size(file)
    before = bytes_read()
    assert "acestep_v1.5_xl_sft_bf16" in load.choices(STAGE)
    assert validated(load.LoadCascade, l="acestep_v1.5_xl_sft_bf16 (download, 10.0 GB)") is True
    described = read_checkpoint(locations.models_shelf().find("acestep_v1.5_xl_sft_bf16", STAGE).path)
    told = stage_times.answer_stretch({"slot": "L", "model": "acestep_v1.5_xl_sft_bf16"})
    assert bytes_read() - before < 20e6
    assert described.part("transformer").parameters == 4_168_897_088
    assert (described.family, described.size_bytes > 9.5e9) == ("xl", True)
    assert (told["variant"], told["guidance"], told["steps"]) == ("sft", "apg", 8)


# ---- downloads -------------------------------------------------------------------------------------------------------


FOLDERS_OF = {
    STAGE: published.lay_out_folder,
    TEXT: published.lay_out_text_folder,
    VOCODER: published.lay_out_vocoder_folder,
}


class Pieces:
    """In place of the hub: a model in three pieces of 1 GB, by what it says. `asked`: what for, and where to."""

    def __init__(self):
        self.asked, self.cancel_at = [], None

    def fetch(self, known, target, progress):
        self.asked.append((known.name, target))
        place = target / known.path
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors.ab12.incomplete").touch()
        for piece in (1, 2, 3):
            if piece == self.cancel_at:
                comfy.model_management.interrupt_current_processing()
            progress(hub.Progress("model.safetensors", piece * 10**9, 3 * 10**9))
        shutil.rmtree(place)
        FOLDERS_OF[known.kinds[0]](place)


@pytest.fixture
def pieces(monkeypatch):
    pieces = Pieces()
    monkeypatch.setattr(hub, "_fetch_all", pieces.fetch)
    return pieces


def test_a_workflow_alone_downloads_nothing(comfy_models, pieces, run_node, said):
    wanted = (
        f'{SFT} is not here, and a workflow alone does not download its 4.8 GB; choose "{SFT} (download, ...)" in a '
        f"loader, or run `python -m acestep_core models download {SFT}` in "
    )
    for choice in (SFT, f"{SFT} (download, 4.8 GB)", f"{SFT} (download, 4.8 + 1.5 GB)"):
        assert validated(load.LoadStageModel, model=choice).startswith(wanted)
        assert refusal(load.LoadCascade, run_node, m=choice).startswith(wanted)
        with pytest.raises(UserError, match="a workflow alone does not download"):  # through a link
            run_node(load.LoadStageModel, model=choice, dtype="auto")
    assert pieces.asked == []


def test_what_a_user_chose_on_a_node_is_downloaded_and_nothing_else(comfy_models):
    asked = load_routes()
    assert asked["GET"]({})["allowed"] == [] and asked["GET"]({})["absent"][SFT] == "4.8 GB"
    assert asked["POST"]({"choice": f"{SFT} (download, 4.8 GB)"}) == {"allowed": [SFT]}
    assert asked["POST"]({"choice": SFT}) == {"allowed": [SFT]}
    assert validated(load.LoadStageModel, model=SFT) is True
    assert "does not download" in validated(load.LoadStageModel, model="acestep-v15-base")
    for choice in ("tiny-l", "../../evil", "", None, 7, "a\nb"):
        with pytest.raises(UserError, match="choice: got .*, expected the name of a model that can be downloaded"):
            asked["POST"]({"choice": choice})
    assert asked["GET"]({})["allowed"] == [SFT]


def test_a_list_of_allowed_downloads_that_cannot_be_read_allows_none(comfy_models, allowed):
    (file,) = (comfy_models.parent / "user").rglob("*.txt")
    file.write_bytes(b"\xff\xfe\n")
    assert SFT not in downloads.allowed()
    file.unlink()
    file.mkdir()
    assert downloads.allowed() == ()
    with pytest.raises(AceStepError, match="could not be written"):
        downloads.allow(SFT)


def test_an_absent_model_is_fetched_when_it_is_first_used(comfy_models, allowed, pieces, run_node, said):
    choice = next(one for one in load.choices(STAGE) if one.startswith("acestep-v15-sft (download"))
    assert validated(load.LoadStageModel, model=choice) is True and pieces.asked == []
    before = fingerprint(load.LoadStageModel, model=choice)
    (handle,) = run_node(load.LoadStageModel, model=choice, dtype="auto").args
    assert pieces.asked == [("acestep-v15-sft", comfy_models / "acestep" / "acestep-v15-sft")]
    assert said[:3] == [f"acestep-v15-sft: {done},000 of 3,000 MB" for done in (1, 2, 3)]
    assert handle.model.name == "acestep-v15-sft"
    assert_holds(handle.model, published.stage())
    assert fingerprint(load.LoadStageModel, model=choice) == before  # what was made of it is made already
    run_node(load.LoadStageModel, model=choice, dtype="auto")
    assert len(pieces.asked) == 1
    os.utime(comfy_models / "acestep" / "acestep-v15-sft" / "config.json", ns=(0, 0))
    assert fingerprint(load.LoadStageModel, model=choice) != before


def test_a_cascade_fetches_each_absent_model_once(comfy_models, allowed, pieces, run_node, said):
    published.lay_out_files(comfy_models)
    choices = {slot: "acestep-v15-sft (download, 4.8 GB)" for slot in "lms"}
    given = {**choices, "text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
    before = fingerprint(load.LoadCascade, **given)
    made = run_node(load.LoadCascade, **given).args
    assert [name for name, _ in pieces.asked] == ["acestep-v15-sft"]
    assert fingerprint(load.LoadCascade, **given) == before  # though "auto" has come to files meanwhile
    assert made[0] is made[2] and made[0].model.name == "acestep-v15-sft"


WITH_PARTS = "acestep-v15-turbo (download, 4.8 + 1.5 GB)"


def test_a_slot_counts_the_parts_that_auto_downloads_with_its_model(comfy_models):
    stages = [one.options for one in load.LoadCascade.GET_SCHEMA().inputs if one.id in "lms"]
    assert all(WITH_PARTS in options and "ace_step_1.5_turbo_aio (download, 10.0 GB)" in options for options in stages)
    assert "acestep-v15-turbo (download, 4.8 GB)" in load.choices(STAGE)  # Load Stage Model downloads nothing else
    sizes = model_choice.answer_downloads({})
    assert (
        sizes["in_cascade"]["acestep-v15-turbo"] == "4.8 + 1.5 GB" and sizes["absent"]["acestep-v15-turbo"] == "4.8 GB"
    )
    assert sizes["in_cascade"]["acestep-v15-vae"] == sizes["absent"]["acestep-v15-vae"] == "337 MB"
    published.lay_out_files(comfy_models)
    assert "acestep-v15-turbo (download, 4.8 GB)" in model_choice.slot_choices()


@pytest.mark.parametrize("parts_of", ["acestep-v15-turbo", published.STAGE])
def test_a_stage_whose_download_is_allowed_brings_its_auto_parts(parts_of, comfy_models, pieces, run_node, said):
    """Also where it was downloaded before, or its file was put there."""
    if parts_of == published.STAGE:
        published.lay_out_files(comfy_models)
        (comfy_models / "text_encoders" / f"{published.TEXT_ENCODER}.safetensors").unlink()
    load_routes()["POST"]({"choice": f"{parts_of} (download, 4.8 + 1.5 GB)"})
    given = {slot: parts_of for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
    run_node(load.LoadCascade, **given)
    stage = [] if parts_of == published.STAGE else ["acestep-v15-turbo"]
    vocoder = [] if parts_of == published.STAGE else ["acestep-v15-vae"]
    assert [name for name, _ in pieces.asked] == [*stage, "Qwen3-Embedding-0.6B", *vocoder]


def test_auto_parts_of_a_stage_that_nobody_allowed_are_not_downloaded(comfy_models, pieces, run_node, said):
    published.lay_out_files(comfy_models)
    (comfy_models / "text_encoders" / f"{published.TEXT_ENCODER}.safetensors").unlink()
    given = {slot: published.STAGE for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto", "dtype": "auto"}
    message = r'^text_encoder: Qwen3-Embedding-0.6B is not here, .*; choose "Qwen3-Embedding-0.6B \(download, ...\)" in'
    with pytest.raises(UserError, match=message):
        run_node(load.LoadCascade, **given)
    assert pieces.asked == []


def test_nothing_is_downloaded_for_a_cascade_with_a_wrong_choice(comfy_models, allowed, pieces, run_node, said):
    with pytest.raises(AceStepError, match="^s: gone is no stage model"):
        run_node(load.LoadCascade, **{**CASCADE, "l": SFT, "s": "gone", "dtype": "auto"})
    assert pieces.asked == []


def test_cancel_stops_a_download_and_the_next_run_goes_on(comfy_models, allowed, pieces, run_node, said):
    pieces.cancel_at = 2
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run_node(load.LoadStageModel, model="acestep-v15-sft", dtype="auto")
    assert said == ["acestep-v15-sft: 1,000 of 3,000 MB"]
    assert [file.suffix for file in (comfy_models / "acestep" / "acestep-v15-sft").iterdir()] == [".incomplete"]
    assert validated(load.LoadStageModel, model="acestep-v15-sft") is True
    pieces.cancel_at = None
    (handle,) = run_node(load.LoadStageModel, model="acestep-v15-sft", dtype="auto").args
    assert len(pieces.asked) == 2 and handle.model.name == "acestep-v15-sft"


def test_without_the_hub_the_reason_is_told(comfy_models, allowed, run_node, said, monkeypatch):
    def fail(*given):
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "_fetch_all", fail)
    with pytest.raises(AceStepError, match="acestep-v15-sft could not be fetched .* Name or service not known; check"):
        run_node(load.LoadStageModel, model="acestep-v15-sft (download, 4.8 GB)", dtype="auto")


def test_a_damaged_model_is_told_when_it_is_loaded(comfy_models, run_node, said):
    tensors = {name: tensor for name, tensor in published.stage().items() if "proj_in" not in name}
    save_file(tensors, comfy_models / "diffusion_models" / "half.safetensors")
    with pytest.raises(AceStepError, match="half.safetensors: the transformer lacks proj_in_conv.weight"):
        run_node(load.LoadStageModel, model="half.safetensors", dtype="auto")

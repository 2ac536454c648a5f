"""Every wrong file is refused with one message: which file, what was got, what was expected, what to do."""

import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vae
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from core_tests.in_diffusers import in_diffusers
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN / "m2b_a", tmp_path / "mine"))


def refused(load, path):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in message
    assert ";" in message  # what to do comes last
    return message


def stage_refused(path):
    return refused(load_stage_model, path)


def change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_truncated(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    message = stage_refused(folder)
    assert str(file) in message
    assert f"cut off: it has {len(whole) - 1000:,} bytes of {len(whole):,}" in message
    assert "fetch the file again" in message


def test_truncated_in_its_header(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert "cut off: it has 100 bytes of more than" in stage_refused(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in to continue</html>", "a web page"),
        (b"PK\x03\x04" + bytes(60), "a pickle, which can run any code"),
        (b"GGUF" + bytes(60), "a GGUF file"),
        (b"\x00\x01\x02\x03" * 20, "no safetensors file"),
        (struct.pack("<Q", 4) + b"[1] ", "no safetensors file"),
        (struct.pack("<Q", 2) + b"{}", "no tensors at all"),
    ],
)
def test_not_what_its_name_says(tmp_path, content, said):
    file = tmp_path / "acestep_v1.5_turbo.safetensors"
    file.write_bytes(content)
    message = stage_refused(file)
    assert str(file) in message
    assert said in message


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
def test_pickled_file_is_never_opened(tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    torch.save({"decoder.condition_embedder.weight": torch.zeros(1)}, file)
    message = stage_refused(file)
    assert (
        "a pickle, which can run any code when it is opened, so it is refused; get the .safetensors version" in message
    )


def test_a_safetensors_file_with_a_pickles_name_is_called_what_it_is(folder):
    file = (folder / "model.safetensors").rename(folder / "mine.pt")
    assert stage_refused(file) == f"{file} is a safetensors file under another name; rename it to mine.safetensors"


def test_pickled_folder(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only as pytorch_model.bin: a pickle" in stage_refused(folder)


def test_silence_that_holds_code(folder):
    class Trap:
        def __reduce__(self):
            return (Path(folder / "sprung").touch, ())

    torch.save(Trap(), folder / "silence_latent.pt")
    message = stage_refused(folder)
    assert f"{folder / 'silence_latent.pt'} holds a pickle of more than a tensor, which can run any code" in message
    assert not (folder / "sprung").exists()


def test_silence_cut_off(folder):
    file = folder / "silence_latent.pt"
    file.write_bytes(file.read_bytes()[:500])
    assert f"{file} is no whole tensor file" in stage_refused(folder)


def test_silence_of_another_family(folder):
    torch.save(torch.zeros(1, 16, 30), folder / "silence_latent.pt")
    message = stage_refused(folder)
    assert "silence is [1, 16, 30], expected [1, 64, frames] as the model has 64 latent channels" in message


SILENCES = {
    "no bytes": (b"", "is no whole tensor file"),
    "text": (b"silence", "is no whole tensor file"),
    "an older pickle": (pickle.dumps([1]), "holds a pickle without an archive, which can run any code when it is"),
    "no frames": (torch.zeros(1, 64, 0), "silence is [1, 64, 0], expected [1, 64, frames]"),
    "two axes": (torch.zeros(64, 30), "silence is [64, 30], expected"),
    "a list": ([1.0], "silence is list, expected"),
    "sparse": (torch.eye(64)[None].to_sparse(), "silence is torch.float32 in the layout torch.sparse_coo"),
    "complex": (torch.zeros(1, 64, 30, dtype=torch.complex64), "silence is torch.complex64 in the layout"),
    "integers": (torch.zeros(1, 64, 30, dtype=torch.int32), "silence is torch.int32 in the layout"),
    "NaN": (torch.full((1, 64, 30), float("nan")), "silence is not finite (NaN or infinite)"),
    "eight bits": (torch.zeros(1, 64, 30).to(torch.float8_e4m3fn), "silence is torch.float8_e4m3fn in the layout"),
    "no values": (torch.zeros(1, 64, 30, device="meta"), "silence is a nested tensor, or one without values"),
    "one number": (torch.zeros(1, 1, 1).expand(1, 64, 10**9), "silence is [1, 64, 1000000000] over fewer numbers"),
}


@pytest.mark.parametrize(("content", "said"), SILENCES.values(), ids=SILENCES)
def test_silence_that_is_none(folder, content, said):
    file = folder / "silence_latent.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    message = stage_refused(folder)
    assert str(file) in message and said in message


def test_an_archive_with_more_than_silence_is_not_unpacked(folder):
    file = folder / "silence_latent.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(100 << 20))
    assert f"{file} holds 104,857,600 bytes, expected at most 67,108,864" in stage_refused(folder)


def test_no_silence_and_nothing_to_make_it_with(folder):
    (folder / "silence_latent.pt").unlink()
    message = stage_refused(folder)
    assert "models download acestep-v15-vae`" in message and message.endswith("put silence_latent.pt beside the file")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.0.x"],
            "it holds conditioner.embedders",
        ),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], "is an adapter (LoRA), not a model"),
        (["lora_unet_decoder_layers_0_self_attn_q_proj.lora_down.weight"], "is an adapter (LoRA), not a model"),
    ],
)
def test_foreign_file(tmp_path, names, said):
    file = tmp_path / "sd_xl_base_1.0.safetensors"
    save_file({name: torch.zeros(2, 2) for name in names}, file)
    message = stage_refused(file)
    assert str(file) in message
    assert said in message


def test_foreign_folders(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert "is a StableDiffusionXLPipeline, expected an AceStepPipeline" in stage_refused(tmp_path)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert "is a t5 by its config.json, expected an ACE-Step 1.5 model" in stage_refused(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    assert "is a UNet2DConditionModel by its config.json" in stage_refused(tmp_path)


def test_the_right_file_in_the_wrong_place(folder):
    assert "has no transformer (it has vae)" in stage_refused(GOLDEN / "vae_a")
    assert "has no vae (it has transformer, condition_encoder" in refused(load_vae, folder)
    assert "has no text_encoder" in refused(load_text_encoder, folder)


def test_lone_transformer(folder, tmp_path):
    in_diffusers(load_stage_model(folder).transformer).save_pretrained(tmp_path / "alone")
    assert "has no condition_encoder (it has transformer); choose a model that brings one" in stage_refused(
        tmp_path / "alone"
    )


def test_missing_config(folder):
    (folder / "config.json").unlink()
    message = stage_refused(folder)
    assert f"{folder / 'config.json'} is missing" in message
    assert "download the model again" in message


def test_broken_config(folder):
    (folder / "config.json").write_text('{"hidden_size": ')
    assert "cannot be read as JSON" in stage_refused(folder)
    (folder / "config.json").write_text("[]")
    assert "holds a JSON list, expected an object" in stage_refused(folder)


def test_config_without_a_key(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["text_hidden_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "config.json has no text_hidden_dim" in stage_refused(folder)


def test_config_of_other_weights(folder):
    change_config(folder, intermediate_size=96)
    message = stage_refused(folder)
    assert f"{folder / 'config.json'}: intermediate_size is 96 by the config and 112 by the weights" in message


def test_config_with_more_layers_than_weights(folder):
    change_config(folder, num_hidden_layers=5, layer_types=None)
    message = stage_refused(folder)
    assert "config.json: num_hidden_layers is 5 by the config and 4 by the weights" in message


def test_misspelt_override(folder):
    change_config(folder, acestep_cascade={"step": 8})
    message = stage_refused(folder)
    assert "acestep_cascade has step; expected only family, variant, steps" in message


def test_unknown_tensors(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"decoder.layers.0.mlp.bias": torch.zeros(1)}, folder / "model.safetensors")
    assert "has 1 that do not belong there, first decoder.layers.0.mlp.bias" in stage_refused(folder)
    save_file(tensors | {"planner.weight": torch.zeros(1)}, folder / "model.safetensors")
    assert "has 1 tensors that no ACE-Step 1.5 model has, first planner.weight" in stage_refused(folder)


def test_quantised(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "decoder.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    file = folder.parent / "acestep_v1.5_turbo_fp8.safetensors"
    save_file(tensors, file)
    shutil.copy(folder / "silence_latent.pt", folder.parent)
    message = stage_refused(file)
    assert f"{name} is stored as F8_E4M3, expected one of F32, F16, BF16" in message


def test_half_downloaded(folder):
    (folder / "model.safetensors").rename(folder / "model.safetensors.ab12.incomplete")
    assert "is half downloaded, there is no model.safetensors yet" in stage_refused(folder)
    assert "is half downloaded" in stage_refused(folder / "model.safetensors.ab12.incomplete")
    (folder / "model.safetensors.ab12.incomplete").unlink()
    assert "has no weights: expected model.safetensors" in stage_refused(folder)


def test_missing_shard(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    files = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    index.write_text(json.dumps({"weight_map": files | {"other": "model-00002-of-00002.safetensors"}}))
    message = stage_refused(folder)
    assert "is half downloaded: model-00002-of-00002.safetensors of the 2 files" in message
    index.write_text(json.dumps({"weight_map": files | {"other": "model-00001-of-00002.safetensors"}}))
    assert "the files lack 1 tensors that model.safetensors.index.json promises, first other" in stage_refused(folder)
    index.write_text("{}")
    assert "has no weight_map" in stage_refused(folder)


def test_half_of_a_model(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if not n.startswith("encoder.")}, folder / "model.safetensors")
    assert "the condition_encoder lacks" in stage_refused(folder)
    save_file({n: t for n, t in tensors.items() if n.startswith("decoder.")}, folder / "model.safetensors")
    assert "has no tensors of the condition_encoder" in stage_refused(folder)


def test_no_tokenizer(tmp_path):
    from transformers import Qwen3Config, Qwen3Model

    model = Qwen3Model(Qwen3Config(hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4, vocab_size=9))
    file = tmp_path / "qwen_0.6b_ace15.safetensors"
    save_file(model.state_dict(), file)
    message = refused(load_text_encoder, file)
    assert f"{file} brings no tokenizer; put the tokenizer.json of Qwen3-Embedding-0.6B beside it" in message
    assert "models download Qwen3-Embedding-0.6B`" in message


def test_vocoder_file_of_unknown_rate(tmp_path):
    shutil.copy(GOLDEN / "vae_a" / "comfyui_layout.safetensors", tmp_path / "vae.safetensors")
    message = refused(load_vae, tmp_path / "vae.safetensors")
    assert "a latent frame of 48 samples, the published vocoder one of 1920, so its sample rate is unknown" in message


def test_no_such_path(tmp_path):
    assert "does not exist; check the path" in refused(read_checkpoint, tmp_path / "nothing")

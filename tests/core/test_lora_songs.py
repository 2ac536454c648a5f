"""Adapters in a cascade, its command line, and the commands that show and convert them."""

import json

import pytest
import torch
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.find import Lora
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.song import Song
from core_tests.lora_material import differ, dora, lora, near, velocity
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


SONG = Song("lo-fi beat", seconds=10)


def latents_of(cascade, **wishes):
    return [step.latents for step in cascade.iterate(SONG, seed=1, **wishes)][-1]


def test_one_stage_or_all_wear_it_and_the_next_song_is_bare(tiny_family, model, tmp_path):
    cascade = Cascade.load(tiny_family, device="cpu")
    file = save_adapter(lora(model), tmp_path / "a.safetensors", "comfyui")
    bare = latents_of(cascade)
    every, one = latents_of(cascade, lora=[file]), latents_of(cascade, lora=[f"M={file}"])
    differ(every, bare)
    differ(one, bare)
    differ(every, one)
    assert torch.equal(latents_of(cascade, lora=[Lora(str(file), 1.0, "m")]), one)
    assert torch.equal(latents_of(cascade, lora=[f"{file}:0"]), bare) and torch.equal(latents_of(cascade), bare)
    with pytest.raises(
        UserError, match="the stage 4 for .*, but this run has 3 stages, L, M, S; name one of these, or leave `4=` out"
    ):
        latents_of(cascade, lora=[f"4={file}"])


def test_in_a_mixed_cascade_it_is_worn_where_it_fits(tiny_family, model, tmp_path, caplog):
    cascade = Cascade.load(None, device="cpu")
    tiny = load_stage_model("tiny-m")
    file = save_adapter(lora(tiny), tmp_path / "a.safetensors", "comfyui")
    assert [len(outfit) for outfit in cascade.stage_adapters([file])] == [0, 1, 0]
    assert "a is not applied to tiny-l: it was trained on another base" in caplog.text
    with pytest.raises(UserError, match="a was trained on tiny-m, not on tiny-l.* or the stage of its model"):
        cascade.stage_adapters([f"L={file}"])
    with pytest.raises(UserError, match="the stage M for .*, but this run has 1 stage, L; .* or leave `M=` out"):
        cascade.stage_adapters([f"M={file}"], cascade.stages[1:2])
    with pytest.raises(UserError, match="b was trained on another transformer, 32 wide, not on tiny-l"):
        cascade.stage_adapters([save_adapter(lora(model), tmp_path / "b.safetensors", "comfyui")])


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = cli.main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_song_keeps_its_adapters_and_is_made_again_with_them(tiny_family, model, tmp_path, command):
    file = save_adapter(lora(model), tmp_path / "a.safetensors", "comfyui")
    common = ["--models", tiny_family, "--device", "cpu", "-q"]
    wishes = ["x", "--seconds", 10, "--seed", 2, *common]
    assert command("generate", *wishes, "--lora", "M=a.safetensors:0.5", "-o", "a.wav")[0] == 0
    assert json.loads(read_tags("a.wav")["settings"])["lora"] == [f"m={file}:0.5"]
    assert command("generate", "--from", "a.wav", "--device", "cpu", "-q", "-o", "b.wav")[0] == 0
    assert command("generate", "--from", "a.wav", "--lora", "none", "--device", "cpu", "-q", "-o", "bare.wav")[0] == 0
    assert command("generate", *wishes, "-o", "c.wav")[0] == 0
    sound = {name: (tmp_path / name).read_bytes()[-40000:-4000] for name in ("a.wav", "b.wav", "bare.wav", "c.wav")}
    assert sound["a.wav"] == sound["b.wav"] != sound["bare.wav"]
    file.unlink()
    code, out, err = command("generate", "--from", "a.wav", "-o", "d.wav")
    assert code == 2 and out == "" and "a.safetensors: there is no such adapter" in err


def test_show_and_convert(model, command):
    save_adapter(lora(model), "a", metadata={"trigger words": "neon"})
    code, out, _ = command("lora", "show", "a")
    assert code == 0 and "kind            LoRA\nlayout          peft\n" in out
    assert "scale           2\nscale from      adapter_config.json\nlayers          5\n" in out and "neon" in out
    code, out, _ = command("lora", "convert", "a", "-o", "b.safetensors", "--to", "comfyui")
    assert code == 0 and "LoRA as comfyui, 5 layers, scale 2 (alpha 8, rank 4; adapter_config.json)" in out
    told = json.loads(command("lora", "show", "b.safetensors", "--json")[1])
    assert (
        told["scale"] == [2.0]
        and told["scale from"] == "alpha in its tensors"
        and told["facts"] == {"trigger words": "neon"}
    )
    near(
        velocity(apply_adapter(model, read_adapter("a"))[0]),
        velocity(apply_adapter(model, read_adapter("b.safetensors"))[0]),
        1e-5,
    )
    save_adapter(dora(model, lora(model)), "d")
    assert (
        "note: ComfyUI's own loaders rescale a DoRA"
        in command("lora", "convert", "d", "-o", "d.safetensors", "--to", "comfyui")[2]
    )
    assert load_file("d.safetensors")["diffusion_model.decoder.proj_in.1.dora_scale"].shape == (32, 1, 1)
    code, out, err = command("lora", "show", "gone")
    assert code == 2 and out == "" and "gone: there is no such adapter" in err

"""Every file layout gives the same networks, bit for bit, and what is written is read back the same."""

import gc
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.layouts import split_original, to_original, vae_to_stable_audio
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vae
from acestep_pack.acestep_core.checkpoints.save import save_stage_model, save_text_encoder, save_vae
from acestep_pack.acestep_core.checkpoints.variants import variant_defaults
from acestep_pack.acestep_core.memory.malloc import return_freed_memory
from acestep_pack.acestep_core.models.qwen3 import hidden_states
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio
from core_tests.in_diffusers import in_diffusers
from safetensors.torch import load_file, save_file

settle_torchaudio()

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MODELS = {"m2b_a": "2b", "mxl_a": "xl"}
TOKENS = ("audio_tokenizer", "audio_token_detokenizer")
PARTS = ("transformer", "condition_encoder", *TOKENS)


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


@pytest.fixture(params=MODELS)
def folder(request):
    return GOLDEN / request.param


def original_tensors(model):
    tensors = {}
    for part in PARTS:
        if getattr(model, part) is not None:
            tensors |= to_original(part, getattr(model, part).state_dict())
    return tensors


def assert_same(model, folder, parts=PARTS):
    expected, got = load_file(folder / "model.safetensors"), original_tensors(model)
    prefixes = {"decoder", "encoder", "null_condition_emb"} | (
        {"tokenizer", "detokenizer"} if TOKENS[0] in parts else set()
    )
    assert set(got) == {name for name in expected if name.split(".")[0] in prefixes}
    assert all(torch.equal(expected[name], tensor) for name, tensor in got.items())
    assert model.family == MODELS[folder.name]
    assert model.latents_channels == 64
    assert not any(p.is_meta or p.requires_grad for part in parts for p in getattr(model, part).parameters())
    assert not any(b.is_meta for part in parts for b in getattr(model, part).buffers())


# ---- the layouts, made from the original one -------------------------------------------------------------------------


def as_shards(folder, target):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    target.mkdir()
    for file, chosen in halves.items():
        save_file({name: tensors[name] for name in chosen}, target / file)
    weight_map = {name: file for file, chosen in halves.items() for name in chosen}
    (target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for file in ("config.json", "silence_latent.pt"):
        shutil.copy(folder / file, target / file)
    return target


def as_pipeline(folder, target):
    """As diffusers' own classes save it."""
    model = load_stage_model(folder, parts=TOKENS)
    for part in PARTS:
        in_diffusers(getattr(model, part)).save_pretrained(target / part)
    (target / "model_index.json").write_text('{"_class_name": "AceStepPipeline"}')
    return target


def as_comfyui_file(folder, target, prefix=""):
    tensors = {prefix + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target)
    return target


def test_original_folder(folder):
    model = load_stage_model(folder, parts=TOKENS)
    assert_same(model, folder)
    assert torch.equal(model.silence, torch.load(folder / "silence_latent.pt", weights_only=True))
    assert torch.equal(model.condition_encoder.silence_latent, model.silence.transpose(1, 2))
    assert (model.name, model.timbre_frames) == (folder.name, 30)


def test_audio_token_parts_are_read_only_when_asked(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    shutil.copytree(folder, tmp_path / folder.name)
    without = {name: tensor for name, tensor in tensors.items() if "tokenizer." not in name}
    save_file(without, tmp_path / folder.name / "model.safetensors")
    model = load_stage_model(tmp_path / folder.name)
    assert model.audio_tokenizer is None
    assert_same(model, folder, PARTS[:2])


@pytest.mark.parametrize("pointed_at", ["", "model-00001-of-00002.safetensors"])
def test_sharded_folder(folder, tmp_path, pointed_at):
    shards = as_shards(folder, tmp_path / folder.name)
    assert_same(load_stage_model(shards / pointed_at, parts=TOKENS), folder)


@pytest.mark.parametrize("pointed_at", ["", "transformer"])
def test_diffusers_folder(folder, tmp_path, pointed_at):
    pipeline = as_pipeline(folder, tmp_path / folder.name)
    model = load_stage_model(pipeline / pointed_at, parts=TOKENS)
    assert_same(model, folder)
    assert torch.equal(model.silence, torch.load(folder / "silence_latent.pt", weights_only=True))
    assert model.defaults.variant == "turbo"


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_comfyui_file(folder, tmp_path, prefix):
    file = as_comfyui_file(folder, tmp_path / "diffusion_models" / "acestep_v1.5_sft.safetensors", prefix)
    shutil.copy(folder / "silence_latent.pt", file.parent)
    model = load_stage_model(file, parts=TOKENS)
    assert_same(model, folder)
    told, true = model.transformer.config, load_stage_model(folder).transformer.config
    assert told.sliding_window == 128
    for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "patch_size", "in_channels"):
        assert told[key] == true[key]


def test_all_in_one_file(folder, tmp_path):
    tensors = {f"model.diffusion_model.{n}": t for n, t in load_file(folder / "model.safetensors").items()}
    tensors |= {f"vae.{n}": t for n, t in load_file(GOLDEN / "vae_a" / "comfyui_layout.safetensors").items()}
    encoder = tiny_qwen()
    for name, tensor in encoder.state_dict().items():
        tensors[f"text_encoders.qwen3_06b.transformer.model.{name}"] = tensor.clone()
        tensors[f"text_encoders.qwen3_2b.transformer.model.{name}"] = tensor.clone()  # the planner, not ours
    file = tmp_path / "ace_step_1.5_turbo_aio.safetensors"
    save_file(tensors, file)
    shutil.copy(folder / "silence_latent.pt", tmp_path)
    shutil.copy(GOLDEN / "vae_a" / "config.json", tmp_path)
    save_tokenizer(tmp_path)
    assert_same(load_stage_model(file, parts=TOKENS), folder)
    vae = load_vae(file).state_dict()
    assert all(
        torch.equal(t, vae[n]) for n, t in load_file(GOLDEN / "vae_a/diffusion_pytorch_model.safetensors").items()
    )
    text = load_text_encoder(file).model.state_dict()
    assert all(torch.equal(t, text[n]) for n, t in encoder.state_dict().items())
    assert read_checkpoint(file).layout == "all-in-one"


def test_dtypes(folder):
    as_stored = load_stage_model(folder)
    half = load_stage_model(folder, dtype=torch.bfloat16)
    for name, tensor in half.transformer.state_dict().items():
        assert torch.equal(tensor, as_stored.transformer.state_dict()[name].to(torch.bfloat16))
    assert half.silence.dtype == torch.float32


def test_forward_as_built_the_usual_way(folder):
    """Non-persistent tables survive the meta device: same numbers as a module that was constructed and then filled."""
    ours = load_stage_model(folder, parts=TOKENS).audio_tokenizer
    latents = torch.randn(1, 4, 5, 64, generator=torch.Generator().manual_seed(0))
    usual = type(ours).from_config(dict(ours.config)).eval()
    usual.load_state_dict(ours.state_dict())
    with torch.no_grad():
        # Not to the bit: where a file's tensors lie in memory may choose another kernel.
        assert torch.allclose(ours(latents)[0], usual(latents)[0], rtol=0, atol=1e-5)


# ---- vocoder ---------------------------------------------------------------------------------------------------------


def with_new_weight_norm(tensors):
    spell = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        f"{n.rpartition('.')[0]}.{spell.get(n.rpartition('.')[2], n.rpartition('.')[2])}": t for n, t in tensors.items()
    }


@pytest.mark.parametrize("layout", ["diffusers", "stable-audio", "stable-audio, new weight norm", "vae.", "pipeline"])
def test_vocoder_layouts(layout, tmp_path):
    source = GOLDEN / "vae_a"
    stable = load_file(source / "comfyui_layout.safetensors")
    path = tmp_path / "ace_1.5_vae.safetensors"
    shutil.copy(source / "config.json", tmp_path)
    if layout == "diffusers":
        path = source
    elif layout == "pipeline":
        path = tmp_path
        (tmp_path / "config.json").unlink()
        shutil.copytree(source, tmp_path / "vae")
    elif layout == "vae.":
        save_file({f"vae.{name}": tensor for name, tensor in stable.items()}, path)
    else:
        save_file(with_new_weight_norm(stable) if "new" in layout else stable, path)
    got = load_vae(path)
    expected = load_file(source / "diffusion_pytorch_model.safetensors")
    assert set(got.state_dict()) == set(expected)
    assert all(torch.equal(tensor, got.state_dict()[name]) for name, tensor in expected.items())
    cases = load_file(source / "vae_cases.safetensors")
    with torch.no_grad():
        assert torch.allclose(in_diffusers(got).decode(cases["in.latent_0"]).sample, cases["out.decoded_0"], atol=1e-5)


def test_vocoder_names_both_ways():
    ours = load_file(GOLDEN / "vae_a" / "diffusion_pytorch_model.safetensors")
    assert set(vae_to_stable_audio(ours)) == set(load_file(GOLDEN / "vae_a" / "comfyui_layout.safetensors"))


def test_vocoder_geometry_from_shapes_alone(tmp_path):
    from diffusers import AutoencoderOobleck

    geometry = {"downsampling_ratios": [2, 4, 4, 6, 10], "channel_multiples": [1, 2, 3, 4, 4], "sampling_rate": 48000}
    vae = AutoencoderOobleck(encoder_hidden_size=8, decoder_channels=6, decoder_input_channels=4, **geometry)
    save_file(vae_to_stable_audio(vae.state_dict()), tmp_path / "ace_1.5_vae.safetensors")
    got = load_vae(tmp_path / "ace_1.5_vae.safetensors")
    assert {key: got.config[key] for key in vae.config if not key.startswith("_")} == {
        key: value for key, value in vae.config.items() if not key.startswith("_")
    }


# ---- silence ---------------------------------------------------------------------------------------------------------


def test_silence_is_made_by_the_vocoder_where_no_file_has_it(tmp_path):
    """A ComfyUI file brings none; digital silence through a vocoder ends in one frame that repeats for ever."""
    from diffusers import AutoencoderOobleck

    geometry = {"downsampling_ratios": [2, 4, 4, 6, 10], "channel_multiples": [1, 1, 1, 1, 1], "sampling_rate": 48000}
    file = tmp_path / "models" / "vae" / "ace_1.5_vae.safetensors"
    file.parent.mkdir(parents=True)
    saved = save_stage_model(tmp_path / "saved", *tiny_stage(), torch.zeros(1, 16, 1))
    stage = as_comfyui_file(saved, tmp_path / "models" / "x_turbo.safetensors")
    for seed in range(2):  # made once, but anew by another vocoder of that name
        torch.manual_seed(seed)
        vae = AutoencoderOobleck(encoder_hidden_size=32, decoder_channels=2, decoder_input_channels=16, **geometry)
        save_file(vae_to_stable_audio(vae.state_dict()), file)
        with torch.inference_mode():
            model = load_stage_model(stage)
        assert not model.silence.is_inference()
        with torch.no_grad():
            long = vae.encode(torch.zeros(1, 2, 100 * 1920)).latent_dist.mean[..., :80]
        assert torch.allclose(model.silent(80), long, atol=1e-5)
        assert model.silent(3).shape == (1, 16, 3)
        assert load_stage_model(stage).silence.data_ptr() == model.silence.data_ptr()


def test_silence_given(folder, tmp_path):
    file = as_comfyui_file(folder, tmp_path / "x_turbo.safetensors")
    given = torch.arange(64.0).reshape(1, 64, 1).expand(-1, -1, 9)
    assert torch.equal(load_stage_model(file, silence=given).silence, given)


# ---- text encoder ----------------------------------------------------------------------------------------------------


def tiny_qwen():
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    geometry = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": 40}
    config = Qwen3Config(num_attention_heads=4, num_key_value_heads=2, rope_theta=1e6, **geometry)
    return Qwen3Model(config).eval()


def save_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<pad>", "calm", "piano", "song"])}, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("layout", ["folder", "pipeline", "comfyui", "usual"])
def test_text_encoder(layout, tmp_path):
    model = tiny_qwen()
    path = tmp_path
    if layout == "folder":
        save_text_encoder(tmp_path, model, save_tokenizer(tmp_path))
    elif layout == "pipeline":
        model.save_pretrained(tmp_path / "text_encoder")
        save_tokenizer(tmp_path / "tokenizer")
    elif layout == "usual":
        model.save_pretrained(tmp_path)
        save_tokenizer(tmp_path)
    else:
        path = tmp_path / "qwen_0.6b_ace15.safetensors"
        save_file({f"model.{name}": tensor for name, tensor in model.state_dict().items()}, path)
        save_tokenizer(tmp_path / "tokenizer")
    encoder = load_text_encoder(path)
    ids = torch.tensor([encoder.tokenizer.encode("calm piano song").ids])
    assert ids.tolist() == [[1, 2, 3]]
    with torch.no_grad():
        assert torch.equal(hidden_states(encoder.model, ids), model(ids).last_hidden_state)


def test_rotary_table_stays_in_full_precision(tmp_path):
    save_text_encoder(tmp_path, tiny_qwen(), save_tokenizer(tmp_path))
    encoder = load_text_encoder(tmp_path, dtype=torch.bfloat16)
    assert encoder.model.norm.weight.dtype == torch.bfloat16
    assert torch.equal(encoder.model.rotary_emb.inv_freq, tiny_qwen().rotary_emb.inv_freq)


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_saved_and_read_back(folder, tmp_path):
    model = load_stage_model(folder, parts=TOKENS)
    save_stage_model(
        tmp_path / folder.name,
        model.transformer,
        model.condition_encoder,
        model.silence,
        {"timbre_fix_frame": 30},
        tokenizer=model.audio_tokenizer,
        detokenizer=model.audio_token_detokenizer,
        family=model.family,
    )
    again = load_stage_model(tmp_path / folder.name, parts=TOKENS)
    assert_same(again, folder)
    assert dict(again.transformer.config) == dict(model.transformer.config)
    assert again.timbre_frames == 30
    assert not list(tmp_path.rglob("*.incomplete"))


def tiny_stage():
    """A family of its own: 16 channels, patches of 4, an encoder narrower than the transformer."""
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(1)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 32}
    latents = {"in_channels": 48, "audio_acoustic_hidden_dim": 16, "patch_size": 4}
    transformer = AceStepTransformer1DModel(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, encoder_hidden_size=16, **latents, **heads
    )
    encoder = AceStepConditionEncoder(
        hidden_size=16,
        intermediate_size=32,
        text_hidden_dim=12,
        timbre_hidden_dim=16,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=2,
        **heads,
    )
    return transformer, encoder


def test_a_family_of_its_own_geometry(tmp_path):
    transformer, encoder = tiny_stage()
    silence = torch.randn(1, 16, 7)
    ours = {"steps": 12, "shift": 2.0, "boundaries": [0.8, 0.5], "cascade_steps": [5, 4, 3], "variant": "tiny"}
    save_stage_model(
        tmp_path, transformer, encoder, silence, {"acestep_cascade": ours, "timbre_fix_frame": 300}, torch.float16
    )
    model = load_stage_model(tmp_path)
    assert (model.family, model.latents_channels, model.timbre_frames) == ("tiny", 16, 300)
    assert model.defaults.cascade_steps == (5, 4, 3)
    assert (model.defaults.variant, model.defaults.steps, model.defaults.boundaries) == ("tiny", 12, (0.8, 0.5))
    assert torch.equal(model.silent(9)[..., 7:], silence[..., -1:].expand(-1, -1, 2))
    for name, tensor in transformer.state_dict().items():
        got = model.transformer.state_dict()[name]
        assert got.dtype == torch.float32  # float16 on disk, widened for a CPU
        assert torch.equal(got, tensor.half().float())


def test_saved_vocoder(tmp_path):
    vae = load_vae(GOLDEN / "vae_a")
    again = load_vae(save_vae(tmp_path, vae))
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in vae.state_dict().items())


def test_names_both_ways(folder):
    names = dict.fromkeys(load_file(folder / "model.safetensors"))
    parts = split_original(names)
    assert set(parts) == set(PARTS)
    assert {name for part in parts for name in to_original(part, parts[part])} == set(names)


# ---- defaults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ({"is_turbo": True, "model_version": "turbo"}, "anything", ("turbo", 8, 3.0, "none", "config.json")),
        ({"is_turbo": True}, "acestep-v15-turbo-shift1", ("turbo-shift1", 8, 1.0, "none", "config.json")),
        ({"is_turbo": False, "model_version": "sft"}, "turbo", ("sft", 50, 1.0, "apg", "config.json")),
        ({"is_turbo": False}, "anything", ("base", 50, 1.0, "apg", "config.json")),
        ({}, "acestep_v1.5_xl_base_bf16.safetensors", ("base", 50, 1.0, "apg", "file name")),
        (
            {"is_turbo": True, "model_version": "turbo"},
            f"models--ACE-Step--acestep-v15-turbo-shift1/snapshots/{'0' * 40}",  # as huggingface_hub keeps it
            ("turbo-shift1", 8, 1.0, "none", "config.json"),
        ),
        ({}, "my_merge_sft_turbo.safetensors", ("turbo", 8, 3.0, "none", "assumed")),
    ],
)
def test_variant_defaults(config, name, expected):
    d = variant_defaults(config, Path(name))
    assert (d.variant, d.steps, d.shift, d.guidance_kind, d.source) == expected
    assert d.guidance == (7.0 if d.guidance_kind == "apg" else 1.0)
    assert d.valid_times is None or len(d.valid_times) == 20


def test_a_guessed_variant_is_said(folder, tmp_path, caplog):
    file = as_comfyui_file(folder, tmp_path / "acestep_v1.5_sft.safetensors")
    shutil.copy(folder / "silence_latent.pt", tmp_path)
    load_stage_model(file)
    assert "judged by its file name, it runs as sft: 50 steps, shift 1, guidance 7" in caplog.text


# ---- cost ------------------------------------------------------------------------------------------------------------


def anonymous_bytes():
    """Memory of this process that is no mapped file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_weights_are_mapped_and_not_copied(tmp_path):
    from diffusers import AceStepTransformer1DModel

    small, encoder = tiny_stage()
    geometry = dict(small.config) | {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 4}
    large = AceStepTransformer1DModel(**{k: v for k, v in geometry.items() if not k.startswith("_")})
    save_stage_model(tmp_path / "small", small, encoder, torch.zeros(1, 16, 1))
    save_stage_model(tmp_path / "large", large, encoder, torch.zeros(1, 16, 1))
    del large
    gc.collect()
    load_stage_model(tmp_path / "small")  # what loading imports is no weight
    return_freed_memory()  # which a copy might take without a trace
    before = anonymous_bytes()
    model = load_stage_model(tmp_path / "large")
    grown = anonymous_bytes() - before
    assert sum(p.numel() for p in model.transformer.parameters()) > 20e6
    assert grown < 0.1 * (tmp_path / "large" / "model.safetensors").stat().st_size

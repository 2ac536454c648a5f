"""A small family of real networks with random weights, laid out as the embedded one is."""

import pytest
import torch
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio

settle_torchaudio()

from acestep_pack.acestep_core.models.defaults import ALL_TASKS
from core_tests.golden_cases import load_layout, model_folder

CHANNELS = 8


def save_tiny_stage(folder, seed, levels=(8, 8, 8, 5, 5, 5), **extra):
    from acestep_pack.acestep_core.checkpoints.save import save_stage_model
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(seed)
    common = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
    common |= {"head_dim": 16, "sliding_window": 16}
    transformer = AceStepTransformer1DModel(
        **common, num_hidden_layers=2, in_channels=3 * CHANNELS, audio_acoustic_hidden_dim=CHANNELS
    )
    encoder = AceStepConditionEncoder(
        **common,
        text_hidden_dim=24,
        timbre_hidden_dim=CHANNELS,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
    )
    defaults = {"variant": "tiny", "steps": 4, "shift": 3.0, "boundaries": [0.8333, 0.5], "cascade_steps": [2, 1, 1]}
    defaults |= {"guidance_kind": "none", "guidance": 1.0}
    config = {"timbre_fix_frame": 75, "acestep_cascade": {**defaults, **extra}}
    silence = torch.randn(1, CHANNELS, 40) * 0.1
    tokens = tiny_tokens(common, levels) if "tasks" in extra else (None, None)
    save_stage_model(
        folder, transformer.eval(), encoder.eval(), silence, config, tokenizer=tokens[0], detokenizer=tokens[1]
    )


def tiny_tokens(common, levels):
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer

    sizes = {**common, "audio_acoustic_hidden_dim": CHANNELS, "num_attention_pooler_hidden_layers": 1}
    quantiser = {"fsq_dim": 32, "fsq_input_levels": list(levels), "fsq_input_num_quantizers": 1}
    return AceStepAudioTokenizer(**sizes, **quantiser).eval(), AceStepAudioTokenDetokenizer(**sizes).eval()


def save_tiny_text_encoder(folder):
    from acestep_pack.acestep_core.checkpoints.save import save_text_encoder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: i + 1 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    save_text_encoder(folder, Qwen3Model(config).eval(), fast)


def save_tiny_vocoder(folder):
    from acestep_pack.acestep_core.checkpoints.save import save_vae
    from diffusers import AutoencoderOobleck

    torch.manual_seed(8)
    vae = AutoencoderOobleck(
        encoder_hidden_size=2 * CHANNELS,
        downsampling_ratios=[4, 10, 12],
        channel_multiples=[1, 1, 2],
        decoder_channels=4,
        decoder_input_channels=CHANNELS,
        audio_channels=2,
        sampling_rate=16000,
    )
    save_vae(folder, vae.eval())


def save_tiny_family(folder, **extra):
    """A folder as acestep_core/tiny is: l, m, s, text_encoder, vae; 33 1/3 frames a second, 16 kHz."""
    for seed, slot in enumerate("lms"):
        save_tiny_stage(folder / slot, seed, **extra)
    save_tiny_text_encoder(folder / "text_encoder")
    save_tiny_vocoder(folder / "vae")
    return folder


def save_taught_family(folder, **more):
    """The same with audio tokenizers, of models that know every task. `more`: `levels` of the codes."""
    return save_tiny_family(folder, tasks=list(ALL_TASKS), **more)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory):
    return save_tiny_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="session")
def taught_family(tmp_path_factory):
    return save_taught_family(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="session")
def coded_family(tmp_path_factory):
    """A taught family with as many codes as the planner `lm_a` of golden_tasks knows."""
    return save_taught_family(tmp_path_factory.mktemp("coded"), levels=(8, 8, 8))


@pytest.fixture
def own_folder(monkeypatch, tmp_path):
    """A folder to work in, where adapters and models of nobody else are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


@pytest.fixture
def command(own_folder, capsys):
    """A command; (exit code, lines of stdout, stderr)."""
    from acestep_pack.acestep_core.cli import parser

    def run(*arguments):
        code = parser.main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return run


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """(golden case, layout, another model's name) -> StageModel, each made and read once."""
    known = {}

    def get(case, layout="original", name=None):
        source = model_folder({**case, "model": name} if name else case)
        if (source, layout) not in known:
            known[source, layout] = load_layout(source, layout, tmp_path_factory.mktemp(f"{source.name}-{layout}"))
        return known[source, layout]

    return get

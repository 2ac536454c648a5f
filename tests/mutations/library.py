"""The one place from which the mutation test reaches acestep_core and what other tests share."""

from acestep_pack.acestep_core import AceStepError, Cascade, CheckpointError, Song, UserError, Waveform, audio
from acestep_pack.acestep_core.audio.tags import read_tags, tagged
from acestep_pack.acestep_core.band.midi import read_midi
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.layouts import vae_to_stable_audio
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.checkpoints.registry import STAGE, TEXT, VOCODER
from acestep_pack.acestep_core.checkpoints.save import save_vae
from acestep_pack.acestep_core.cli.parser import main
from acestep_pack.acestep_core.lora.adapter import Adapter, read_adapter
from acestep_pack.acestep_core.lora.deltas import Kronecker, tensors_of
from acestep_pack.acestep_core.lora.find import list_adapters, why_not
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.training.captions import own_songs
from acestep_pack.acestep_core.training.dataset import LeftOut, read_dataset
from acestep_pack.acestep_core.training.loss_log import LossLog
from acestep_pack.acestep_core.training.loss_plot import loss_plot_of, picture
from acestep_pack.acestep_core.training.prepare import Preparation
from core_tests.conftest import save_tiny_stage, save_tiny_text_encoder, save_tiny_vocoder
from core_tests.lora_material import dora, draw, hadamard, kronecker, lora

__all__ = [
    "STAGE",
    "TEXT",
    "VOCODER",
    "AceStepError",
    "Adapter",
    "Cascade",
    "CheckpointError",
    "Kronecker",
    "LeftOut",
    "LossLog",
    "Planner",
    "Preparation",
    "Shelf",
    "Song",
    "UserError",
    "Waveform",
    "audio",
    "loss_plot_of",
    "dora",
    "draw",
    "hadamard",
    "kronecker",
    "list_adapters",
    "load_stage_model",
    "load_text_encoder",
    "load_vocoder",
    "lora",
    "main",
    "own_songs",
    "picture",
    "read_adapter",
    "read_dataset",
    "read_midi",
    "read_tags",
    "save_adapter",
    "save_tiny_stage",
    "save_tiny_text_encoder",
    "save_tiny_vocoder",
    "save_vae",
    "tagged",
    "tensors_of",
    "vae_to_stable_audio",
    "why_not",
]

"""The one place from which the mutation test reaches acestep_core and what other tests share."""

from acestep_pack.acestep_core import AceStepError, Cascade, CheckpointError, Song, UserError, Waveform, audio
from acestep_pack.acestep_core.audio.tags import read_tags, tagged
from acestep_pack.acestep_core.band.midi import read_score
from acestep_pack.acestep_core.band.midi_song import song_of_score
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.layouts import vae_to_stable_audio
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.checkpoints.registry import STAGE, TEXT, VOCODER
from acestep_pack.acestep_core.checkpoints.save import save_vae
from acestep_pack.acestep_core.cli.parser import main
from acestep_pack.acestep_core.editing.kept_latents import keep_latents
from acestep_pack.acestep_core.editing.regions import BarTimes, parse_regions
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.json_text import read_json_object
from acestep_pack.acestep_core.lora.adapter import Adapter, read_adapter
from acestep_pack.acestep_core.lora.deltas import Kronecker, tensors_of
from acestep_pack.acestep_core.lora.find import list_adapters, why_not
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.server.library import Library, song_id
from acestep_pack.acestep_core.server.making import Machine, SongMaker
from acestep_pack.acestep_core.server.requests import RequestReader
from acestep_pack.acestep_core.server.shelf import LibraryShelf
from acestep_pack.acestep_core.server.uploads import Uploads
from acestep_pack.acestep_core.training.captions import own_songs
from acestep_pack.acestep_core.training.dataset import LeftOut, read_clip_regions, read_dataset
from acestep_pack.acestep_core.training.loss_log import LossLog
from acestep_pack.acestep_core.training.loss_plot import loss_plot_of, picture
from acestep_pack.acestep_core.training.prepare import Preparation
from core_tests.conftest import save_taught_family, save_tiny_family
from core_tests.lora_material import dora, draw, hadamard, kronecker, lora

__all__ = [
    "STAGE",
    "TEXT",
    "VOCODER",
    "AceStepError",
    "Adapter",
    "BarTimes",
    "Cascade",
    "CheckpointError",
    "GenerationSettings",
    "Kronecker",
    "LeftOut",
    "LibraryShelf",
    "Library",
    "LossLog",
    "Machine",
    "Planner",
    "Preparation",
    "RequestReader",
    "Shelf",
    "Song",
    "SongMaker",
    "Uploads",
    "UserError",
    "Waveform",
    "audio",
    "loss_plot_of",
    "dora",
    "draw",
    "hadamard",
    "keep_latents",
    "kronecker",
    "list_adapters",
    "load_stage_model",
    "load_text_encoder",
    "load_vocoder",
    "lora",
    "main",
    "own_songs",
    "parse_regions",
    "picture",
    "read_adapter",
    "read_clip_regions",
    "read_dataset",
    "read_json_object",
    "read_score",
    "read_tags",
    "save_adapter",
    "save_taught_family",
    "save_tiny_family",
    "save_vae",
    "song_id",
    "song_of_score",
    "tagged",
    "tensors_of",
    "vae_to_stable_audio",
    "why_not",
]

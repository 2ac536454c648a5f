"""Ours against diffusers' pipeline: whole songs and edits, from text to sound.

Each function builds one side, OURS or THEIRS, of the same computation. The embedded tokenizer takes the place of the
published one, which cannot be had without a download; it is the same for both.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..audio.waveform import Waveform
from ..checkpoints.variants import VARIANTS
from ..generation.cascade import Cascade
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder
from ..models.vocoder import Vocoder
from ..song import Song
from ..spec import PUBLISHED_LATENTS
from . import published
from .contender import OURS, Run

STEPS = {1: (8,), 2: (5, 3), 3: (3, 3, 2)}  # number of stages -> steps of each
WHOLE_SECONDS = 60.0  # above it diffusers decodes in tiles; untiled it takes half a gigabyte for each second
SILENCE_FRAMES = 750  # of the published models
EDITS = ("cover", "repaint")  # tasks that diffusers' pipeline knows and runs


def song(
    widths: tuple[str, ...],
    seconds: float,
    layers: int | None,
    device: torch.device,
    dtype: torch.dtype,
    changed: bool = True,
    *,
    side: str,
) -> Run:
    """A whole song, [1, 2, N]: text, condition, eight steps, vocoder. Their side always runs the 2B alone.

    `changed`: each song has a new caption; otherwise it has only a new seed.
    """
    networks, captions = _Networks.made(layers, device, dtype), _Captions(changed)
    if side == OURS:
        cascade, steps = networks.cascade(widths), STEPS[len(widths)]
        return lambda: (
            cascade.generate(Song(captions.next(), seconds=seconds), seed=captions.number, steps=steps).samples
        )
    pipeline = networks.pipeline(seconds)
    return lambda: pipeline(captions.next(), audio_duration=seconds, **_asked(captions.number)).audios.float().cpu()


def edit(task: str, seconds: float, layers: int | None, device: torch.device, dtype: torch.dtype, *, side: str) -> Run:
    """A cover, or a repaint of the middle third, of music of this length by the 2B, [1, 2, N]: each with a new caption.

    The music is encoded once, as for several takes; `pairs.encode` times that.
    """
    networks, captions = _Networks.made(layers, device, dtype), _Captions(changed=True)
    region, wave = (seconds / 3, seconds * 2 / 3), published.music(seconds)
    if side == OURS:
        cascade, music = networks.cascade(("2B",)), Waveform(wave, PUBLISHED_LATENTS.sample_rate_hz)
        verb = (
            cascade.cover
            if task == "cover"
            else lambda *given, **how: cascade.repaint(given[0], [region], *given[1:], **how)
        )
        return lambda: verb(music, captions.next(), seed=captions.number, steps=STEPS[1]).samples
    pipeline = networks.pipeline(seconds)
    _encode_once(pipeline.vae)
    where = {"repainting_start": region[0], "repainting_end": region[1]} if task == "repaint" else {}
    given = {"task_type": task, "src_audio": wave[0], "audio_duration": seconds, **where}
    return lambda: pipeline(captions.next(), **given, **_asked(captions.number)).audios.float().cpu()


class _Captions:
    """The captions of songs one after the other. `number`: of the last one, its seed."""

    def __init__(self, changed: bool):
        self.number, self._changed, self._numbers = 0, changed, itertools.count()

    def next(self) -> str:
        self.number = next(self._numbers)
        return f"calm piano and strings, take {self.number if self._changed else 0}"


def _asked(seed: int) -> dict:
    """What their pipeline is asked for in every song."""
    return {
        "lyrics": "[Instrumental]",
        "num_inference_steps": sum(STEPS[1]),
        "guidance_scale": 1.0,
        "generator": torch.Generator().manual_seed(seed),
    }


def _encode_once(vae) -> None:
    encoded = []

    def encode(sound: torch.Tensor):
        if not encoded:
            encoded.append(type(vae).encode(vae, sound))
        return encoded[0]

    vae.encode = encode


@dataclass(frozen=True)
class _Networks:
    """What both sides are made of, with random weights."""

    qwen: torch.nn.Module
    tokenizer: object
    encoder: torch.nn.Module
    vae: torch.nn.Module
    audio_tokenizer: torch.nn.Module
    detokenizer: torch.nn.Module
    layers: int | None
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def made(cls, layers: int | None, device: torch.device, dtype: torch.dtype) -> "_Networks":
        from ..checkpoints.load import load_text_encoder
        from ..checkpoints.locate import TINY_FOLDER

        tokenizer = load_text_encoder(TINY_FOLDER / "text_encoder").tokenizer
        return cls(
            published.text_encoder(layers, tokenizer.get_vocab_size(), device, dtype),
            tokenizer,
            published.condition_encoder(device, dtype),
            published.vae(device, dtype),
            *published.audio_tokenizers(device, dtype),
            *(layers, device, dtype),
        )

    def cascade(self, widths: Sequence[str]) -> Cascade:
        stages = [self._stage(width) for width in widths]
        return Cascade(stages, TextEncoder(self.qwen, self.tokenizer), Vocoder(self.vae))

    def _stage(self, width: str) -> StageModel:
        return StageModel(
            *(
                width,
                self._transformer(width),
                self.encoder,
                torch.zeros(1, PUBLISHED_LATENTS.channels, SILENCE_FRAMES),
            ),
            *(width.lower(), VARIANTS["turbo"], PUBLISHED_LATENTS.channels),
            audio_tokenizer=self.audio_tokenizer,
            audio_token_detokenizer=self.detokenizer,
        )

    def _transformer(self, width: str) -> torch.nn.Module:
        return published.transformer(width, self.layers, self.device, self.dtype)

    def pipeline(self, seconds: float):
        """diffusers' pipeline of the 2B."""
        from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler
        from transformers import PreTrainedTokenizerFast

        from ..checkpoints.locate import TINY_FOLDER
        from ..checkpoints.tokenizer_files import special_tokens

        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
        special = special_tokens(TINY_FOLDER / "text_encoder" / "tokenizer_config.json")
        words = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer, **special)
        parts = (self.vae, self.qwen, words, self._transformer("2B"), self.encoder, scheduler)
        pipeline = AceStepPipeline(*parts, self.audio_tokenizer, self.detokenizer)
        pipeline.set_progress_bar_config(disable=True)
        if seconds > WHOLE_SECONDS:
            self.vae.enable_tiling()
        return pipeline

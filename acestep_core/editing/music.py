"""The music of a source: its samples at the vocoder's rate, and its latents, encoded or kept from when it was made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..audio.clips import check_clip, peak_dbfs
from ..audio.waveform import Waveform, convert
from ..errors import UserError
from ..models.reference import ENCODING_SEED
from ..spec import CHANNELS, EDIT_SECONDS_LEAST, MAX_SECONDS, PEAK_DBFS

if TYPE_CHECKING:
    from ..models.vocoder import Vocoder

LEVEL_SECONDS = 10.0  # of kept latents, decoded to compare their level with the file's


@dataclass(frozen=True, eq=False)
class SourceMusic:
    """Music to edit. `latents` [1, C, K] hold all of its `waveform` [1, 2, N], which is at the vocoder's rate; `gain`
    brings what is decoded of such latents to the waveform's level.
    """

    latents: torch.Tensor
    waveform: Waveform
    gain: float = 1.0


def encode_source(
    vocoder: "Vocoder",
    wave: Waveform,
    latents: torch.Tensor | None = None,
    tell: Callable[[float], None] = lambda seconds: None,
    name: str = "the source",
) -> SourceMusic:
    """Music of any rate and channel count, brought to the level that models know, and encoded.

    `latents` [1, C, K] of the same music are taken as they are. `tell` is called with the seconds that are encoded.
    Raises UserError for more than one item, silence, and less than 1 s or more than 600 s.
    """
    if len(wave) != 1:
        raise UserError(f"{name}: got a batch of {len(wave)}, expected one piece of music")
    check_length(wave.seconds, name)
    check_clip(wave, name)
    own = convert(wave, vocoder.latents.sample_rate_hz, CHANNELS)
    frames = frames_of(vocoder, own.samples.shape[-1])
    if latents is None:
        gain = 10 ** ((PEAK_DBFS - peak_dbfs(own)) / 20)
        return SourceMusic(_encoded(vocoder, own, gain, frames, tell), own, 1 / gain)
    if latents.shape[-1] > frames:
        latents = latents[..., :frames]
    _check_latents(latents, vocoder, frames, name)
    return SourceMusic(latents, own, _gain(vocoder, latents, own))


def check_length(seconds: float, name: str = "the source") -> None:
    """Raises UserError for music that is too short or too long to be edited."""
    if not EDIT_SECONDS_LEAST <= seconds <= MAX_SECONDS:
        raise UserError(
            f"{name}: got {seconds:.2f} s of sound, expected {EDIT_SECONDS_LEAST:g} to {MAX_SECONDS:g} s; "
            "cut the part that is to be edited"
        )


def frames_of(vocoder: "Vocoder", samples: int) -> int:
    """The fewest frames that decode to so many samples: with odd ratios, one more than they fill."""
    frames = -(-samples // vocoder.latents.samples_per_frame)
    return frames if vocoder.samples(frames) >= samples else frames + 1


def _encoded(vocoder: "Vocoder", wave: Waveform, gain: float, frames: int, tell) -> torch.Tensor:
    whole = functional.pad(wave.samples * gain, (0, vocoder.latents.samples(frames) - wave.samples.shape[-1]))
    padded = Waveform(whole, wave.sample_rate_hz)
    latents = vocoder.encode(padded, torch.Generator().manual_seed(ENCODING_SEED), tell)
    return functional.pad(latents, (0, frames - latents.shape[-1]), mode="replicate")


def _check_latents(latents: torch.Tensor, vocoder: "Vocoder", frames: int, name: str) -> None:
    shape = (1, vocoder.latents.channels, frames)
    if tuple(latents.shape) != shape or not bool(latents.isfinite().all()):
        raise UserError(
            f"{name}: got latents {list(latents.shape)}, expected {list(shape)} as of its sound; leave them out, or "
            "take those that were kept with it"
        )


def _gain(vocoder: "Vocoder", latents: torch.Tensor, wave: Waveform) -> float:
    """How much louder the waveform is than its decoded latents, measured where it is loudest."""
    hop = vocoder.latents.samples_per_frame
    count = min(vocoder.latents.frames(LEVEL_SECONDS), wave.samples.shape[-1] // hop)
    loud = functional.avg_pool1d(wave.samples.square().mean(dim=1), hop * count, hop)
    first = int(loud.argmax())
    made = vocoder.decode(latents[..., first : first + count]).samples
    given = wave.samples[..., first * hop :][..., : made.shape[-1]]
    return float(given.square().mean().sqrt() / made[..., : given.shape[-1]].square().mean().sqrt().clamp(min=1e-9))

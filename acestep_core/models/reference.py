"""Clips encoded for the models: timbre latents, and a clip that a song begins with.

Latents are [B, C, T]. Timbre is the style of a clip: three 10 s segments of it, encoded. A continuation keeps the
frames of a clip and makes new ones after them, as a repaint does with any window.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..audio.clips import check_clip, in_range, three_segments
from ..audio.waveform import Waveform
from ..errors import UserError
from ..spec import MAX_SECONDS, TIMBRE_SECONDS, TIMBRE_SEGMENTS
from .kept import INJECTION_RATIO, Kept, context
from .source import Source, Variation

if TYPE_CHECKING:
    from .vocoder import Vocoder

ENCODING_SEED = 0  # models are trained on drawn latents, not on means; one fixed draw keeps a clip the same clip

BLEND_SECONDS = 1.0
CROSSFADE_SECONDS = 0.05


@dataclass(frozen=True)
class ContinuationSource(Source):
    """A clip to continue: its latents [1, C, K] and the samples [1, channels, N] that they encode."""

    latents: torch.Tensor
    waveform: Waveform
    injection_ratio: float = INJECTION_RATIO
    blend_frames: int = 0
    crossfade_seconds: float = CROSSFADE_SECONDS

    def kept(self, frames: int) -> Kept:
        """The part of a song of so many frames that stays the clip. Raises UserError for a song that is too short."""
        clip_frames = self.latents.shape[-1]
        each = self.waveform.seconds / clip_frames
        check_longer(frames * each, clip_frames * each)
        window = (torch.arange(frames) >= clip_frames)[None]
        clean = functional.pad(self.latents, (0, frames - clip_frames))
        return Kept(clean, window, self.injection_ratio, self.blend_frames)

    def context(self, silent: torch.Tensor, hints: torch.Tensor | None = None) -> torch.Tensor:
        return context(silent, self.kept(silent.shape[-1]))


def check_longer(song_seconds: float, clip_seconds: float, name: str = "the clip") -> None:
    """Raises UserError unless a song is longer than the clip that it continues."""
    if song_seconds <= clip_seconds:
        raise UserError(
            f"continuation: the song is {song_seconds:.1f} s and {name} {clip_seconds:.1f} s; ask for a longer song, "
            "its length is that of the whole"
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """The encoded clips of a song: timbre latents [1, C, F], one a clip, and a source: a clip to continue, or music to
    edit. `variation`: of the noise that the song is made of. Equal only to itself.
    """

    timbre: tuple[torch.Tensor, ...] = ()
    source: Source | None = None
    variation: Variation | None = None


def timbre_reference(
    vocoder: "Vocoder",
    clips: Sequence[Waveform],
    report: Callable[[float], None] = lambda seconds: None,
    names: Sequence[str] = (),
) -> tuple[torch.Tensor, ...]:
    """Timbre latents [1, C, F] of each clip (30 s), of any length, rate and channel count. Raises UserError.

    `report` is called with the seconds of each that are encoded. `names` are the clips' names in messages.
    """
    names = names or [f"reference clip {i + 1}" for i in range(sum(map(len, clips)))]
    items = [clip[i] for clip in clips for i in range(len(clip))]
    return tuple(_timbre(vocoder, clip, name, report) for clip, name in zip(items, names, strict=True))


def fit_timbre(latents: torch.Tensor, frames: int) -> torch.Tensor:
    """Timbre latents [1, C, F] fitted to the [1, C, frames] of a model: segments shortened, or all repeated."""
    repeats = math.ceil(frames / latents.shape[-1])
    latents = latents.repeat(1, 1, repeats)
    cuts = [frames * i // TIMBRE_SEGMENTS for i in range(TIMBRE_SEGMENTS + 1)]
    starts = [latents.shape[-1] * i // TIMBRE_SEGMENTS for i in range(TIMBRE_SEGMENTS)]
    return torch.cat([latents[..., s : s + b - a] for s, a, b in zip(starts, cuts, cuts[1:])], dim=-1)


def continuation(
    vocoder: "Vocoder",
    clip: Waveform,
    report: Callable[[float], None] = lambda seconds: None,
    name: str = "the clip to continue",
) -> ContinuationSource:
    """A clip [1, channels, N] as the beginning of a song; a part of a frame at its end is left off.

    `report` is called with the seconds that are encoded. Raises UserError for silence, for more than one item, for less
    than a frame, and for a clip that is as long as the longest song.
    """
    if len(clip) != 1:
        raise UserError(f"continuation: got a batch of {len(clip)} clips, expected one")
    check_clip(clip, name)
    check_longer(MAX_SECONDS, clip.seconds, name)
    clip = in_range(clip, vocoder.latents.sample_rate_hz, vocoder.channels, name)
    frames = clip.samples.shape[-1] // vocoder.latents.samples_per_frame
    if frames == 0:
        raise UserError(f"{name} is {clip.seconds:.3f} s long, expected some seconds of music")
    clip = Waveform(clip.samples[..., : vocoder.latents.samples(frames)], clip.sample_rate_hz)
    blend = min(round(BLEND_SECONDS * vocoder.latents.frames_per_second), frames // 2)
    return ContinuationSource(_encoded(vocoder, clip, report), clip, blend_frames=blend)


def splice(reference: Reference, song: Waveform) -> Waveform:
    """The song with the clip's own samples at its beginning, crossfaded at the end of the clip."""
    if reference.source is None:
        return song
    clip = reference.source.waveform
    if clip.sample_rate_hz != song.sample_rate_hz or clip.samples.shape[-1] > song.samples.shape[-1]:
        raise UserError(
            f"splice: got a song of {song.seconds:.1f} s at {song.sample_rate_hz} Hz, expected more than the clip's "
            f"{clip.seconds:.1f} s at {clip.sample_rate_hz} Hz"
        )
    length = clip.samples.shape[-1]
    fade = min(round(reference.source.crossfade_seconds * clip.sample_rate_hz), length)
    share = torch.ones(length)
    share[length - fade :] = torch.linspace(1, 0, fade + 2)[1:-1]
    made = song.samples.clone()
    made[..., :length] = torch.where(share == 1, clip.samples, share * clip.samples + (1 - share) * made[..., :length])
    return Waveform(made, song.sample_rate_hz)


def _timbre(vocoder: "Vocoder", clip: Waveform, name: str, report: Callable[[float], None]) -> torch.Tensor:
    spec = vocoder.latents
    segment = spec.samples(spec.frames(TIMBRE_SECONDS / TIMBRE_SEGMENTS))
    check_clip(clip, name)
    clip = three_segments(clip, segment / spec.sample_rate_hz)
    samples = in_range(clip, spec.sample_rate_hz, vocoder.channels, name).samples
    samples = samples.repeat(1, 1, math.ceil(TIMBRE_SEGMENTS * segment / samples.shape[-1]))
    length = samples.shape[-1]
    starts = (0, length // TIMBRE_SEGMENTS, length - segment)  # front, middle, back
    segments = torch.cat([samples[..., start : start + segment] for start in starts], dim=-1)
    return _encoded(vocoder, Waveform(segments, spec.sample_rate_hz), report)


def _encoded(vocoder: "Vocoder", clip: Waveform, report: Callable[[float], None]) -> torch.Tensor:
    return vocoder.encode(clip, torch.Generator().manual_seed(ENCODING_SEED), report)

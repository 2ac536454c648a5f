"""How near a vocoder comes to the band's clips."""

import numpy as np
import torch

from ..tiny_recipe.spectral import log_mel, mel_distance_db, pitch_image
from . import listening as listen
from .truths import Truth, mean, waveform

PITCH_HOP = 480


@torch.no_grad()
def vocoder_figures(vocoder, truths: list[Truth]) -> dict:
    """Distances of clips to themselves behind the vocoder; on sampled instruments too where the truths have them."""
    synthesised = [asked.wave for asked in truths]
    made = through(vocoder, synthesised)
    pairs = [(a[None], b[None, :, : a.shape[-1]]) for a, b in zip(made, synthesised)]
    distances = [mel_distance_db(*pair).item() for pair in pairs]
    return {
        "vocoder: log-mel distance (dB)": mean(distances),
        "vocoder: worst clip (dB)": max(distances),
        **_sampled_figures(vocoder, truths),
        "vocoder: semitone image correlation": mean([correlation(*map(_pitches, pair)) for pair in pairs]),
        "vocoder: loudness contour correlation": mean([correlation(*map(_loudness, pair)) for pair in pairs]),
        "vocoder: same key found": mean([listen.key(a[0]) == listen.key(b[0]) for a, b in pairs]),
        "vocoder: comb at the frame rate (dB)": mean([listen.comb_db(one, _frames_a_second(vocoder)) for one in made]),
        "vocoder: tiled against untiled (largest sample)": seam(vocoder, truths[0]),
    }


def _sampled_figures(vocoder, truths: list[Truth]) -> dict:
    clips = [asked.sampled for asked in truths if asked.sampled is not None]
    made = [mel_distance_db(a[None], b[None]).item() for a, b in zip(through(vocoder, clips), clips)]
    return {"vocoder: log-mel distance, sampled instruments (dB)": mean(made)} if made else {}


@torch.no_grad()
def through(vocoder, clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """Clips encoded and decoded by the vocoder: no song can be nearer to the band's clips than these."""
    return [vocoder.decode(vocoder.encode(waveform(clip))).samples[0, :, : clip.shape[-1]] for clip in clips]


def seam(vocoder, asked: Truth) -> float:
    """The largest difference between a decode in small tiles and one in a single piece."""
    latents = vocoder.encode(waveform(asked.wave))
    whole = vocoder.tiled(latents.shape[-1] + 1).decode(latents).samples
    context = vocoder.decode_context
    tiled = vocoder.tiled(2 * (context.before + context.after)).decode(latents).samples
    return (whole - tiled).abs().max().item()


def _frames_a_second(vocoder) -> float:
    return vocoder.latents.frames_per_second


def _pitches(wave: torch.Tensor) -> torch.Tensor:
    return pitch_image(wave, PITCH_HOP)


def _loudness(wave: torch.Tensor) -> torch.Tensor:
    return log_mel(wave).mean((1, 2))


def correlation(a, b) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])

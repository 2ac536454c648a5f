"""How near songs come to what was asked for, and to what the band plays to the same words."""

import numpy as np
import torch

from ..band.strokes import RATE_HZ
from ..generation.cascade import Cascade
from ..scoring.judges import FinishedSong, judged
from ..tiny_recipe.spectral import log_mel, mel_distance_db
from . import listening as listen
from .truths import Truth, make, mean, truth, waveform

TEMPO_NEAR = 0.04
ENDING_S = 0.02
LONG_SECONDS, LONG_FROM = (60.0, 120.0), 50_000  # added to a seed: long songs are other songs
COMES_BACK = 0.5  # of a song's parts


def song_figures(truths: list[Truth], made: list[torch.Tensor], frames_a_second: float) -> dict:
    tempo, key, roles, voices = accuracy(truths, made)
    apart = [above_the_band(asked, wave) for asked, wave in zip(truths, made)]
    return {
        f"songs: tempo within {100 * TEMPO_NEAR:.0f} % of the asked": tempo,
        "songs: key as asked, or its relative": key,
        "songs: instruments named found, forbidden not": roles,
        "songs: a voice where there are lyrics, none where not": voices,
        "songs: log-mel to the band's own, above another melody's (dB)": mean(apart),
        "songs: distance to real": frechet([asked.wave for asked in truths], made),
        "songs: comb at the frame rate (dB)": mean([listen.comb_db(wave, frames_a_second) for wave in made]),
        f"songs: last {1000 * ENDING_S:.0f} ms against the song (dB)": float(np.median(list(map(ending_db, made)))),
    }


def ceiling(truths: list[Truth]) -> dict:
    """How often the estimates are right on the band's own clips."""
    waves = [asked.wave for asked in truths]
    tempo, key, roles, voices = accuracy(truths, waves)
    return {
        "listener on real clips: tempo": tempo,
        "listener on real clips: key": key,
        "listener on real clips: instruments": roles,
        "listener on real clips: voice": voices,
    }


def accuracy(truths: list[Truth], waves: list[torch.Tensor]) -> tuple[float, float, float, float]:
    """Shares of waveforms whose estimated tempo, key, instruments and voice are those of the truth."""
    pairs = list(zip(truths, waves))
    tempo = mean([tempo_right(asked, wave) for asked, wave in pairs if "drums" in asked.named])
    key = mean([key_right(asked, wave) for asked, wave in pairs])
    playing = [(asked, listen.instruments(wave)) for asked, wave in pairs]
    roles = mean([right for asked, found in playing for right in roles_right(asked, found)])
    return tempo, key, roles, mean([found[listen.VOICE] == asked.sketch.sung for asked, found in playing])


def tempo_right(asked: Truth, wave: torch.Tensor) -> bool:
    return abs(listen.tempo_bpm(wave) / asked.sketch.bpm - 1) < TEMPO_NEAR


def key_right(asked: Truth, wave: torch.Tensor) -> bool:
    return listen.same_or_relative(*listen.key(wave), asked.sketch.tonic, asked.sketch.minor)


def roles_right(asked: Truth, found: dict[str, bool]) -> list[bool]:
    """Of each role that is named, whether it was found to play, of each that is forbidden, whether not."""
    return [found[role] for role in asked.named if role in found] + [
        not found[role] for role in asked.forbidden if role in found
    ]


def above_the_band(asked: Truth, wave: torch.Tensor) -> float:
    """Log-mel distance in dB to the nearest of the band's takes of the same song, less that of its takes of the same
    words with other notes: 0 would be another song of the band.
    """
    return asked.nearest(wave) - asked.between_melodies


def ending_db(wave: torch.Tensor) -> float:
    """Level of the end against that of the whole."""
    last = wave[:, -round(ENDING_S * RATE_HZ) :].square().mean()
    return float(10 * torch.log10((last + 1e-12) / (wave.square().mean() + 1e-12)))


def determinism(cascade: Cascade, asked: Truth, first: torch.Tensor, settings: dict) -> dict:
    again, other = make(cascade, asked, 0, **settings), make(cascade, asked, 1_000, **settings)
    return {
        "same seed, largest difference": (again - first).abs().max().item(),
        "other seed, log-mel distance (dB)": mel_distance_db(other[None], first[None]).item(),
    }


# ---- long songs ------------------------------------------------------------------------------------------------------


def long_figures(cascade: Cascade, first_seed: int, count: int, settings: dict, console) -> dict:
    """Whether beats keep their tempo, and sections come back. Beats are measured where there are drums in 4/4."""
    figures = {}
    for seconds in LONG_SECONDS:
        drifts, back, ends = [], [], []
        for number, asked in enumerate(_long_truths(first_seed, count, seconds)):
            wave = make(cascade, asked, number, **settings)
            drifts.append(listen.drift_ms(wave, asked.sketch.bpm, asked.sketch.beats_per_bar))
            found = judged(FinishedSong(waveform(wave), asked.song)).get("structure")  # None of a short song
            back += [found.value >= 100 * COMES_BACK] if found else []
            ends.append(ending_db(wave))
            console.bar(f"songs of {seconds:.0f} s", number + 1, count, 0.0)
        about = f"songs of {seconds:.0f} s"
        figures[f"{about}: beat drift, median of the largest (ms)"] = float(np.nanmedian(drifts))
        figures[f"{about}: over half of it comes back"] = mean(back)
        figures[f"{about}: last {1000 * ENDING_S:.0f} ms against the song (dB)"] = float(np.median(ends))
    return figures


def _long_truths(first_seed: int, count: int, seconds: float) -> list[Truth]:
    found: list[Truth] = []
    seed = first_seed + LONG_FROM
    while len(found) < count:
        one = truth(seed, seconds)
        if "drums" in one.named and one.sketch.metre == 4:
            found.append(one)
        seed += 1
    return found


# ---- distances of distributions --------------------------------------------------------------------------------------


def frechet(real: list[torch.Tensor], made: list[torch.Tensor]) -> float:
    """Fréchet distance between Gaussians over log-mel frames in tens of dB, with their change over 1/4 s (Kilgour et
    al., 2019, on spectra instead of an embedding).
    """
    from scipy.linalg import sqrtm

    (m1, c1), (m2, c2) = _gaussian(real), _gaussian(made)
    return float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real))


def _gaussian(waves: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    frames = []
    for wave in waves:
        mel = log_mel(wave.mean(0, keepdim=True)[None], n_mels=40)[0, 0].numpy() / 10
        frames.append(np.concatenate([mel[:, 24:], mel[:, 24:] - mel[:, :-24]]))
    frames = np.concatenate(frames, 1)
    return frames.mean(1), np.cov(frames)

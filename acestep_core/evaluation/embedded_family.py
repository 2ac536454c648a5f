"""The measurements behind `acestep-cascade bench tiny`, and the model card that they fill.

Each function gives a flat dict of figures by the names that the card shows. Truth is a clip of the band, `[2, N]`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..audio.waveform import Waveform
from ..band import SHIPPED, Sketch, play, song_of
from ..band.caption import caption
from ..flow.stages import noise
from ..generation.cascade import TEXT, VOCODER, Cascade
from ..models.condition import encode_condition
from ..models.velocity import prepare
from ..song import Song
from ..tiny_recipe.songs import FIRST_HELD_OUT_SEED
from ..tiny_recipe.spectral import log_mel, mel_distance_db, pitch_image
from . import listening as listen

RATE_HZ = 48_000
MEASURED_TIMES = 4  # of each stage, the middles of its quarters


@dataclass(frozen=True)
class Truth:
    """A held-out song, the instruments that its caption names and forbids, and the band's own clip."""

    sketch: Sketch
    song: Song
    named: frozenset[str]
    forbidden: frozenset[str]
    wave: torch.Tensor  # [2, N]


def evaluate(models, songs: int, seconds: float, wanted, settings: dict, console) -> dict:
    """The figures of the groups in `wanted`, with notes on the console."""
    cascade = Cascade.load(models, dtype="fp32")
    truths = [truth(FIRST_HELD_OUT_SEED + i, seconds) for i in range(songs)]
    console.note(f"{songs} held-out clips played")
    figures = {"held-out captions": songs} | ceiling(truths)
    if "vocoder" in wanted:
        figures |= vocoder_figures(cascade, truths)
        console.note("vocoder measured")
    if "songs" in wanted:
        made = []
        for number, asked in enumerate(truths):
            made.append(make(cascade, asked, number, **settings))
            console.bar("songs", number + 1, songs, 0.0)
        figures |= song_figures(truths, made) | determinism(cascade, truths[0], made[0], settings)
    if "cascade" in wanted:
        figures |= losses(cascade, truths)
        figures |= distances(cascade, truths, settings, console)
    return figures


def truth(seed: int, seconds: float, genre: str | None = None) -> Truth:
    sketch = Sketch.draw(seed, seconds, genre, SHIPPED)
    _, named, forbidden = caption(sketch, world=SHIPPED)
    song = song_of(sketch, complete=True, world=SHIPPED)
    return Truth(sketch, song, named, forbidden, torch.from_numpy(play(sketch)))


def make(cascade: Cascade, asked: Truth, seed: int, **settings) -> torch.Tensor:
    return cascade.generate(asked.song, seed=seed, **settings).samples[0]


def _share(hits: list) -> float:
    return float(np.mean(hits)) if hits else float("nan")


def _tempo_right(asked: Truth, wave: torch.Tensor) -> bool:
    return abs(listen.tempo_bpm(wave) / asked.sketch.bpm - 1) < 0.04


def _key_right(asked: Truth, wave: torch.Tensor) -> bool:
    return listen.same_or_relative(*listen.key(wave), asked.sketch.tonic, asked.sketch.minor)


def _roles_right(asked: Truth, wave: torch.Tensor) -> list[bool]:
    found = listen.instruments(wave)
    return [found[role] for role in asked.named] + [not found[role] for role in asked.forbidden]


def accuracy(truths: list[Truth], waves: list[torch.Tensor]) -> tuple[float, float, float]:
    """Shares of waveforms whose estimated tempo, key and instruments are those of the truth."""
    pairs = list(zip(truths, waves))
    tempo = _share([_tempo_right(asked, wave) for asked, wave in pairs if "drums" in asked.named])
    roles = _share([right for asked, wave in pairs for right in _roles_right(asked, wave)])
    return tempo, _share([_key_right(asked, wave) for asked, wave in pairs]), roles


def ceiling(truths: list[Truth]) -> dict:
    """How often the estimates are right on the band's own clips."""
    tempo, key, roles = accuracy(truths, [asked.wave for asked in truths])
    return {
        "listener on real clips: tempo": tempo,
        "listener on real clips: key": key,
        "listener on real clips: instruments": roles,
    }


@torch.no_grad()
def vocoder_figures(cascade: Cascade, truths: list[Truth]) -> dict:
    vocoder = cascade.pool[VOCODER]
    distance, pitch, keys, loudness = [], [], [], []
    for asked in truths:
        real = asked.wave[None]
        made = vocoder.decode(vocoder.encode(Waveform(real, RATE_HZ))).samples[..., : real.shape[-1]]
        real = real[..., : made.shape[-1]]
        distance.append(mel_distance_db(made, real).item())
        pitch.append(_correlation(pitch_image(made, 480), pitch_image(real, 480)))
        loudness.append(_correlation(log_mel(made).mean((1, 2)), log_mel(real).mean((1, 2))))
        keys.append(listen.key(made[0]) == listen.key(real[0]))
    return {
        "vocoder: log-mel distance (dB)": _share(distance),
        "vocoder: worst clip (dB)": max(distance),
        "vocoder: semitone image correlation": _share(pitch),
        "vocoder: loudness contour correlation": _share(loudness),
        "vocoder: same key heard": _share(keys),
        "vocoder: tiled against untiled (largest sample)": seam(vocoder, truths[0]),
    }


def seam(vocoder, asked: Truth) -> float:
    """The largest difference between a decode in small tiles and one in a single piece."""
    latents = vocoder.encode(Waveform(asked.wave[None], RATE_HZ))
    whole = vocoder.tiled(latents.shape[-1] + 1).decode(latents).samples
    context = vocoder.decode_context
    tiled = vocoder.tiled(2 * (context.before + context.after)).decode(latents).samples
    return (whole - tiled).abs().max().item()


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def song_figures(truths: list[Truth], made: list[torch.Tensor]) -> dict:
    tempo, key, roles = accuracy(truths, made)
    return {
        "songs: tempo within 4 % of the asked": tempo,
        "songs: key as asked, or its relative": key,
        "songs: instruments named heard, forbidden not": roles,
    }


def determinism(cascade: Cascade, asked: Truth, first: torch.Tensor, settings: dict) -> dict:
    again, other = make(cascade, asked, 0, **settings), make(cascade, asked, 1_000, **settings)
    return {
        "same seed, largest difference": (again - first).abs().max().item(),
        "other seed, log-mel distance (dB)": mel_distance_db(other[None], first[None]).item(),
    }


@torch.no_grad()
def losses(cascade: Cascade, truths: list[Truth], count: int = 12) -> dict:
    """Flow-matching loss of every stage model at the times of every stage, on held-out clips."""
    vocoder, text = cascade.pool[VOCODER], cascade.pool[TEXT]
    stretches = [(stage.times[0], stage.times[-1]) for _, stage in cascade.plan()]
    middles = (np.arange(MEASURED_TIMES) + 0.5) / MEASURED_TIMES
    figures = {}
    for letter, where in zip("LMS", cascade.stages):
        model, sums = cascade.pool[where], {stretch: [] for stretch in stretches}
        for number, asked in enumerate(truths[:count]):
            music = vocoder.encode(Waveform(asked.wave[None], RATE_HZ))
            velocity = prepare(model.transformer, encode_condition(model, text.encode(asked.song), music.shape[-1]))
            start = noise([number], *music.shape[1:])
            for high, low in stretches:
                for t in (low + (high - low) * middles).tolist():
                    made = velocity(t * start + (1 - t) * music, t)
                    sums[high, low].append((made - (start - music)).square().mean().item())
        figures |= {
            f"flow-matching loss: {letter}, t from {high:.3g} to {low:.3g}": _share(found)
            for (high, low), found in sums.items()
        }
    return figures


def distances(cascade: Cascade, truths: list[Truth], settings: dict, console, count: int = 16) -> dict:
    """Fréchet distance of log-mel frames between the band's clips and songs: by the cascade, and by each model alone
    with as many operations.
    """
    truths = truths[:count]
    real = [asked.wave for asked in truths]
    plans = [stage for _, stage in cascade.plan(**settings)]
    costs = [_cost(cascade.pool[where]) for where in cascade.stages]
    budget = sum(cost * stage.steps for cost, stage in zip(costs, plans))
    figures = {f"{DISTANCE}L→M→S": frechet(real, [make(cascade, a, n, **settings) for n, a in enumerate(truths)])}
    for letter, where, cost in zip("LMS", cascade.stages, costs):
        alone = Cascade([cascade.pool[where]], cascade.pool[TEXT], cascade.pool[VOCODER])
        steps = max(1, round(budget / cost))
        rest = {name: value for name, value in settings.items() if name == "guidance"}
        songs = [make(alone, asked, number, steps=(steps,), **rest) for number, asked in enumerate(truths)]
        figures[f"{DISTANCE}{letter} alone ({steps} steps)"] = frechet(real, songs)
        console.note(f"{letter} alone measured")
    return figures


def _cost(model) -> float:
    """Operations of one step, in parameters times tokens a frame."""
    return sum(p.numel() for p in model.transformer.layers.parameters()) / model.transformer.config.patch_size


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


DISTANCE = "distance to real: "

# Bounds for the family: figure, bound, whether it must lie below it.
GATES = (
    ("vocoder: log-mel distance (dB)", 4.0, True),
    ("songs: tempo within 4 % of the asked", 0.8, False),
    ("songs: key as asked, or its relative", 0.7, False),
)


def card(figures: dict) -> str:
    """The model card: a description of the family, the bounds that it meets, and every figure."""
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures.items())
    gates = "\n".join(_gate(figures[name], name, bound, below) for name, bound, below in GATES if name in figures)
    return CARD.format(rows=rows, gates="\n".join(filter(None, (gates, _cascade_line(figures)))))


def _cascade_line(figures: dict) -> str:
    """A line on whether the cascade comes nearer to the band's clips than the best of its models at equal cost."""
    alone = {name: value for name, value in figures.items() if name.startswith(DISTANCE) and "alone" in name}
    if not alone:
        return ""
    best, cascade = min(alone, key=alone.get), figures[f"{DISTANCE}L→M→S"]
    result = "is nearer" if cascade < alone[best] else "is **not** nearer"
    return f"- {DISTANCE}the cascade {cascade:.3g}, {best.removeprefix(DISTANCE)} {alone[best]:.3g}: it {result}"


def _gate(value: float, name: str, bound: float, below: bool) -> str:
    passed = value <= bound if below else value >= bound
    bound_text = f"{'at most' if below else 'at least'} {bound:g}"
    return f"- {name}: {value:.3g}, required {bound_text}: **{'met' if passed else 'not met'}**"


CARD = """# The embedded cascade `tiny`

Three music transformers, L, M and S, with a text encoder and a vocoder of their own, in the layout of the published
ACE-Step 1.5 models and run by the same code. They were trained from nothing by `acestep-cascade train tiny` on music
that a procedural band of this project plays (`acestep_core/band`), and are MIT like the rest. (M and S were last
trained on a GPU, with the same losses in batches four times as large.)

They know the band's world: house, techno, trance, synthwave, hip hop, lo-fi, funk, rock, ambient and reggae; six moods;
drums, bass, keys, pads, leads and arpeggios; 60 to 180 bpm; all major and minor keys. They do not sing.

## Measured

On captions and seeds that were not trained on (`acestep-cascade bench tiny`). Tempo and key are estimated by
`acestep_core/evaluation/listening.py`; its rows on real clips are the ceiling of the rows on songs. The log-mel
distance is the mean absolute difference of 80 mel bands in dB with a floor of -70 dB. Tempo counts captions that name
drums; half and double count as wrong. Distances are Fréchet distances of log-mel frames; a model alone runs as many
steps as have the cost of the cascade.

{gates}

| figure | value |
|---|---:|
{rows}
"""

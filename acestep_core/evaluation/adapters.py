"""The measurements behind `acestep-cascade bench lora`: how near an adapter comes to its style, and how much it changes
other styles. Clips and songs are `[2, N]` at 48 kHz; no caption or seed here was trained on.
"""

from pathlib import Path

import torch

from ..flow.stages import noise
from ..generation.cascade import TEXT, VOCODER, Cascade
from ..lora.adapter import read_adapter
from ..lora.apply import apply_adapter
from ..models.condition import encode_condition
from ..models.velocity import prepare
from ..tiny_recipe.spectral import mel_distance_db
from ..training.objective import flow_times
from ..training.settings import LoraSettings, with_own_times
from .song_figures import accuracy, frechet
from .truths import Truth, make, truth, waveform
from .vocoder_figures import through

STYLE_SEEDS, OTHER_SEEDS = 2_000_500, 1_000_500  # the first ones
MEASURED_TIMES = 4  # of each clip


def measure(adapter: Path, strength: float, songs: int, seconds: float, genre: str, console) -> dict[str, float]:
    """Figures on songs of a style's captions, and of others, by the embedded cascade without and with an adapter."""
    cascade = Cascade.load("tiny", dtype="fp32")
    style = [truth(STYLE_SEEDS + i, seconds, genre) for i in range(songs)]
    others = [truth(OTHER_SEEDS + i, seconds) for i in range(songs)]
    adapted = {"lora": [f"L={adapter}:{strength:g}"]}

    def play(truths: list[Truth], name: str, first_seed: int = 0, **settings) -> list[torch.Tensor]:
        made = []
        for number, one in enumerate(truths):
            made.append(make(cascade, one, first_seed + number, **settings))
            console.bar(name, number + 1, len(truths), 0.0)
        return made

    before, after = play(style, genre), play(style, f"{genre}, adapted", **adapted)
    others_before, others_after = play(others, "others"), play(others, "others, adapted", **adapted)
    other_seed = play(others, "other seeds", songs)
    real, real_others = ([one.wave for one in truths] for truths in (style, others))
    return {
        **losses(cascade, style, adapter, strength),
        "songs of the style, distance to it: before": frechet(real, before),
        "songs of the style, distance to it: after": frechet(real, after),
        "its own clips through the vocoder, distance to it": frechet(real, through(cascade.pool[VOCODER], real)),
        "songs of other styles, distance to real: before": frechet(real_others, others_before),
        "songs of other styles, distance to real: after": frechet(real_others, others_after),
        "songs of other styles, change at one seed (dB)": mel_distance(others_before, others_after),
        "songs of other styles, change to another seed (dB)": mel_distance(others_before, other_seed),
        **_as_asked("songs of the style", style, before, after),
        **_as_asked("songs of other styles", others, others_before, others_after),
    }


def _as_asked(kind: str, truths: list[Truth], before: list, after: list) -> dict[str, float]:
    figures = {}
    for name, then, now in zip(("tempo", "key", "instruments"), accuracy(truths, before), accuracy(truths, after)):
        figures |= {f"{kind}, {name} as asked: before": then, f"{kind}, {name} as asked: after": now}
    return figures


@torch.no_grad()
def losses(cascade: Cascade, truths: list[Truth], adapter: Path, strength: float) -> dict[str, float]:
    """Mean flow-matching loss of L at its own flow times, on the clips, without and with the adapter."""
    model, text, vocoder = (cascade.pool[part] for part in (cascade.stages[0], TEXT, VOCODER))
    own = with_own_times(LoraSettings(), "L", model.defaults)
    times = flow_times(model.defaults, own.start, own.end).spread(MEASURED_TIMES)
    adapted, _ = apply_adapter(model, read_adapter(adapter), strength)
    sums = {"before": 0.0, "after": 0.0}
    for number, one in enumerate(truths):
        music = vocoder.encode(waveform(one.wave))
        start = noise([number], *music.shape[1:])
        condition = encode_condition(model, text.encode(one.song), music.shape[-1])
        for name, stage in zip(sums, (model, adapted)):
            velocity = prepare(stage.transformer, condition)
            for t in times:
                error = velocity(t * start + (1 - t) * music, t) - (start - music)
                sums[name] += float(error.square().mean()) / (len(times) * len(truths))
    return {f"loss on clips of the style: {name}": loss for name, loss in sums.items()}


def mel_distance(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """Mean log-mel distance of pairs in dB."""
    return sum(mel_distance_db(a[None], b[None]).item() for a, b in zip(some, others)) / len(some)

"""The measurements behind `acestep-cascade bench tiny`, and the model card that they fill.

Each group gives a flat dict of figures by the names that the card shows. Truth is a clip of the band.
"""

from collections.abc import Mapping
from pathlib import Path

from ..generation.cascade import VOCODER, Cascade
from ..tiny_recipe.songs import FIRST_HELD_OUT_SEED
from .edit_figures import edit_figures
from .song_figures import ceiling, determinism, long_figures, song_figures
from .truths import make, truth
from .verdict import NEARER, losses, verdict
from .vocoder_figures import vocoder_figures

EDITED, LONG = 16, 8  # at most, for each of their figures


def evaluate(
    models, songs: int, seconds: float, wanted, settings: Mapping, console, font: Path | None = None
) -> dict[str, float | str]:
    """The figures of the groups in `wanted`, with notes on the console. `font`: plays the truths a second time."""
    cascade = Cascade.load(models, dtype="fp32")
    truths = [truth(FIRST_HELD_OUT_SEED + i, seconds, font=font) for i in range(songs)]
    figures = {"held-out captions": songs} | ceiling(truths)
    console.note(f"{songs} held-out clips played")
    if "vocoder" in wanted:
        figures |= vocoder_figures(cascade.pool[VOCODER], truths)
        console.note("vocoder measured")
    if "songs" in wanted:
        made = []
        for number, asked in enumerate(truths):
            made.append(make(cascade, asked, number, **settings))
            console.bar("songs", number + 1, songs, 0.0)
        figures |= song_figures(truths, made, cascade.latents.frames_per_second)
        figures |= determinism(cascade, truths[0], made[0], settings)
    if "long" in wanted:
        figures |= long_figures(cascade, FIRST_HELD_OUT_SEED, min(LONG, songs), settings, console)
    if "edits" in wanted:
        figures |= edit_figures(cascade, truths[:EDITED], settings, console)
    if "cascade" in wanted:
        figures |= losses(cascade, truths) | verdict(cascade, truths, settings, console)
    return figures


# Bounds for the family: figure, bound, whether it must lie below it.
GATES = (
    ("vocoder: log-mel distance (dB)", 3.0, True),
    ("vocoder: log-mel distance, sampled instruments (dB)", 3.5, True),
    ("songs: tempo within 4 % of the asked", 0.95, False),
    ("songs: key as asked, or its relative", 0.9, False),
    ("songs: log-mel to the band's own, above another melody's (dB)", 1.8, True),
    ("songs: comb at the frame rate (dB)", 6.0, True),
    ("songs: last 20 ms against the song (dB)", -25.0, True),
    ("songs of 60 s: beat drift, median of the largest (ms)", 15.0, True),
    ("songs of 120 s: beat drift, median of the largest (ms)", 40.0, True),
    ("songs of 120 s: over half of it comes back", 0.7, False),
    ("extract: nearer to the stem than the mix (dB)", 4.0, False),
    ("cover: chroma correlation with the source", 0.6, False),
    ("cover: instruments as asked", 0.8, False),
    ("songs: a voice where there are lyrics, none where not", 0.8, False),
)


def card(figures: dict) -> str:
    """The model card: a description of the family, the bounds that it meets, and every figure."""
    rows = "\n".join(f"| {name} | {_shown(value)} |" for name, value in figures.items())
    gates = [_gate(figures[name], name, bound, below) for name, bound, below in GATES if name in figures]
    return CARD.format(rows=rows, gates="\n".join([*gates, *_verdict_lines(figures)]))


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _verdict_lines(figures: dict) -> list[str]:
    """A line for each cost on whether the cascade comes nearer to the band than the nearest of its models alone."""
    lines = [
        f"- {name.removesuffix(NEARER)}: {value} dB of log-mel distance: {_verdict(value)}"
        for name, value in figures.items()
        if name.endswith(NEARER)
    ]
    return lines or ["- the cascade against each of its models alone, at the same cost: not measured"]


def _verdict(text: str) -> str:
    """text: "mean (low to high)" of the cascade's distance less the other's."""
    low, high = (float(part) for part in text.rpartition("(")[2].rstrip(")").split(" to "))
    if high < 0:
        return "the cascade is nearer"
    return "the cascade is **not** nearer" if low > 0 else "no difference is seen"


def _gate(value: float, name: str, bound: float, below: bool) -> str:
    passed = value <= bound if below else value >= bound
    bound_text = f"{'at most' if below else 'at least'} {bound:g}"
    return f"- {name}: {value:.3g}, required {bound_text}: **{'met' if passed else 'not met'}**"


CARD = """# The embedded cascade `tiny`

Three music transformers, L, M and S, with a text encoder, an audio tokenizer, a vocoder and a planner of their own, in
the layout of the published ACE-Step 1.5 models and run by the same code. This is the second edition; the first knew ten
genres, and no task but text to music.

All were trained by `acestep-cascade train tiny` on music of the band, a program of this project that writes scores by
rules and plays them (`acestep_core/band`), synthesised or with the sampled instruments of a free soundfont. They are
MIT like the rest. L began with random weights and was trained on two CPU cores, in 4,000 steps of 240 s of music each.
M and S began with the weights of the first edition, and took 2,000 and 1,200 steps.

They know the band's world: house, techno, trance, synthwave, hip hop, lo-fi, funk, rock, ambient, reggae, jazz trio,
bossa nova, orchestral, string quartet, metal, folk, blues, country, drum and bass and salsa; six moods; 4/4, 3/4 and
6/8 at 60 to 180 bpm; all major and minor keys; the editing tasks of the published models. Where there are lyrics, a
voice mostly hums the melody; words can hardly be understood.

## Measured

On captions and seeds that were not trained on (`acestep-cascade bench tiny`). A real clip is what the band plays to a
caption.

- Tempo, key, instruments and voice are estimated by `acestep_core/evaluation/listening.py`. The rows "listener on real
  clips" say how often it is right there, which is the ceiling of the same rows on songs. Tempo counts captions that
  name drums; half and double count as wrong.
- The log-mel distance is the mean absolute difference of 80 mel bands in dB, with a floor of -70 dB. "Above another
  melody's": a song's distance to what the band plays to the same caption, less that between two such clips with
  different notes; 0 would be another song of the band. The distance to real is a Fréchet distance of log-mel frames,
  in squares of 10 dB.
- The comb: how far lines at multiples of the vocoder's frame rate stand above their surroundings.
- A song "comes back" by its share of parts of 4 s whose sound returns at least 8 s away; the row is the share of songs.
- Values without a unit are shares or correlations, at most 1; differences of samples are of full scale, 1.
- Where a model alone is compared, it runs as many steps as have the cost of the cascade.

{gates}

| figure | value |
|---|---:|
{rows}

The stages hand over where the curves of their losses cross, on songs that were held out (`train tiny` proposes that).
"""

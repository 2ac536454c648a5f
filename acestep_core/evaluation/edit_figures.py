"""How well a cascade takes a mix apart, and plays a song in another style."""

from dataclasses import replace

import torch

from ..band import Sketch
from ..band.mix import mixed, stems
from ..generation.cascade import Cascade
from ..models.defaults import COVER, PLAIN_COVER, STEMS
from ..tiny_recipe.spectral import mel_distance_db
from . import listening as listen
from .song_figures import roles_right
from .truths import Truth, mean, truth_of, waveform
from .vocoder_figures import correlation

EXTRACT = STEMS[0]
NEARER = "extract: nearer to the stem than the mix (dB)"
OTHER_PLAYERS = 700_000  # added to a seed: who plays its cover


def edit_figures(cascade: Cascade, truths: list[Truth], settings: dict, console) -> dict:
    """Figures of the tasks that every model of the cascade knows."""
    known = set.intersection(*(set(defaults.tasks) for defaults in cascade.defaults))
    figures = {}
    if EXTRACT in known:
        figures |= extract_figures(cascade, truths, settings, console)
    for task in (COVER, PLAIN_COVER):
        if task in known:
            figures |= cover_figures(cascade, truths, task, settings, console)
    return figures


def extract_figures(cascade: Cascade, truths: list[Truth], settings: dict, console) -> dict:
    """How much nearer a stem taken out of a mix is to the true one than the mix is, in dB of log-mel distance."""
    nearer = []
    for number, asked in enumerate(truths):
        played = stems(asked.sketch)
        tracks = {name: torch.from_numpy(sound) for name, sound in played.items()}
        mix = torch.from_numpy(mixed(played, asked.wave.shape[-1]))
        if len(tracks) > 1:
            name = sorted(tracks)[number % len(tracks)]
            made = cascade.extract(waveform(mix), name, "", seed=number, **settings).samples[0]
            nearer.append(_apart(mix, tracks[name]) - _apart(made, tracks[name]))
        console.bar("stems", number + 1, len(truths), 0.0)
    return {NEARER: mean(nearer)}


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    count = min(a.shape[-1], b.shape[-1])
    return mel_distance_db(a[None, :, :count], b[None, :, :count]).item()


def cover_figures(cascade: Cascade, truths: list[Truth], task: str, settings: dict, console) -> dict:
    """Covers of the band's clips by other players: are the notes the source's, and the instruments the caption's?"""
    notes, roles = [], []
    for number, asked in enumerate(truths):
        wanted = with_other_players(asked)
        source, codes = waveform(asked.wave), task == COVER
        made = cascade.cover(source, wanted.song, codes=codes, seed=number, **settings).samples[0]
        notes.append(same_notes(made, asked.wave))
        roles += roles_right(wanted, listen.instruments(made))
        console.bar(task, number + 1, len(truths), 0.0)
    about = "cover" if task == COVER else "cover without codes"
    return {f"{about}: chroma correlation with the source": mean(notes), f"{about}: instruments as asked": mean(roles)}


def with_other_players(asked: Truth) -> Truth:
    """The same length, tempo and key, in the genre and on the instruments of another song; without a voice."""
    other = Sketch.draw(asked.sketch.seed + OTHER_PLAYERS, asked.sketch.seconds)
    voices = {role: voice for role, voice in other.voices.items() if role not in ("vocals", "backing")}
    sketch = replace(asked.sketch, genre=other.genre, mood=other.mood, voices=voices)
    return truth_of(sketch, asked.font)


def same_notes(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of how much of each pitch class sounds over time."""
    frames = listen.chroma_frames(a), listen.chroma_frames(b)
    count = min(one.shape[1] for one in frames)
    return correlation(*(one[:, :count] for one in frames))

"""An Edit and the music it is about -> EditSource: what the stages of a cascade and the finished sound take."""

import torch

from ..audio.splice import NEW, SILENCE, SOURCE, Splice, merged
from ..models import source as shown
from ..models.source import EditSource, Morph
from ..spec import EDIT_PADDED_SECONDS, LatentSpec
from .edit import Edit
from .music import SourceMusic

# The original's repaint mode "balanced" at strength 0, from which both fall to nothing at strength 1.
BLEND_FRAMES, BLEND_FRAMES_PER_SECOND = 25, 25
CROSSFADE_SECONDS, CROSSFADE_SECONDS_LEAST = 0.05, 0.01  # a shorter one clicks


def prepare(edit: Edit, music: SourceMusic, spec: LatentSpec) -> EditSource:
    """What the stages and the finished sound take of an edit. Raises UserError for an edit that does not fit the music.

    `spec`: of the vocoder that encoded the music.
    """
    edit.check_source(music.waveform.seconds)
    grid = _Grid(edit, music, spec)
    strength = edit.strength_or_default
    held = {"injection_ratio": 1 - strength, "blend_frames": blend_frames(strength, spec)} if edit.row.keeps else {}
    return EditSource(
        music.latents,
        grid.frames,
        grid.before,
        shows=_shows(edit),
        window=grid.window(),
        keeps=edit.row.keeps,
        structure=1.0 if edit.structure is None else edit.structure,
        closeness=edit.closeness or 0.0,
        morph=_morph(edit),
        splice=grid.splice(edit, music, strength),
        **held,
    )


def blend_frames(strength: float, spec: LatentSpec) -> int:
    """Frames that fade on each side of a window."""
    return round(BLEND_FRAMES * (1 - strength) * spec.frames_per_second / BLEND_FRAMES_PER_SECOND)


def crossfade_seconds(strength: float) -> float:
    """The length of the crossfade of samples at a seam."""
    return max(CROSSFADE_SECONDS * (1 - strength), CROSSFADE_SECONDS_LEAST)


class _Grid:
    """The frames of the song to make, with the source on its own frames, and where the regions lie in it.

    `before`: frames in front of the source. Positions are samples from the source's first one.
    """

    def __init__(self, edit: Edit, music: SourceMusic, spec: LatentSpec):
        self.spec, self.rate, self.hop = spec, spec.sample_rate_hz, spec.samples_per_frame
        self.length = music.waveform.samples.shape[-1]
        self.begin = -round((edit.before or 0.0) * self.rate)
        self.end = self.length + round((edit.after or 0.0) * self.rate)
        self.before = -(self.begin // self.hop)
        spare = music.latents.shape[-1] - -(-self.length // self.hop)  # which a vocoder with odd ratios needs
        self.frames = max(self.before + spare - (-self.end // self.hop), spec.frames(EDIT_PADDED_SECONDS))
        self.regions = merged([*map(self._samples, edit.regions), *self._extensions()])

    def _samples(self, region: tuple[float, float | None]) -> tuple[int, int]:
        start, end = region
        last = self.length if end is None else min(round(end * self.rate), self.length)
        return round(start * self.rate), last

    def _extensions(self) -> list[tuple[int, int]]:
        both = (self.begin, 0), (self.length, self.end)
        return [(first, last) for first, last in both if first < last]

    def window(self) -> torch.Tensor | None:
        """The frames [1, T] that a region touches, and those outside the source beside it; None without regions."""
        if not self.regions:
            return None
        window = torch.zeros(1, self.frames, dtype=torch.bool)
        for first, last in self.regions:
            window[:, self._frame(first) : -(-last // self.hop) + self.before if last < self.end else None] = True
        if self.end == self.length:  # what only fills a short song up is no music
            window[:, self._frame(self.length - 1) + 1 :] = False
        return window

    def _frame(self, sample: int) -> int:
        return sample // self.hop + self.before

    def splice(self, edit: Edit, music: SourceMusic, strength: float) -> Splice:
        return Splice(
            music.waveform,
            self.begin,
            self.end,
            skip=self.before * self.hop + self.begin,
            gain=music.gain,
            regions=self.regions,
            fade=round(crossfade_seconds(strength) * self.rate),
            outside=(SOURCE if edit.row.keeps else SILENCE) if self.regions else NEW,
            matches=edit.task in ("cover", "morph"),
            mixes=bool(edit.mix),
        )


def _shows(edit: Edit) -> str:
    if edit.task == "morph":
        return shown.SILENCE
    return shown.CODES if edit.by_codes else shown.SOURCE


def _morph(edit: Edit) -> Morph | None:
    if edit.task != "morph":
        return None
    given = {"begin": edit.morph_begin, "end": edit.morph_end, "averages": edit.averages}
    return Morph(**{name: value for name, value in given.items() if value is not None})

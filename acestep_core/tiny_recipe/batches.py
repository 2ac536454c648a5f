"""Assignments → one packed batch: items of different lengths one behind the other, none of them padded.

An item's frames are filled up to whole tokens with zeros, as they are when a song is generated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F

from .assignments import Assignment
from .latents import FRAMES_PER_SECOND, MIX, NOTES, TWIN
from .packed import Pack
from .sung import rows_of


@dataclass(frozen=True)
class Batch:
    """`music` [C, F] is what shall be made, `context` [2C, F]; `counts` [F] is 1 where the loss is taken.

    `text` and `lyrics` hold the ids [L] of each item; `timbre` [K, C, Ft] the references, silence first, `chosen` [B]
    which of them is an item's; `dropped` [B] who has the null condition. `notes` [N, 24] sound in each token, and
    `beats` [N, 2], a beat and the first of a bar, begin in it, where `noted` [N, 1] is 1; `sung` [N, 2] are the rows of
    the lyrics that it sings, as in sung.py.
    """

    music: torch.Tensor
    context: torch.Tensor
    real: torch.Tensor
    counts: torch.Tensor
    tokens: tuple[int, ...]
    text: list[torch.Tensor]
    lyrics: list[torch.Tensor]
    timbre: torch.Tensor
    chosen: torch.Tensor
    dropped: torch.Tensor
    notes: torch.Tensor
    beats: torch.Tensor
    noted: torch.Tensor
    sung: torch.Tensor

    def to(self, device) -> "Batch":
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: x.to(device) for n, x in moved.items() if isinstance(x, torch.Tensor)})

    def per_frame(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the items [B] → of their frames [F]."""
        frames = torch.tensor(self.tokens, device=values.device) * (self.music.shape[1] // sum(self.tokens))
        return values.repeat_interleave(frames)

    def pack(self, heard: Sequence[int]) -> Pack:
        return Pack(self.tokens, tuple(heard), self.music.device)


@dataclass(frozen=True)
class Packer:
    """Makes batches for one stage: its patch, the silence of its family [1, C, N], the frames of a timbre reference.

    `tokenize` gives the ids of a text's tokens and the characters of each; `hints` a source [1, C, T] through codes,
    None where there are no codes.
    """

    tokenize: Callable[[str], tuple[list[int], list[tuple[int, int]]]]
    silence: torch.Tensor
    patch: int
    timbre_frames: int
    hints: Callable[[torch.Tensor], torch.Tensor] | None = None

    def tokens(self, item: Assignment) -> int:
        return -(-item.frames // self.patch)

    def __call__(self, items: Sequence[Assignment]) -> Batch:
        sounds = [self._sound(item, item.target) for item in items]
        pieces, chosen = self._timbre(items)
        notes = [self._notes(item) for item in items]
        return Batch(
            music=self._packed(sounds),
            context=self._packed([self._context(item) for item in items]),
            real=self._packed([torch.ones(1, item.frames) for item in items])[0],
            counts=self._packed([self._counted(item)[None] for item in items])[0],
            tokens=tuple(map(self.tokens, items)),
            text=[torch.tensor(self.tokenize(item.prompt)[0]) for item in items],
            lyrics=[torch.tensor(self.tokenize(item.lyrics)[0]) for item in items],
            timbre=torch.stack(pieces),
            chosen=torch.tensor(chosen),
            dropped=torch.tensor([item.dropped for item in items]),
            notes=torch.cat(notes),
            beats=torch.cat([self._beats(item) for item in items]),
            noted=torch.cat([torch.full((len(n), 1), float(i.target in (MIX, TWIN))) for i, n in zip(items, notes)]),
            sung=torch.cat([self._sung(item) for item in items]),
        )

    def silent(self, frames: int) -> torch.Tensor:
        """Silence [C, N] at any length, its last frame repeated, as in a stage model."""
        known = self.silence[0, :, :frames]
        return torch.cat([known, known[:, -1:].expand(-1, frames - known.shape[1])], 1)

    def _packed(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([F.pad(part, (0, -part.shape[1] % self.patch)) for part in parts], 1)

    def _sound(self, item: Assignment, name: str) -> torch.Tensor:
        return torch.from_numpy(item.entry.read(name, item.first, item.frames)).float()

    def _context(self, item: Assignment) -> torch.Tensor:
        """[2C, T]: the source, or silence where there is none, and the chunk mask."""
        silent = self.silent(item.frames)
        source = silent if item.source is None else self._sound(item, item.source)
        if item.codes:
            source = self.hints(source[None])[0]
        window = _frames_in(item)
        source = torch.where(window, silent, source) if item.keeps else source
        return torch.cat([source, window.float().expand_as(source)])

    def _counted(self, item: Assignment) -> torch.Tensor:
        """A stem is asked for in its window alone."""
        whole = item.window is None or item.keeps
        return torch.ones(item.frames) if whole else _frames_in(item).float()

    def _timbre(self, items: Sequence[Assignment]) -> tuple[list[torch.Tensor], list[int]]:
        pieces, chosen = [self.silent(self.timbre_frames)], []
        for item in items:
            chosen.append(len(pieces) if item.timbre else 0)
            if item.timbre:
                size = self.timbre_frames // len(item.timbre)
                parts = [torch.from_numpy(item.entry.read(item.target, first, size)) for first in item.timbre]
                pieces.append(torch.cat(parts, 1).float())
        return pieces, chosen

    def _notes(self, item: Assignment) -> torch.Tensor:
        """[N, 24], 1 where a note sounds in the middle of a token."""
        sounding = torch.from_numpy(item.entry.read(NOTES, item.first, item.frames))
        middles = self.patch // 2 + self.patch * torch.arange(self.tokens(item))
        return sounding[:, middles.clamp(max=sounding.shape[1] - 1)].T.float()

    def _sung(self, item: Assignment) -> torch.Tensor:
        """[N, 2] rows of the lyrics in the middle of each token; none of an item that does not know its words."""
        spans = () if item.dropped else item.sung
        middles = self.patch * (torch.arange(self.tokens(item)) + 0.5)
        return rows_of(spans, self.tokenize(item.lyrics)[1] if spans else [], middles / FRAMES_PER_SECOND)

    def _beats(self, item: Assignment) -> torch.Tensor:
        """[N, 2], 1 where a beat begins in a token, and where a bar does."""
        sketch = item.entry.sketch
        edges = item.first + self.patch * torch.arange(self.tokens(item) + 1, dtype=torch.float64)
        edges_s = edges / FRAMES_PER_SECOND
        counted = [torch.ceil(edges_s / span - 1e-6) for span in (sketch.seconds_per_beat, sketch.seconds_per_bar)]
        return torch.stack([count.diff() > 0 for count in counted], 1).float()


def _frames_in(item: Assignment) -> torch.Tensor:
    """[T] bool, true in the window."""
    if item.window is None:
        return torch.ones(item.frames, dtype=torch.bool)
    inside = torch.zeros(item.frames, dtype=torch.bool)
    for first, last in item.window:
        inside[first:last] = True
    return inside


def fill(draw: Callable[[], Assignment], packer: Packer, budget: int) -> list[Assignment]:
    """Items until they have `budget` tokens together."""
    items, tokens = [], 0
    while tokens < budget:
        items.append(draw())
        tokens += packer.tokens(items[-1])
    return items

"""Kept music: latents [B, C, T] that a run preserves while it makes the rest, and the context that shows them."""

from dataclasses import dataclass

import torch

from ..errors import UserError

# The original's repaint mode "conservative" stays closest to the source, which a seam without a break needs.
INJECTION_RATIO = 1.0


@dataclass(frozen=True)
class Kept:
    """Clean latents to preserve, and the windows in which a run makes new music.

    In the first steps of the run (`injection_ratio` of them) the kept frames are restored after each step; at the end
    they are blended with the new frames at the edges of each window.
    """

    clean: torch.Tensor  # [1 or B, C, T]; values inside the window are ignored
    window: torch.Tensor  # [1 or B, T] bool, True where new music is made
    injection_ratio: float = INJECTION_RATIO  # of the run's steps
    blend_frames: int = 0  # kept frames on each side of the window that fade

    def __post_init__(self):
        if not 0 <= self.injection_ratio <= 1:
            raise UserError(f"injection ratio: got {self.injection_ratio:g}, expected 0 to 1")
        if not bool(self.window.any(dim=-1).all()):
            raise UserError("continuation: all of the music would be kept; make the song longer than what is kept")

    def hold(self, latents: torch.Tensor, t: float, noise: torch.Tensor) -> torch.Tensor:
        """Latents at flow time t with the kept frames at their place between this noise and the clean music."""
        clean = self.clean.to(latents)
        return torch.where(self.window[:, None].to(latents.device), latents, t * noise.to(latents) + (1 - t) * clean)

    def blend(self, music: torch.Tensor) -> torch.Tensor:
        """Finished latents with clean kept frames, and linear ramps of `blend_frames` before and after each window.

        Without blend frames the music stays as it is, as in the original code.
        """
        if self.blend_frames == 0:
            return music
        share = self._shares().to(music)[:, None]
        return share * music + (1 - share) * self.clean.to(music)

    def _shares(self) -> torch.Tensor:  # [1 or B, T], the share of new music in each frame
        shares = self.window.float().clone()
        for row, window in zip(shares, self.window):
            for left, right in windows(window):
                before, after = min(self.blend_frames, left), min(self.blend_frames, len(row) - right)
                _raise(row[left - before : left], torch.linspace(0, 1, before + 2)[1:-1])
                _raise(row[right : right + after], torch.linspace(1, 0, after + 2)[1:-1])
        return shares


def context(source: torch.Tensor, kept: Kept | None = None) -> torch.Tensor:
    """Context [1 or B, 2C, T]: `source` [1 or B, C, T] (silence, or hints of a song to cover) where new music is made,
    and the clean latents where music is kept; then the chunk mask.
    """
    if kept is None:
        return torch.cat([source, torch.ones_like(source)], dim=1)
    window = kept.window[:, None].to(source.device)
    source = torch.where(window, source, kept.clean.to(source))
    return torch.cat([source, window.expand_as(source).to(source)], dim=1)


def windows(window: torch.Tensor) -> list[tuple[int, int]]:
    """The runs of True in a window [T]: (first frame, frame after the last) of each."""
    edges = torch.diff(window.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    return list(zip((edges == 1).nonzero().flatten().tolist(), (edges == -1).nonzero().flatten().tolist()))


def _raise(shares: torch.Tensor, ramp: torch.Tensor) -> None:
    """Raises shares, a view, to at least the ramp: ramps of two windows may cross."""
    torch.maximum(shares, ramp, out=shares)

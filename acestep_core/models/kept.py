"""Kept music: latents [B, C, T] that a run preserves while it makes the rest; context and steps both use them."""

from dataclasses import dataclass

import torch

from ..errors import UserError

# The original's repaint mode "conservative" stays closest to the source, which a seam without a break needs.
INJECTION_RATIO = 1.0


@dataclass(frozen=True)
class Kept:
    """Clean latents to preserve, and the window in which a run makes new music.

    In the first steps of the run (`injection_ratio` of them) the kept frames are restored after each step; at the end
    they are blended with the new frames at the window's edges.
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
        """Latents at flow time t, with the kept frames replaced by the clean music noised to t with `noise`."""
        clean = self.clean.to(latents)
        return torch.where(self.window[:, None].to(latents.device), latents, t * noise.to(latents) + (1 - t) * clean)

    def blend(self, music: torch.Tensor) -> torch.Tensor:
        """Finished latents with clean kept frames, and linear ramps of `blend_frames` before and after the window."""
        share = self._shares().to(music)[:, None]
        return share * music + (1 - share) * self.clean.to(music)

    def _shares(self) -> torch.Tensor:  # [1 or B, T], the share of new music in each frame
        shares = self.window.float().clone()
        frames = shares.shape[-1]
        for row, window in zip(shares, self.window):
            inside = window.nonzero().flatten().tolist()
            left, right = inside[0], inside[-1] + 1
            before, after = min(self.blend_frames, left), min(self.blend_frames, frames - right)
            row[left - before : left] = torch.linspace(0, 1, before + 2)[1:-1]
            row[right : right + after] = torch.linspace(1, 0, after + 2)[1:-1]
        return shares

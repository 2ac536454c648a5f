"""Music that a run keeps while it makes the rest: the condition shows it, and the steps hold it. Latents [B, C, T]."""

from dataclasses import dataclass

import torch

from ..errors import UserError

# Of the models' own modes of repainting, "conservative" keeps closest to the source: what an unheard seam needs.
INJECTION_RATIO = 1.0


@dataclass(frozen=True)
class Kept:
    """Music that a run keeps, and where it makes new: for the first of its steps the kept frames are set right again
    after each, and at the end they fade into the new ones.
    """

    clean: torch.Tensor  # [1 or B, C, T]; inside the window anything
    window: torch.Tensor  # [1 or B, T] bool, True where new music is made
    injection_ratio: float = INJECTION_RATIO  # of the run's steps
    blend_frames: int = 0  # kept frames on each side of the window that fade

    def __post_init__(self):
        if not 0 <= self.injection_ratio <= 1:
            raise UserError(f"injection ratio: got {self.injection_ratio:g}, expected 0 to 1")
        if not bool(self.window.any(dim=-1).all()):
            raise UserError("continuation: all of the music would be kept; make the song longer than what is kept")

    def hold(self, latents: torch.Tensor, t: float, noise: torch.Tensor) -> torch.Tensor:
        """Latents at time t with the kept frames as they were on their way from this noise to the clean music."""
        clean = self.clean.to(latents)
        return torch.where(self.window[:, None].to(latents.device), latents, t * noise.to(latents) + (1 - t) * clean)

    def blend(self, music: torch.Tensor) -> torch.Tensor:
        """Finished latents with the kept frames clean, but for straight ramps up to the window."""
        share = self._shares().to(music)[:, None]
        return share * music + (1 - share) * self.clean.to(music)

    def _shares(self) -> torch.Tensor:  # [1 or B, T], how much of the new music each frame takes
        shares = self.window.float().clone()
        frames = shares.shape[-1]
        for row, window in zip(shares, self.window):
            inside = window.nonzero().flatten().tolist()
            left, right = inside[0], inside[-1] + 1
            before, after = min(self.blend_frames, left), min(self.blend_frames, frames - right)
            row[left - before : left] = torch.linspace(0, 1, before + 2)[1:-1]
            row[right : right + after] = torch.linspace(1, 0, after + 2)[1:-1]
        return shares

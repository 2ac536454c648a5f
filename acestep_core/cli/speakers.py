"""`--play`: each song of a command is played while it is decoded."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..audio.player import Player, find_player

if TYPE_CHECKING:
    import torch


class Speakers:
    """The player of a command's songs, one after the other. Raises UserError where `is_on` and none is installed."""

    def __init__(self, is_on: bool):
        self._command, self._player = find_player() if is_on else None, None

    def begin(self, cascade, frames: int, seconds: float | None) -> "Callable[[torch.Tensor, int], None]":
        """Begins to play what the vocoder makes of so many latent frames, cut to the song's length; returns what takes
        its pieces [1, channels, n] and the number of their first sample.
        """
        if self._command is None:
            return lambda piece, start: None
        vocoder = cascade.pool.with_fallback(lambda: cascade.pool.vocoder)
        rate, samples = vocoder.latents.sample_rate_hz, vocoder.samples(frames)
        samples = min(samples, round(seconds * rate)) if seconds else samples
        player = self._player = Player(self._command, rate, vocoder.channels, samples)
        return lambda piece, start: player.add(piece[0], start)

    def finish(self) -> None:
        """Returns once the song has been played, or its player was closed."""
        if self._player is not None:
            self._player.finish()
            self._player = None

"""`--play`: each song of a command is played while it is decoded."""

from ..audio.live import LiveSound
from ..audio.player import Player, find_player


class Speakers:
    """The player of a command's songs, one after the other. Raises UserError where `is_on` and none is installed."""

    def __init__(self, is_on: bool):
        self._command, self._player = find_player() if is_on else None, None

    @property
    def are_on(self) -> bool:
        return self._command is not None

    def begin(self, sound: LiveSound) -> LiveSound:
        """Begins to play a sound, and gives it back."""
        self._player = Player(self._command, sound)
        return sound

    def finish(self) -> None:
        """Returns once the song has been played, or its player was closed."""
        if self._player is not None:
            self._player.finish()
            self._player = None

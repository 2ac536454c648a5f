"""Plays sound on this machine's speakers while it is being made, by a player program that reads a wav from a pipe."""

import contextlib
import shutil
import subprocess
import threading

from ..errors import UserError
from .live import LiveSound

PLAYERS = {
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "quiet", "-i", "-"),
    "mpv": ("--no-video", "--really-quiet", "-"),
    "aplay": ("-q", "-"),
}


def find_player() -> list[str]:
    """The command of a player that is installed. Raises UserError where there is none."""
    for name, options in PLAYERS.items():
        if found := shutil.which(name):
            return [found, *options]
    raise UserError(
        f"--play: found none of the players {', '.join(PLAYERS)}; install one, such as ffmpeg, which brings ffplay, or "
        "leave --play out and open the file"
    )


class Player:
    """A player of a LiveSound. The sound's maker never waits for the loudspeaker, and a closed player is left alone."""

    def __init__(self, command: list[str], sound: LiveSound):
        self._sound = sound
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Closes the sound, and returns once all of it has been played, or the player was closed."""
        self._sound.close()
        self._thread.join()
        self._process.wait()

    def _feed(self) -> None:
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # OSError: the player was closed
            for part in self._sound.parts():
                pipe.write(part)
                pipe.flush()

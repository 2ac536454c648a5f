"""Plays sound on this machine's speakers while it is being made, by a player program that reads a wav from a pipe."""

import contextlib
import queue
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import torch

PLAYERS = {
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "quiet", "-i", "-"),
    "mpv": ("--no-video", "--really-quiet", "-"),
    "aplay": ("-q", "-"),
}
_FULL_SCALE = 2**15 - 1


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
    """A player that is given `samples` samples of a sound [channels, N], piece by piece, and plays them meanwhile.

    The pieces wait in this process, so that whoever makes them never waits for the loudspeaker. A player that its user
    closes is left alone.
    """

    def __init__(self, command: list[str], rate_hz: int, channels: int, samples: int):
        self._left, self._heard, self._pieces = samples, 0, queue.SimpleQueue()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)
        self._pieces.put(wav_header(rate_hz, channels, samples))
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def add(self, piece: "torch.Tensor", start: int) -> None:
        """A piece [channels, n] whose first sample is the sound's number `start`; what was given before is skipped, as
        when a sound is made anew after memory ran out.
        """
        fresh = piece[:, max(0, self._heard - start) :][:, : self._left]
        self._heard, self._left = self._heard + fresh.shape[1], self._left - fresh.shape[1]
        if fresh.shape[1]:
            values = (fresh.float().clamp(-1, 1) * _FULL_SCALE).round().cpu().numpy()
            self._pieces.put(values.T.astype("<i2").tobytes())

    def finish(self) -> None:
        """Returns once all has been played, or the player was closed."""
        self._pieces.put(None)
        self._thread.join()
        self._process.wait()

    def stop(self) -> None:
        """Ends the player at once."""
        self._process.kill()
        self.finish()

    def _feed(self) -> None:
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # OSError: the player was closed
            for piece in self._given():
                pipe.write(piece)
                pipe.flush()

    def _given(self) -> Iterator[bytes]:
        while (piece := self._pieces.get()) is not None:
            yield piece


def wav_header(rate_hz: int, channels: int, samples: int) -> bytes:
    """The beginning of a wav file of 16 bits, before its samples."""
    size, frame = 2 * channels * samples, 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame, frame, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)

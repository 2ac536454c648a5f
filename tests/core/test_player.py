import os
import time

import numpy as np
import pytest
import soundfile
import torch
from acestep_pack.acestep_core.audio import player
from acestep_pack.acestep_core.audio.live import LiveSound
from acestep_pack.acestep_core.errors import UserError

RATE = 8000


@pytest.fixture
def ffplay(tmp_path, monkeypatch):
    """A program of that name, the only player here, that keeps what it is given as a wav file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffplay"
    program.write_text(f"#!/bin/sh\nexec /bin/cat > '{tmp_path / 'heard.wav'}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return tmp_path / "heard.wav"


def test_pieces_are_played_in_order_and_once(ffplay):
    sound = torch.rand(2, 1000) * 2 - 1
    heard = LiveSound(RATE, 2, 900)
    playing = player.Player(player.find_player(), heard)
    # The second pair is the first one again: memory ran out, and the sound is made anew in smaller tiles.
    for start, end in ((0, 300), (300, 600), (0, 200), (200, 700), (700, 1000)):
        heard.add(sound[:, start:end], start)
    playing.finish()
    played, rate = soundfile.read(ffplay)
    assert rate == RATE and np.abs(played.T - sound[:, :900].numpy()).max() < 1e-4


def test_a_piece_is_played_before_the_next_is_made(ffplay):
    heard = LiveSound(RATE, 1, 2000)
    playing = player.Player(player.find_player(), heard)
    heard.add(torch.ones(1, 1000), 0)
    until = time.monotonic() + 10
    while not ffplay.is_file() or ffplay.stat().st_size < 2000:
        assert time.monotonic() < until
        time.sleep(0.01)
    heard.add(torch.ones(1, 1000), 1000)
    playing.finish()
    assert len(soundfile.read(ffplay)[0]) == 2000


def test_a_player_that_is_closed_ends_nothing_else(tmp_path):
    heard = LiveSound(RATE, 1, 10**7)
    playing = player.Player(["/bin/true"], heard)
    for at in range(0, 10**6, 10**5):
        heard.add(torch.zeros(1, 10**5), at)
    playing.finish()


def test_without_a_player_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UserError, match="found none of the players ffplay, mpv, aplay; install one"):
        player.find_player()

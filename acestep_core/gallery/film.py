"""A short film of a gallery: excerpts of its songs, each with its caption and a line through its spectrogram.

A page of a forge plays a film in place, where it shows no page of sounds.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..system.files import whole_file
from .pieces import Piece

if TYPE_CHECKING:
    from PIL import Image

FILM = "film.mp4"
SIZE_PX, FRAMES_PER_SECOND = (1280, 720), 20
EXCERPT_S, FADE_S = 6.0, 0.3
PAPER, INK, SOFT, LINE = (18, 19, 26), (232, 232, 238), (162, 165, 181), (255, 255, 255)
SPECTRUM = (64, 250, 1152, 380)  # left, top, width, height
RATE_HZ, SOUND_BITS, QUALITY = 48_000, 128_000, "26"


def write_film(folder: Path, pieces: Sequence[Piece], title: str) -> Path:
    """Writes the film of these pieces' sounds, which are in the folder. Raises AceStepError where it cannot."""
    import av

    target = folder / FILM
    with whole_file(target) as part, av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as file:
        picture = file.add_stream("libx264", FRAMES_PER_SECOND, options={"crf": QUALITY, "preset": "slow"})
        picture.width, picture.height, picture.pix_fmt = *SIZE_PX, "yuv420p"
        sound = file.add_stream("aac", RATE_HZ, layout="stereo")
        sound.bit_rate = SOUND_BITS
        for piece in pieces:
            excerpt = _excerpt(folder / piece.file)
            for frame in _frames(excerpt, piece, title):
                file.mux(picture.encode(frame))
            file.mux(sound.encode(_sound_frame(excerpt)))
        for stream in (picture, sound):
            file.mux(stream.encode(None))
    return target


def _excerpt(path: Path) -> np.ndarray:
    """The first seconds of a sound, [2, N] float32, faded at its ends."""
    from .. import audio

    wave = audio.convert(audio.read(path), RATE_HZ, 2)
    samples = wave.samples[0, :, : round(EXCERPT_S * RATE_HZ)].numpy().astype(np.float32)
    size = min(round(FADE_S * RATE_HZ), samples.shape[1])
    samples[:, :size] *= np.linspace(0, 1, size, dtype=np.float32)
    samples[:, samples.shape[1] - size :] *= np.linspace(1, 0, size, dtype=np.float32)
    return samples


def _sound_frame(samples: np.ndarray):
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
    frame.sample_rate = RATE_HZ
    return frame


def _frames(samples: np.ndarray, piece: Piece, title: str) -> Iterator:
    import av

    still = _still(samples, piece, title)
    count = round(samples.shape[1] / RATE_HZ * FRAMES_PER_SECOND)
    left, top, width, height = SPECTRUM
    for number in range(count):
        shown = np.array(still)
        at = left + width * number // max(1, count)
        shown[top : top + height, at : at + 3] = LINE
        yield av.VideoFrame.from_ndarray(shown, format="rgb24")


def _still(samples: np.ndarray, piece: Piece, title: str) -> "Image.Image":
    """A frame without its line: title, genre, caption, spectrogram."""
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from ..audio.spectrogram import bare_picture
    from ..audio.waveform import Waveform

    left, top, width, height = SPECTRUM
    frame = Image.new("RGB", SIZE_PX, PAPER)
    frame.paste(bare_picture(Waveform(torch.from_numpy(samples)[None], RATE_HZ), width, height), (left, top))
    draw = ImageDraw.Draw(frame)
    draw.text((left, 40), title, SOFT, ImageFont.load_default(28))
    draw.text((left, 84), piece.title, INK, ImageFont.load_default(52))
    caption = textwrap.fill(piece.song.caption, 78, max_lines=2, placeholder=" ...")
    draw.multiline_text((left, 158), caption, SOFT, ImageFont.load_default(28), spacing=8)
    facts = f"{piece.song.bpm} bpm · {piece.song.key} · seed {piece.settings.seed}"
    draw.text((left, top + height + 24), facts, SOFT, ImageFont.load_default(26))
    return frame

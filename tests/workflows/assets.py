"""Makes what the workflows play and apply: the clip of Example Clip, the scores of Play Score, and the adapter of the
embedded tiny-l; the ears of `bench tiny`; and the picture of the embedded family's guide.

    python tests/workflows/assets.py clip
    python tests/workflows/assets.py score
    python tests/workflows/assets.py ears
    python tests/workflows/assets.py picture
    python tests/workflows/assets.py adapter [--work FOLDER]

The band plays the clip and the clips of the training, and writes the scores, so all are this project's own. The
adapter fits the weights of tiny-l that it was trained on: make it anew whenever the embedded family changes. That takes
some ten minutes of one core; with --work it continues after an interruption.
"""

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
runpy.run_path(str(ROOT / "tests" / "conftest.py"))  # the names under which tests import

import soundfile  # noqa: E402
import torch  # noqa: E402
from acestep_pack.acestep_core.audio.spectrogram import bare_picture  # noqa: E402
from acestep_pack.acestep_core.band import EXAMPLE_CLIP, EXAMPLE_MELODY, EXAMPLE_SCORE, Sketch, play  # noqa: E402
from acestep_pack.acestep_core.band.caption import audible  # noqa: E402
from acestep_pack.acestep_core.band.folder import write_clips  # noqa: E402
from acestep_pack.acestep_core.band.instruments import KNOWN_VOICES  # noqa: E402
from acestep_pack.acestep_core.band.score import UNTUNED, Event, write  # noqa: E402
from acestep_pack.acestep_core.band.soundfont import find_soundfont  # noqa: E402
from acestep_pack.acestep_core.band.strokes import RATE_HZ  # noqa: E402
from acestep_pack.acestep_core.checkpoints.save import write_tensors  # noqa: E402
from acestep_pack.acestep_core.errors import UserError  # noqa: E402
from acestep_pack.acestep_core.evaluation import listening  # noqa: E402
from acestep_pack.acestep_core.evaluation.truths import make, truth, waveform  # noqa: E402
from acestep_pack.acestep_core.generation.cascade import Cascade  # noqa: E402
from acestep_pack.acestep_core.lora.find import EMBEDDED_FOLDER  # noqa: E402
from safetensors import safe_open  # noqa: E402

ADAPTER = EMBEDDED_FOLDER / "tiny-l-chiptune.safetensors"
GENRE, CLIPS, CLIP_SECONDS, FIRST_SEED = "chiptune", 60, 12.0, 2_100_000  # seeds apart from those of bench lora
TRAINING = (
    *("--rank", "4", "--targets", "self,mlp", "--learning-rate", "2e-3"),
    *("--steps", "400", "--accumulate", "4", "--crop", f"{CLIP_SECONDS:g}", "--preserve", "0.25"),
)

FIRST_EAR_SEED, EAR_CLIPS, EAR_SECONDS = 3_000_000, 900, 20.0  # seeds apart from those of bench tiny

PICTURE = ROOT / "web" / "docs" / "guides" / "embedded_family.jpg"
PICTURED = ("house", "synthwave", "jazz trio", "bossa nova", "folk", "metal", "drum and bass", "orchestral")
FIRST_PICTURED_SEED, PICTURED_SECONDS = 1_000_100, 12.0  # held out
SPECTRUM, CAPTION_HEIGHT, GAP = (560, 150), 22, 8  # pixels

# Four bars of 80 bpm, cut from a longer take: it ends on a bar and without a fade, so that a song can continue it.
SECONDS = 12.0
COMPRESSION = 0.87  # libsndfile's, from 0 to 1: about 77 kbit/s
SKETCH = Sketch(
    seed=5,
    genre="lo-fi",
    mood="calm",
    bpm=80,
    tonic=2,
    minor=True,
    metre=4,
    voices={"drums": "kit", "bass": "electric bass", "keys": "electric piano", "pad": "warm pad"},
    seconds=SECONDS + 3,
)


# Six bars of melody and chords in G major.
TICKS, CHANNELS = 480, {"lead": 0, "keys": 1}
SCORE = Sketch(
    seed=11,
    genre="folk",
    mood="happy",
    bpm=100,
    tonic=7,
    minor=False,
    metre=4,
    voices={"keys": "acoustic guitar", "lead": "flute"},
    seconds=14.4,
)
G_MAJOR, FOUR_FOUR = b"\xff\x59\x02\x01\x00", b"\xff\x58\x04\x04\x02\x18\x08"


def make_clip() -> Path:
    rows = play(SKETCH)[:, : round(SECONDS * RATE_HZ)].T
    soundfile.write(EXAMPLE_CLIP, rows, RATE_HZ, "OPUS", format="OGG", compression_level=COMPRESSION)
    return EXAMPLE_CLIP


def make_scores() -> Path:
    _write_score(EXAMPLE_MELODY, ["lead"])
    return _write_score(EXAMPLE_SCORE, [*CHANNELS])


def _write_score(target: Path, roles: list[str]) -> Path:
    tempo = b"\xff\x51\x03" + round(60e6 / SCORE.bpm).to_bytes(3)
    tracks = [_track([(0, tempo), (0, FOUR_FOUR), (0, G_MAJOR)])]
    events = [event for event in write(SCORE) if event.role not in UNTUNED]
    for role in roles:
        channel = CHANNELS[role]
        program = KNOWN_VOICES[SCORE.voices[role]].program
        notes = [note for event in events if event.role == role for note in _note(event, channel)]
        tracks.append(_track([(0, bytes([0xC0 | channel, program])), *sorted(notes)]))
    head = b"MThd" + (6).to_bytes(4) + b"".join(number.to_bytes(2) for number in (1, len(tracks), TICKS))
    target.write_bytes(head + b"".join(tracks))
    return target


def _note(event: Event, channel: int) -> list[tuple[int, bytes]]:
    """(tick, message) of a note's beginning and end; an end sorts before a beginning at its tick."""
    start, end = (round(beat * TICKS) for beat in (event.beat, event.beat + event.beats))
    velocity = max(1, min(127, round(100 * event.velocity)))
    return [(start, bytes([0x90 | channel, event.midi, velocity])), (end, bytes([0x80 | channel, event.midi, 0]))]


def _track(events: list[tuple[int, bytes]]) -> bytes:
    ticks = [tick for tick, _ in events]
    deltas = [after - before for before, after in zip([0, *ticks], ticks)]
    data = b"".join(_quantity(delta) + message for delta, (_, message) in zip(deltas, events)) + b"\0\xff\x2f\0"
    return b"MTrk" + len(data).to_bytes(4) + data


def _quantity(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def make_adapter(work: Path) -> Path:
    for _ in write_clips(work / "clips", range(FIRST_SEED, FIRST_SEED + CLIPS), CLIP_SECONDS, GENRE):
        pass
    trained = work / ADAPTER.name
    command = ["train", "lora", str(work / "clips"), "--model", "tiny-l", "-o", str(trained), *TRAINING]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "acestep_core", *command], cwd=work, env=environment, check=True)
    return halved(trained, ADAPTER)


def make_ears() -> Path:
    """Half of the clips are sampled where there is a soundfont: the embedded family plays in both ways."""
    font, lessons = _soundfont(), []
    for seed in range(FIRST_EAR_SEED, FIRST_EAR_SEED + EAR_CLIPS):
        sketch = Sketch.draw(seed, EAR_SECONDS)
        wave = torch.from_numpy(play(sketch, font if seed % 2 else None))
        bpm = sketch.bpm if "drums" in sketch.voices else None
        lessons.append(listening.lesson(wave, bpm, frozenset(audible(sketch))))
    listening.fit_ears(lessons)
    return listening.EARS


def make_picture() -> Path:
    """Spectrograms of songs: what the band plays, and beside it what the family makes of the same words."""
    from PIL import Image, ImageDraw, ImageFont

    cascade = Cascade.load("tiny")
    width, height = 2 * SPECTRUM[0] + 3 * GAP, CAPTION_HEIGHT + SPECTRUM[1] + GAP
    drawn = Image.new("RGB", (width, GAP + len(PICTURED) * height), "white")
    draw = ImageDraw.Draw(drawn)
    draw.font = ImageFont.load_default(size=13)
    for row, genre in enumerate(PICTURED):
        asked = truth(FIRST_PICTURED_SEED + row, PICTURED_SECONDS, genre)
        sounds = ("the band", asked.wave), ("the family", make(cascade, asked, row))
        for column, (name, sound) in enumerate(sounds):
            left, top = GAP + column * (SPECTRUM[0] + GAP), GAP + row * height
            draw.text((left, top), f"{genre}, {asked.sketch.bpm} bpm, {asked.sketch.key}: {name}", fill="black")
            drawn.paste(bare_picture(waveform(sound), *SPECTRUM), (left, top + CAPTION_HEIGHT))
    drawn.save(PICTURE, quality=82, optimize=True)
    return PICTURE


def _soundfont() -> Path | None:
    try:
        return find_soundfont()
    except UserError:
        return None


def halved(source: Path, target: Path) -> Path:
    """The same adapter with its matrices in bfloat16; alphas stay as they are."""
    with safe_open(source, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        metadata = file.metadata()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_tensors({n: t.bfloat16() if t.ndim else t for n, t in tensors.items()}, target, metadata)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["clip", "score", "ears", "adapter", "picture"])
    parser.add_argument("--work", type=Path, help="keeps clips and training (default: a folder that is removed)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        makers = {"clip": make_clip, "score": make_scores, "ears": make_ears, "picture": make_picture}
        makers["adapter"] = lambda: make_adapter(work)
        made = makers[given.what]()
    sys.stdout.write(f"{made}  {made.stat().st_size} bytes\n")

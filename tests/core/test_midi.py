"""MIDI files played by the band: right to the sample where they are right, one clean error where they are not."""

import numpy as np
import pytest
import soundfile
from acestep_pack.acestep_core.band import midi, midi_player, soundfont, voices
from acestep_pack.acestep_core.band.midi_song import song_of_score
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.song import Song

RATE_HZ = 48_000


@pytest.fixture(autouse=True, scope="module")
def short_notes():
    voices._tone.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices, "LONGEST_NOTE_S", 1.0)
        yield
    voices._tone.cache_clear()


def quantity(value):
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def track(*events):
    """(delta, bytes) of each event → a chunk."""
    data = b"".join(quantity(delta) + event for delta, event in (*events, (0, b"\xff\x2f\x00")))
    return b"MTrk" + len(data).to_bytes(4) + data


def tempo(quarter_us):
    return b"\xff\x51\x03" + quarter_us.to_bytes(3)


def file(*tracks, kind=1, division=480, count=None):
    head = kind.to_bytes(2) + (len(tracks) if count is None else count).to_bytes(2) + division.to_bytes(2)
    return b"MThd" + (6).to_bytes(4) + head + b"".join(tracks)


ON, OFF = b"\x90\x45\x64", b"\x80\x45\x40"
MELODY = track((0, b"\xc0\x49"), (480, ON), (240, OFF), (240, ON), (480, b"\x45\x00"))  # running status ends it
DRUMS = track((0, b"\x99\x24\x7f"), (480, b"\x24\x00"), (0, b"\x26\x7f"), (480, b"\x26\x00"))
SCORE = file(track((0, tempo(500_000)), (960, tempo(250_000))), MELODY, DRUMS)


def notes_of(data, tmp_path):
    path = tmp_path / "score.mid"
    path.write_bytes(data)
    return midi.read_midi(path)


def test_notes_are_read_with_their_tempi_and_programs(tmp_path):
    notes = notes_of(SCORE, tmp_path)
    tune = [(n.program, n.midi, n.start_s, n.seconds) for n in notes if not n.is_drum]
    assert tune == [(73, 69, 0.5, 0.25), (73, 69, 1.0, 0.25)]  # twice as fast after the second beat
    assert [(n.midi, n.start_s) for n in notes if n.is_drum] == [(36, 0.0), (38, 0.5)]


def test_a_score_says_what_its_events_say(tmp_path):
    path = tmp_path / "score.mid"

    def told(*events, notes=MELODY):
        path.write_bytes(file(track(*events), notes))
        score = midi.read_score(path)
        song = song_of_score(score, Song(""), 12.0)
        return score.bpm, song.bpm, song.key, song.time_signature

    slow_at_first = (0, tempo(1_000_000)), (120, tempo(400_000))
    waltz, flats = (0, b"\xff\x58\x04\x03\x02\x18\x08"), (0, b"\xff\x59\x02\xfd\x01")
    assert told(*slow_at_first, waltz, flats) == (150.0, 150, "C minor", "3")
    assert told() == (120.0, 120, "A major", None)  # one note: the key that it fits best
    odd = (0, b"\xff\x58\x04\x07\x03\x18\x08"), (0, b"\xff\x59\x02\x09\x00"), (0, tempo(40_000))
    assert told(*odd)[1:] == (None, "A major", None)
    c_major = (0, b"\xff\x59\x02\x00\x00")
    assert told(c_major)[2] == "A major"  # written by programs that know no key
    assert told(c_major, notes=DRUMS)[2] is None


def test_the_names_of_keys_go_by_fifths():
    def key(sharps, minor):
        note = midi.MidiNote(0, 0, 60, 1.0, 0.0, 1.0)
        return song_of_score(midi.MidiScore([note], signature=(sharps, minor)), Song(""), 12.0).key

    assert [key(sharps, False) for sharps in (-7, -1, 1, 6, 7)] == [
        *("Cb major", "F major", "G major", "F# major", "C# major")
    ]
    assert [key(sharps, True) for sharps in (-7, -1, 0, 4, 7)] == [
        *("Ab minor", "D minor", "A minor", "C# minor", "A# minor")
    ]


def test_a_single_track_and_frames_of_film_are_read_too(tmp_path):
    alone = file(track((0, b"\x90\x3c\x40"), (96, b"\x80\x3c\x00")), kind=0, division=96)
    assert [(n.start_s, n.seconds) for n in notes_of(alone, tmp_path)] == [(0.0, 0.5)]
    film = file(track((0, b"\x90\x3c\x40"), (50, b"\x80\x3c\x00")), kind=0, division=0xE728)  # 25 frames of 40 ticks
    assert [n.seconds for n in notes_of(film, tmp_path)] == [0.05]


def test_what_does_not_sound_is_passed_over_and_open_notes_end_with_the_file(tmp_path):
    other = track(
        (0, b"\xff\x03\x04name"), (0, b"\xf0\x03\x01\x02\xf7"), (0, b"\xb0\x07\x40"), (0, ON), (960, b"\xe0\x00\x40")
    )
    (note,) = notes_of(file(other), tmp_path)
    assert note.seconds == 1.0 and note.velocity == pytest.approx(100 / 127 * 64 / 127)
    cut = file(track((0, ON), (480, OFF)))[:-4]  # without the mark of its end
    assert [n.seconds for n in notes_of(cut, tmp_path)] == [0.5]


BAD = {
    "no file": (b"RIFF" + bytes(40), "is no MIDI file"),
    "empty": (b"", "is no MIDI file"),
    "type 2": (file(MELODY, kind=2), "of type 2"),
    "no ticks": (file(MELODY, division=0), "no ticks in a beat"),
    "no notes": (file(track((0, tempo(1)))), "holds no notes"),
    "no status": (file(track((0, b"\x45\x64"))), "without a status byte"),
    "endless number": (file(b"MTrk" + (6).to_bytes(4) + b"\xff" * 6), "more than four bytes"),
    "foreign byte": (file(track((0, b"\xf4"))), "0xf4"),
    "cut": (file(b"MTrk" + (2).to_bytes(4) + b"\x00\x90"), "in the middle of an event"),
    "long": (file(track((0, ON), (480 * 2_000, OFF))), "lasts 1000 s"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_wrong_is_one_clean_error(name, tmp_path):
    data, message = BAD[name]
    with pytest.raises(UserError, match=message):
        notes_of(data, tmp_path)


def test_a_file_that_asks_too_much_is_refused(tmp_path, monkeypatch):
    many = file(track(*[(0, ON), (1, OFF)] * 60))
    monkeypatch.setattr(midi, "NOTES_MOST", 50)
    with pytest.raises(UserError, match="more than 50 notes"):
        notes_of(many, tmp_path)
    monkeypatch.setattr(midi, "NOTES_MOST", 500)
    monkeypatch.setattr(midi, "SOUNDING_S_MOST", 0.01)
    with pytest.raises(UserError, match="last 0 s together"):
        notes_of(many, tmp_path)
    monkeypatch.setattr(midi, "BYTES_MOST", 100)
    with pytest.raises(UserError, match="bytes, expected"):
        notes_of(many, tmp_path)


def test_mutated_files_are_notes_or_one_clean_error(tmp_path):
    rng, read = np.random.default_rng(0), 0
    for number in range(600):
        data = bytearray(SCORE)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(data)))
            if rng.random() < 0.6:
                data[at] = int(rng.integers(256))
            elif rng.random() < 0.5:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8))
        try:
            notes = notes_of(bytes(data), tmp_path)
        except UserError:
            continue
        read += 1
        assert all(0 <= n.start_s <= 600 and 0 < n.seconds <= 600 and 0 <= n.midi < 128 for n in notes)
        assert all(0 <= n.program < 128 and 0 <= n.velocity <= 1 for n in notes)
        midi_player.sounds_of(notes)
    assert 50 < read < 550


def test_every_program_has_a_voice_and_every_stroke_a_sound():
    for program in range(128):
        (sound,) = midi_player.sounds_of([midi.MidiNote(0, program, 60, 0.8, 0.0, 0.5)])
        assert sound.voice in voices.VOICES and sound.program == program
    drums = midi_player.sounds_of([midi.MidiNote(9, 0, key, 0.8, 0.0, 0.5) for key in range(128)])
    assert len(drums) > 30 and all(not sound.midi and sound.role in ("drums", "percussion") for sound in drums)


def test_a_score_is_played_on_time(tmp_path):
    path = tmp_path / "score.mid"
    path.write_bytes(file(track((0, b"\xc0\x00"), (480, ON), (480, OFF))))
    sound = midi_player.play_midi(path)
    assert sound.shape == (2, round((1.0 + midi_player.RING_S) * RATE_HZ)) and 0.3 < np.abs(sound).max() < 1
    heard = np.nonzero(np.abs(sound).max(0) > 1e-3)[0][0]
    assert 24_000 <= heard < 24_100
    spectrum = np.abs(np.fft.rfft(sound[0, 24_000:48_000], 96_000))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=3)


def test_a_score_of_strange_drums_alone_is_told(tmp_path):
    (tmp_path / "score.mid").write_bytes(file(track((0, b"\x99\x02\x64"), (480, b"\x89\x02\x00"))))
    with pytest.raises(UserError, match="only drum notes"):
        midi_player.play_midi(tmp_path / "score.mid")


def test_the_command_writes_a_guide(tmp_path, capsys):
    (tmp_path / "score.mid").write_bytes(SCORE)
    out = tmp_path / "guide.flac"
    assert cli.main(["play", str(tmp_path / "score.mid"), "-o", str(out), "-q"]) == 0
    assert soundfile.info(out).duration == pytest.approx(1.25 + midi_player.RING_S)
    assert capsys.readouterr().out.startswith(str(out))


MISTAKES = [
    (["-o", "-"], "-o: got -"),
    (["-o", "guide.xyz"], "got the format 'xyz'"),
    (["-o", "nowhere/guide.flac"], "is not a folder"),
    (["-o", "guide.flac", "--soundfont", "none.sf2"], "soundfont: got none.sf2"),
    (["-o", "guide.flac", "--soundfont", "~nosuchuser/x.sf2"], "~ stands for a home folder that is not known here"),
    (["-o", "~nosuchuser/guide.flac"], "~ stands for a home folder that is not known here"),
    (["-o", "guide.flac"], "absent.mid"),
    ([], "-o/--output"),
]


@pytest.mark.parametrize("arguments, message", MISTAKES, ids=[" ".join(given) or "none" for given, _ in MISTAKES])
def test_a_mistake_is_one_line_and_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["play", "absent.mid", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and message in said.err and not list(tmp_path.iterdir())


def test_a_soundfont_that_is_none_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"none\.sf2, expected a file that is there"):
        soundfont.find_soundfont(str(tmp_path / "none.sf2"))
    monkeypatch.setattr(soundfont, "PLACES", (str(tmp_path / "a.sf2"),))
    with pytest.raises(UserError, match="apt install"):
        soundfont.find_soundfont()
    (tmp_path / "a.sf2").write_bytes(b"RIFF1234sfbk")
    assert soundfont.find_soundfont() == tmp_path / "a.sf2"
    (tmp_path / "b.sf2").write_bytes(b"text")
    pytest.importorskip("tinysoundfont")
    for name, message in (("a", "could not be read"), ("b", "is no soundfont")):
        with pytest.raises(UserError, match=message):
            soundfont.open_soundfont(tmp_path / f"{name}.sf2")

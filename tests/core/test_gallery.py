"""The page of sounds: what is shown, from what it is made, and that the page finds its files."""

import json
import re

import av
import numpy as np
import pytest
import soundfile
import torch
from acestep_pack.acestep_core.audio import Waveform, write
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.cli.parser import main
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.gallery import film, make, pieces
from acestep_pack.acestep_core.gallery.compare import compared
from acestep_pack.acestep_core.gallery.page import check_folder, write_page
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.models.defaults import ALL_TASKS, ANY_TASKS

SETTINGS = GenerationSettings()
TINY = pieces.Family(SETTINGS, ("tiny-l", "tiny-m", "tiny-s"), frozenset(ALL_TASKS), True, ("tiny-l-chiptune",))
LONE = pieces.Family(GenerationSettings(models="acestep-v15-turbo"), (), frozenset(ANY_TASKS))


@pytest.mark.parametrize("family", [TINY, LONE], ids=["all", "one model"])
def test_a_piece_stands_behind_those_that_it_is_made_from(family):
    made, files = set(), set()
    for piece in pieces.pieces(family, 12.0):
        assert {piece.source, piece.reference, piece.same_as} - {None} <= made, piece.name
        assert piece.name not in made and (piece.same_as or piece.file not in files)
        made.add(piece.name)
        files.add(piece.file)


def test_a_gallery_shows_what_its_models_can_do():
    shown = {family: {piece.section for piece in pieces.pieces(family, 12.0)} for family in (TINY, LONE)}
    assert shown[TINY] == {section.name for section in pieces.SECTIONS}
    assert shown[LONE] == {pieces.GENRES, pieces.REFERENCE, pieces.EDITS}
    edits = {family: [p.edit.task for p in pieces.pieces(family, 12.0) if p.edit] for family in (TINY, LONE)}
    assert edits == {TINY: ["repaint", "extend", "cover", "extract", "extract"], LONE: ["repaint", "extend", "cover"]}
    alone = [p.settings.models for p in pieces.pieces(TINY, 12.0) if "alone" in p.name]
    assert alone == ["tiny-l", "tiny-m", "tiny-s"]


@pytest.fixture
def one_song(tmp_path):
    """A folder with the sound of one piece, and that piece."""
    piece = pieces.pieces(LONE, 12.0)[0]
    write(tmp_path / piece.file, Waveform(0.1 * torch.randn(1, 2, 24_000), 48_000), "opus")
    return tmp_path, piece


def test_every_file_that_the_page_names_is_there(one_song):
    folder, piece = one_song
    make.draw(folder / piece.file)
    write_page(folder, [piece], "<Songs>", "a & b", {})
    page = (folder / "index.html").read_text()
    named = re.findall(r'src="([^"]+)"', page)
    assert len(named) == 2 and all((folder / name).is_file() for name in named)
    assert "&lt;Songs&gt;" in page and "a &amp; b" in page and "{{" not in page
    assert not re.search(r"https?://", page)  # it opens from a disk, without a network
    asked = json.loads((folder / "captions.json").read_text())
    assert asked[piece.name]["caption"] == piece.song.caption and asked[piece.name]["seed"] == 0


def test_a_page_of_somebody_else_stays(one_song, capsys):
    folder, piece = one_song
    (folder / "index.html").write_text("<!doctype html><title>My site</title>")
    assert main(["gallery", "-o", str(folder), "-q"]) == 2
    assert "is no page of a gallery; give another folder" in capsys.readouterr().err
    assert "My site" in (folder / "index.html").read_text()
    (folder / "index.html").unlink()
    write_page(folder, [piece], "Songs", "", {})
    check_folder(folder)


def test_sounds_of_others_lie_beside_the_pieces_they_are_called_as(one_song):
    folder, piece = one_song
    other = folder / "theirs"
    other.mkdir()
    with pytest.raises(UserError, match="got no sound that is called as one of the gallery"):
        compared(folder, "Their model", other, [piece])
    soundfile.write(other / f"{piece.name}.wav", np.zeros((4_000, 1)), 8_000)
    beside = compared(folder, "Their model", other, [piece])
    assert beside == {piece.name: f"others/their-model/{piece.name}.opus"}
    assert (folder / beside[piece.name]).is_file() and (folder / beside[piece.name]).with_suffix(".webp").is_file()
    make.draw(folder / piece.file)
    write_page(folder, [piece], "Songs", "", {"Their model": beside})
    assert f"{piece.title}: Their model" in (folder / "index.html").read_text()


def test_a_film_has_picture_and_sound_of_its_songs(one_song, monkeypatch):
    folder, piece = one_song
    monkeypatch.setattr(film, "SIZE_PX", (320, 200))
    monkeypatch.setattr(film, "SPECTRUM", (16, 60, 288, 130))
    with av.open(str(film.write_film(folder, [piece, piece], "Songs"))) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert file.duration / av.time_base == pytest.approx(1.0, abs=0.1)  # two sounds of half a second
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == 20 and not np.array_equal(frames[1], frames[8])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seconds", "1"], "--seconds: got 1, expected 10 to 600"),
        (["--compare", "theirs"], "--compare: got 'theirs', expected NAME=FOLDER"),
        (["--compare", "theirs=missing"], "missing is not a folder"),
        (["--compare", "A b=.", "--compare", "a-B=."], "--compare: got 'A b' twice, or a name much like it"),
        (["--title", "\udcff"], "--title: got '\\udcff', which is no valid Unicode"),
        (["--lora", "no-such-adapter"], "no-such-adapter"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, capsys):
    assert main(["gallery", "-o", str(tmp_path / "made"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1 and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "models, lora", [("tiny", (make.EMBEDDED_LORA,)), ("tiny-l", (make.EMBEDDED_LORA,)), ("tiny-s", ())]
)
def test_the_embedded_adapter_is_shown_where_its_base_is(models, lora):
    assert make.family_of(GenerationSettings(models=models)).lora == lora


def test_a_damaged_sound_of_the_band_is_made_anew(tmp_path):
    piece = next(piece for piece in pieces.pieces(TINY, 10.0) if piece.sketch)
    (tmp_path / piece.file).write_bytes(b"no sound")
    assert not make.Maker(tmp_path)._is_there(piece, tmp_path / piece.file)


@pytest.mark.slow
def test_a_gallery_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    shown = ("techno", "techno-repaint", "salsa-by-the-band")
    everything = pieces.pieces
    monkeypatch.setattr(pieces, "pieces", lambda _, seconds: [p for p in everything(TINY, seconds) if p.name in shown])
    for _ in range(2):
        assert main(["gallery", "-o", str(tmp_path), "-q", "--seconds", "10"]) == 0
        times = {file.name: file.stat().st_mtime for file in tmp_path.glob("*.opus")}
    assert len(times) == 3 and "index.html" in capsys.readouterr().out
    (tmp_path / "techno.opus").unlink()
    assert main(["gallery", "-o", str(tmp_path), "-q", "--seconds", "10"]) == 0
    again = {file.name: file.stat().st_mtime for file in tmp_path.glob("*.opus")}
    assert {name for name in times if again[name] != times[name]} == {"techno.opus"}
    assert main(["gallery", "-o", str(tmp_path), "-q", "--seconds", "12"]) == 0
    lengths = {file.name: soundfile.info(file).duration for file in tmp_path.glob("*.opus")}
    assert lengths["techno.opus"] == lengths["salsa-by-the-band.opus"] == pytest.approx(12, abs=0.05)
    assert str(tmp_path) not in json.dumps(read_tags(tmp_path / "techno-repaint.opus"))

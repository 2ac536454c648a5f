"""The songs that training draws crops from: played once, known to the second, within their disk."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from acestep_pack.acestep_core.band import mix, voices
from acestep_pack.acestep_core.band.form import form_of
from acestep_pack.acestep_core.band.instruments import TRACKS
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.tiny_recipe import songs

RATE_HZ = 48_000
ORDER = songs.Order(count=3, workers=1)


@pytest.fixture(autouse=True, scope="module")
def short_songs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(songs, "ProcessPoolExecutor", ThreadPoolExecutor)
        patch.setattr(songs, "SHORT_S", (2, 3))
        patch.setattr(songs, "LONG_S", (4, 5))
        patch.setattr(voices, "LONGEST_NOTE_S", 1.0)
        voices._tone.cache_clear()
        yield
    voices._tone.cache_clear()


@pytest.fixture(scope="module")
def shelf(short_songs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    assert len(list(songs.make(folder, replace(ORDER, count=6)))) == 6
    return songs.Shelf(folder)


def test_songs_are_played_once_and_told_whole(shelf, monkeypatch):
    monkeypatch.setattr(songs, "stems", None)
    again = list(songs.make(shelf.folder, replace(ORDER, count=6)))
    assert [song.seed for song in again] == shelf.seeds == list(range(songs.FIRST_SEED, songs.FIRST_SEED + 6))
    for song in again:
        assert song.sketch == songs.sketch_of(song.seed) and song.bpm == song.sketch.bpm
        with soundfile.SoundFile(songs.sound_path(shelf.folder, song.seed)) as file:
            assert (len(file), file.samplerate, file.channels) == (round(song.seconds * RATE_HZ), RATE_HZ, 2)
        assert set(song.playing) <= set(song.instruments) <= set(TRACKS) and song.captions


def test_a_mix_is_the_sum_of_its_stems(shelf):
    whole = [song for song in map(shelf.facts, shelf.seeds) if song.stems]
    assert whole
    for song in whole:
        crop = songs.Crop(song, 0.5, 1.0)
        total = sum(shelf.sound(crop, track).astype(int) for track in song.playing)
        assert np.abs(total - shelf.sound(crop)).max() <= len(song.playing)
        absent = next(track for track in TRACKS if track not in song.playing)
        assert not shelf.sound(crop, absent).any()


def test_a_crop_is_the_songs_own_samples_and_begins_with_a_bar(shelf):
    for n, seed in enumerate(shelf.seeds):
        crop = shelf.draw(np.random.default_rng(n), seed, 1.5)
        song = crop.song
        assert (crop.start_s / song.sketch.seconds_per_bar) == pytest.approx(
            round(crop.start_s / song.sketch.seconds_per_bar)
        )
        assert 0 <= crop.start_s <= crop.end_s <= song.seconds and crop.seconds == 1.5 and not crop.is_whole
        rows = soundfile.read(songs.sound_path(shelf.folder, seed), dtype="int16")[0].T
        start = round(crop.start_s * RATE_HZ)
        assert np.array_equal(shelf.sound(crop), rows[:, start : start + 72_000])
    assert songs.Crop(song, 0, song.seconds).is_whole


def test_a_crop_has_the_lyrics_and_the_tracks_that_sound_in_it():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(songs, "SHORT_S", (60, 60))
        patch.setattr(songs, "LONG_S", (60, 60))
        seed = next(seed for seed in range(99) if songs.sketch_of(seed).sung)
        facts = songs.facts_of(seed, False, False)
        form = form_of(songs.sketch_of(seed))
        whole = songs.Crop(facts, 0.0, 60.0)
        assert [line for line in whole.lyrics.split("\n") if line and line[0] != "["] == [x[0] for x in facts.lines]
        assert set(whole.tracks) == set(facts.playing)
        verse = next(section for section in facts.sections if section[0] == "verse 1")
        crop = songs.Crop(facts, verse[1], verse[2] - verse[1])
        assert crop.lyrics.startswith("[Verse 1]\n") and "[Chorus]" not in crop.lyrics and "vocals" in crop.tracks
        asked = crop.request()
        assert asked.lyrics == crop.lyrics and asked.seconds == max(10.0, crop.seconds) and asked.bpm == facts.bpm
        if form.sections[0].name == "intro":
            begin = songs.Crop(facts, 0.0, facts.sections[0][2])
            assert begin.lyrics == "[Intro]" and "vocals" not in begin.tracks


def test_a_caption_of_a_crop_names_what_sounds_in_it():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(songs, "SHORT_S", (60, 60))
        patch.setattr(songs, "LONG_S", (60, 60))
        for seed in range(40):
            facts = songs.facts_of(seed, False, False)
            crop = songs.Crop(facts, 0.0, facts.sections[0][2])
            for variant in range(3):
                text = crop.request(variant).caption.lower()
                resting = [
                    voice
                    for role, voice in facts.sketch.voices.items()
                    if role not in facts.parts or not crop._sounds(role)
                ]
                assert not any(f"with {voice}" in text or f"{voice}," in text for voice in resting), (text, resting)
                assert "fades out" not in text and "chord" not in text.replace("chords", "")


def test_every_kind_of_what_is_known_survives_the_file(shelf):
    fresh = songs.Shelf(shelf.folder)
    for seed in shelf.seeds:
        told, read = songs.facts_of(seed, False, shelf.facts(seed).stems), fresh.facts(seed)
        assert read.lines == [list(line) for line in told.lines] and read.captions[0][0] == told.captions[0][0]


def test_a_full_disk_ends_the_making_and_renewing_makes_room(tmp_path):
    few = list(songs.make(tmp_path, replace(ORDER, count=9, most_bytes=1)))
    assert len(few) == 2  # one, and the one that was begun meanwhile
    endless = songs.make(tmp_path, replace(ORDER, count=2, most_bytes=1, renew=True))
    newest = [next(endless).seed for _ in range(5)][-1]
    endless.close()
    left = songs.Shelf(tmp_path).seeds
    assert len(left) <= 3 and newest in left and songs.FIRST_SEED not in left
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {str(seed) for seed in left}


def test_a_song_that_cannot_be_played_is_passed_over(tmp_path, monkeypatch, caplog):
    play, bad = songs.play_song, songs.FIRST_SEED + 1

    def refuses(folder, seed, font):
        if seed == bad:
            raise ValueError("a bar without beats")
        return play(folder, seed, font)

    monkeypatch.setattr(songs, "play_song", refuses)
    assert sorted(song.seed for song in songs.make(tmp_path, ORDER)) == [songs.FIRST_SEED, songs.FIRST_SEED + 2]
    assert caplog.messages == [f"song {bad} cannot be played (ValueError: a bar without beats): passed over"]
    assert not songs.facts_path(tmp_path, bad).exists()


def test_a_full_disk_while_playing_is_no_bad_song(tmp_path, monkeypatch):
    def full(folder, seed, font):
        raise OSError("no space left on device")

    monkeypatch.setattr(songs, "play_song", full)
    with pytest.raises(OSError, match="no space left"):
        list(songs.make(tmp_path, ORDER))


def test_songs_of_another_edition_are_told_as_such(tmp_path):
    songs.facts_path(tmp_path, 5).write_text('{"seed": 5}')
    with pytest.raises(UserError, match="another edition"):
        songs.Shelf(tmp_path).facts(5)


def test_stems_are_all_that_is_heard():
    sketch = songs.sketch_of(3)
    tracks = mix.stems(sketch)
    assert np.array_equal(mix.mixed(tracks, round(sketch.seconds * RATE_HZ)), mix.play(sketch)) and set(tracks) <= set(
        TRACKS
    )

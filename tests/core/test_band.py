"""The band keeps its word: what a sketch says is what is played, the same samples every time."""

from dataclasses import replace

import numpy as np
import pytest
from acestep_pack.acestep_core.band import Sketch, mix, play, score, song_of, voices
from acestep_pack.acestep_core.band.sketch import GENRES, MOODS, ROLE_WORDS, TONICS, UNHEARD, caption

SEEDS = range(60)
RATE_HZ = 48_000
MAJOR, MINOR = {0, 2, 4, 5, 7, 9, 11}, {0, 2, 3, 5, 7, 8, 10}
FULL_BAND = {"drums": "kit", "bass": "synth bass", "keys": "piano", "pad": "warm pad", "lead": "flute", "arp": "pluck"}


@pytest.fixture(autouse=True, scope="module")
def short_notes():
    """Notes of at most a second: the band is asked for short clips, and most of its time goes into long notes."""
    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices, "LONGEST_NOTE_S", 1.0)
        yield
    forget()


def forget():
    for kept in (voices._tone, voices.stroke, mix._room):
        kept.cache_clear()


def sketch(genre="house", seconds=1.0, **more):
    plain = dict(seed=3, mood="happy", bpm=120, tonic=9, minor=True, beats_per_bar=4, voices=FULL_BAND)
    return Sketch(genre=genre, seconds=seconds, **plain | more)


def pitched(events):
    return [event for event in events if event.role != "drums"]


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_seed_is_one_sketch_and_seeds_differ():
    assert Sketch.draw(5) == Sketch.draw(5)
    assert len({(s.genre, s.mood, s.bpm, s.key) for s in map(Sketch.draw, SEEDS)}) > 55
    assert replace(Sketch.draw(5, 10.0), seconds=99.0) == Sketch.draw(5, 99.0)  # a longer clip is the same music


def test_everything_the_band_can_is_asked_of_it():
    drawn = [Sketch.draw(seed) for seed in range(500)]
    assert {s.genre for s in drawn} == set(GENRES) and {s.mood for s in drawn} == set(MOODS)
    assert {s.tonic for s in drawn} == set(range(12)) and {s.minor for s in drawn} == {False, True}
    assert {s.beats_per_bar for s in drawn} == {3, 4}
    assert {voice for s in drawn for voice in s.voices.values()} == set(voices.VOICES) | {"kit"}
    assert all(60 <= s.bpm <= 180 for s in drawn)
    assert all(set(s.voices) - {"drums"} for s in drawn), "a clip of drums alone has no key"


def test_what_is_left_for_adapters_is_drawn_only_where_it_is_asked_for():
    asked = [Sketch.draw(seed, genre="chiptune") for seed in SEEDS]
    assert {s.genre for s in asked} == {"chiptune"}
    assert {voice for s in asked for voice in s.voices.values()} == set(voices.UNHEARD_VOICES) | {"kit"}
    assert all(any(word in caption(s)[0].lower() for word in UNHEARD["chiptune"].words) for s in asked)
    anything = [Sketch.draw(seed) for seed in range(500)]
    assert not {voice for s in anything for voice in s.voices.values()} & set(voices.UNHEARD_VOICES)


def test_a_key_is_named_as_it_is_played():
    assert sketch().key == "A minor" and sketch(tonic=6, minor=False).key == "F# major"
    assert sketch(bpm=90).seconds_per_beat == pytest.approx(2 / 3)


# ---- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [0, 1])
def test_what_a_caption_names_plays_and_what_it_forbids_does_not(variant):
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 16.0)
        text, named, forbidden = caption(drawn, variant)
        playing = {event.role for event in score.write(drawn)}
        assert named <= playing and not forbidden & playing
        asked, *denied = text.lower().replace(", without ", ", no ").split(", no ")
        for role in named:
            assert any(words in asked for words in (*ROLE_WORDS[role], drawn.voices[role]))
        assert len(denied) == len(forbidden)
        for role in forbidden:
            assert any(part.split(",")[0] in ROLE_WORDS[role] for part in denied)


def test_a_caption_says_mood_and_genre_in_several_ways():
    for seed in SEEDS:
        drawn = Sketch.draw(seed)
        text = caption(drawn)[0].lower()
        assert any(word in text for word in GENRES[drawn.genre].words)
        assert any(word in text for word in MOODS[drawn.mood][0])
    assert len({caption(Sketch.draw(1), variant) for variant in range(8)}) == 8
    assert caption(Sketch.draw(1), 3) == caption(Sketch.draw(1), 3)


def test_a_complete_request_tells_all_that_is_played():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 20.0)
        song = song_of(drawn, complete=True)
        assert (song.bpm, song.key, song.seconds) == (drawn.bpm, drawn.key, 20.0)
        assert song.time_signature == str(drawn.beats_per_bar) and song.caption == caption(drawn)[0]
    assert song_of(Sketch.draw(1, 2.0)).seconds == 10.0  # the shortest song that may be asked for


def test_an_ordinary_request_leaves_some_open():
    told = [(song_of(Sketch.draw(seed)), song_of(Sketch.draw(seed), complete=True)) for seed in range(400)]
    for name in ("bpm", "key", "time_signature"):
        values = [(getattr(song, name), getattr(complete, name)) for song, complete in told]
        assert 0.07 < np.mean([value is None for value, _ in values]) < 0.18
        assert all(value in (None, right) for value, right in values)


# ---- what is written -------------------------------------------------------------------------------------------------


def test_only_the_chosen_voices_play_and_all_of_them():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 16.0)
        events = score.write(drawn)
        assert {event.role: event.voice for event in pitched(events)} == {
            role: voice for role, voice in drawn.voices.items() if role != "drums"
        }
        assert any(event.role == "drums" for event in events) == ("drums" in drawn.voices)
        assert all(0 <= event.beat * drawn.seconds_per_beat < 16.1 for event in events)
        assert all(event.beats > 0 and 0 < event.velocity <= 1 for event in events)


@pytest.mark.parametrize("genre", [*GENRES, *UNHEARD])
def test_strokes_lie_on_the_grid_and_only_off_beats_swing(genre):
    late = score.SWUNG.get(genre, 0.0) / 2
    steps = [4 * event.beat for event in score.write(sketch(genre, 20.0)) if event.role == "drums"]
    for step in steps:
        nearest = round(step)
        assert step == pytest.approx(nearest + (4 * late if nearest % 2 else 0.0), abs=1e-9)


@pytest.mark.parametrize("genre", [*GENRES, *UNHEARD])
@pytest.mark.parametrize("beats_per_bar", [3, 4])
def test_chords_change_with_the_bar_and_bars_are_as_long_as_asked(genre, beats_per_bar):
    events = score.write(sketch(genre, 30.0, beats_per_bar=beats_per_bar))
    assert {event.beat % beats_per_bar for event in events if event.role == "pad"} == {0.0}
    chords = {}
    for event in events:
        if event.role in ("pad", "keys"):
            chords.setdefault(event.beat // beats_per_bar, set()).add(event.midi % 12)
    assert len(chords) == 60 / beats_per_bar and all(len(chord) == 3 for chord in chords.values())
    assert all(chords[bar] == chords[bar % 4] for bar in chords) and len({*map(frozenset, chords.values())}) > 1
    for event in events:
        if event.role in ("bass", "arp"):
            assert event.midi % 12 in chords[event.beat // beats_per_bar]
    if beats_per_bar == 3:
        kicks = [event.beat for event in events if event.voice == "kick"]
        assert kicks == [3.0 * bar for bar in range(20)]


def test_every_note_is_in_the_key_and_the_first_chord_is_home():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 16.0)
        events = pitched(score.write(drawn))
        assert {(event.midi - drawn.tonic) % 12 for event in events} <= (MINOR if drawn.minor else MAJOR)
        home = {0, 3, 7} if drawn.minor else {0, 4, 7}
        first = [e for e in events if e.beat < drawn.beats_per_bar and e.role in ("bass", "keys", "pad", "arp")]
        assert {(event.midi - drawn.tonic) % 12 for event in first} <= home
        basses = [event for event in events if event.role == "bass"]
        assert not basses or (basses[0].midi - drawn.tonic) % 12 == 0
        assert all(33 <= event.midi < 57 for event in basses)


def test_pitch_classes_show_who_sounds_when():
    drawn = Sketch.draw(11, 20.0)
    events = pitched(score.write(drawn))
    sounding = score.pitch_classes(drawn, per_second=200.0)
    assert sounding.shape == (24, 4_000) and set(np.unique(sounding)) == {0.0, 1.0}
    rows = {event: event.midi % 12 + 12 * (event.role != "bass") for event in events}
    for event, row in rows.items():
        middle = (event.beat + event.beats / 2) * drawn.seconds_per_beat
        assert middle >= 20 or sounding[row, int(200 * middle)] == 1
    assert set(np.nonzero(sounding.any(1))[0]) == set(rows.values())


def test_patterns_are_whole_bars_of_known_strokes():
    lines = [line for pattern in score.DRUMS.values() for line in pattern]
    lines += [f"{name}:{line}" for name, line in score.FILL.items()]
    assert all(len(line.split(":")[1]) == 16 for line in lines)
    assert all(len(line.split(":")[1]) == 12 for line in score.WALTZ)
    assert {line.split(":")[0] for line in (*lines, *score.WALTZ)} | {"crash"} == set(voices._STROKES)
    assert set(score.DRUMS) == set(score.BASS) == set(score.KEYS) == {*GENRES, *UNHEARD}


# ---- what is heard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*voices.VOICES, *voices.UNHEARD_VOICES])
def test_every_voice_sounds_at_its_pitch_and_fades_out(name):
    sound = voices.note(name, 69, 0.4)
    assert sound.dtype == np.float32 and np.isfinite(sound).all()
    assert 0.02 < np.sqrt(np.mean(sound**2)) < 0.5 and abs(sound[-1]) < 1e-3
    assert len(sound) == pytest.approx((0.4 + voices._KNOWN[name].release_s) * RATE_HZ, abs=2)
    spectrum = np.abs(np.fft.rfft(sound, 2 * RATE_HZ))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=5)
    assert (spectrum[2 * 12_000 :] ** 2).sum() < 1e-3 * (spectrum**2).sum()  # nothing folds back from above
    assert len(voices.note(name, 69, 60.0)) <= RATE_HZ  # a note ends even when nobody ends it


@pytest.mark.parametrize("name", voices._STROKES)
def test_every_stroke_sounds(name):
    sound = voices.stroke(name)
    assert sound.dtype == np.float32 and np.isfinite(sound).all() and 0.1 < np.abs(sound).max() < 2
    assert np.abs(sound[: RATE_HZ // 50]).max() > 3 * np.abs(sound[-100:]).max()


@pytest.mark.parametrize("genre, mood", list(zip(GENRES, [*MOODS] * 2)))
def test_every_genre_and_mood_sounds(genre, mood):
    sound = play(sketch(genre, 0.8, mood=mood))
    assert sound.shape == (2, 38_400) and sound.dtype == np.float32 and np.isfinite(sound).all()
    assert np.abs(sound).max() < 1 and 0.08 < np.sqrt(np.mean(sound**2)) < 0.17


def test_the_loudest_stroke_stays_below_full_scale():
    sound = play(sketch("reggae", 3.0, bpm=60, voices={"drums": "kit"}))  # little but a kick, so it is made very loud
    assert 0.85 < np.abs(sound).max() < 1


def test_a_seed_is_one_clip_to_the_sample():
    first = play(Sketch.draw(11, 1.0))
    forget()  # nothing of it hangs on what was played before
    play(Sketch.draw(12, 0.5))
    assert np.array_equal(play(Sketch.draw(11, 1.0)), first)
    assert not np.array_equal(play(Sketch.draw(12, 1.0)), first)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.2345])
def test_a_clip_is_stereo_as_long_as_asked_and_fades_out(seconds):
    sound = play(sketch(seconds=seconds))
    assert sound.shape == (2, round(seconds * RATE_HZ))
    assert np.abs(sound[:, -1]).max() == 0 and np.abs(sound[0] - sound[1]).max() > 0.01


def test_beats_come_at_the_tempo():
    sound = play(sketch(bpm=150, seconds=2.0, voices={"drums": "kit"})).mean(0)
    beat = int(0.4 * RATE_HZ)
    for start in range(beat, 4 * beat, beat):
        before, after = sound[start - 960 : start], sound[start : start + 960]
        assert np.mean(after**2) > 10 * np.mean(before**2)


def test_a_key_sounds_in_its_notes():
    for tonic, minor in ((9, True), (2, False)):
        sound = play(sketch("ambient", 1.0, tonic=tonic, minor=minor, voices={"pad": "warm pad"})).mean(0)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
        freq = np.fft.rfftfreq(8 * len(sound), 1 / RATE_HZ)
        loudness = [
            sum(spectrum[np.abs(freq - voices.hz(midi)).argmin()] for midi in range(48 + pitch, 72, 12))
            for pitch in range(12)
        ]
        heard = {(int(pitch) - tonic) % 12 for pitch in np.argsort(loudness)[-3:]}
        assert heard == ({0, 3, 7} if minor else {0, 4, 7}), TONICS[tonic]


def test_a_dark_mood_sounds_darker():
    dark, bright = (play(sketch("techno", 1.0, mood=mood)) for mood in ("dark", "energetic"))
    shares = []
    for sound in (dark, bright):
        spectrum = np.abs(np.fft.rfft(sound)) ** 2
        shares.append(spectrum[:, 4_000:].sum() / spectrum.sum())
    assert shares[1] > 3 * shares[0]


def test_the_kick_pumps_only_where_the_genre_does():
    held = {"drums": "kit", "pad": "warm pad"}
    assert mix._pump(sketch("house", voices=held), 4800)[0] == pytest.approx(0.45, abs=1e-3)
    for still in (sketch("rock", voices=held), sketch("house", voices=held, beats_per_bar=3), sketch(voices={})):
        assert (mix._pump(still, 4800) == 1).all()

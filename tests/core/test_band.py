"""The band keeps its word: what a sketch says is what is played, the same samples every time."""

from dataclasses import replace

import numpy as np
import pytest
from acestep_pack.acestep_core.band import (
    Sketch,
    mix,
    play,
    score,
    song_of,
    strokes,
    voices,
)
from acestep_pack.acestep_core.band.caption import ROLE_WORDS, STYLES, caption
from acestep_pack.acestep_core.band.form import form_of
from acestep_pack.acestep_core.band.genres import GENRES, MOODS, UNHEARD
from acestep_pack.acestep_core.band.instruments import KNOWN_VOICES, TRACKS, track_of
from acestep_pack.acestep_core.band.lyrics import lexicon, lines_of
from acestep_pack.acestep_core.band.sketch import TONICS

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
    for kept in (voices._tone, strokes.stroke, mix._response):
        kept.cache_clear()


def sketch(genre="house", seconds=1.0, **more):
    plain = dict(seed=3, mood="happy", bpm=120, tonic=9, minor=True, metre=4, voices=FULL_BAND)
    return Sketch(genre=genre, seconds=seconds, **plain | more)


def pitched(events):
    return [event for event in events if event.midi]


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_seed_is_one_sketch_and_seeds_differ():
    assert Sketch.draw(5) == Sketch.draw(5)
    assert len({(s.genre, s.mood, s.bpm, s.key) for s in map(Sketch.draw, SEEDS)}) > 55
    assert replace(Sketch.draw(5, 10.0), seconds=99.0) == Sketch.draw(5, 99.0)


def test_everything_the_band_can_is_asked_of_it():
    drawn = [Sketch.draw(seed) for seed in range(1_200)]
    assert {s.genre for s in drawn} == set(GENRES) and {s.mood for s in drawn} == set(MOODS)
    assert {s.tonic for s in drawn} == set(range(12)) and {s.minor for s in drawn} == {False, True}
    assert {s.metre for s in drawn} == {3, 4, 6}
    assert {v for s in drawn for v in s.voices.values()} >= set(voices.VOICES) | {"female voice", "male voice"}
    assert all(set(s.voices) & {"bass", "keys", "pad", "lead", "arp"} for s in drawn), "drums alone have no key"
    assert all("vocals" in s.voices for s in drawn if "backing" in s.voices)
    heard = np.histogram([s.bpm for s in drawn], 6, (60, 181))[0]
    assert heard.min() > 0.75 * 1_200 / 6, "all tempi are equally likely"


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
    assert [sketch(metre=metre).steps_per_bar for metre in (4, 3, 6)] == [16, 12, 12]


def test_every_voice_is_on_a_published_track():
    drawn = [Sketch.draw(seed) for seed in range(300)]
    found = {track_of(role, voice) for s in drawn for role, voice in s.voices.items()}
    assert found == set(TRACKS)


# ---- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_what_a_caption_names_plays_and_what_it_forbids_does_not(variant):
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 16.0)
        text, named, forbidden = caption(drawn, variant)
        playing = {event.role for event in score.write(drawn)}
        assert named <= playing and not forbidden & playing
        for role in named:
            own = {drawn.voices[role], drawn.voices[role].split()[0] + " vocals", drawn.voices[role].split()[0]}
            assert any(words in text.lower() for words in {*ROLE_WORDS[role], *own}), text
        for role in forbidden - {"vocals"}:
            assert any(f"{no} {words}" in text for words in ROLE_WORDS[role] for no in ("no", "without")), text
        if "vocals" in forbidden:
            assert any(word in text for word in ("instrumental", "no ", "without"))


def test_a_caption_says_the_genre_in_several_styles():
    texts = {}
    for seed in SEEDS:
        drawn = Sketch.draw(seed)
        for style in STYLES:
            text = caption(drawn, 0, (style,))[0].lower()
            assert any(word in text for word in GENRES[drawn.genre].words)
            texts.setdefault(style, []).append(text)
    assert len({caption(Sketch.draw(1), variant) for variant in range(8)}) == 8
    assert caption(Sketch.draw(1), 3) == caption(Sketch.draw(1), 3)
    words = {style: np.mean([len(text.split()) for text in told]) for style, told in texts.items()}
    assert words["few words"] < 4 < words["plain"] < 20 < words["story"]


def test_a_story_tells_how_the_song_goes():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 90.0)
        text, form = caption(drawn, 0, ("story",))[0], form_of(drawn)
        assert ("it fades out" in text) == (form.ring_s == 0) and ("bridge" in text) == ("bridge" in form.names)
        assert "the chorus comes back" in text and sum(s.name == "chorus" for s in form.sections) > 1


def test_a_complete_request_tells_all_that_is_played():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 20.0)
        song = song_of(drawn, complete=True)
        assert (song.bpm, song.key, song.seconds) == (drawn.bpm, drawn.key, 20.0)
        assert song.time_signature == str(drawn.metre) and song.caption == caption(drawn)[0]
        assert (song.lyrics == "[Instrumental]") == ("vocals" not in drawn.voices) == (song.language == "unknown")
    assert song_of(Sketch.draw(1, 2.0)).seconds == 10.0  # the shortest song that may be asked for


def test_an_ordinary_request_leaves_some_open():
    told = [(song_of(Sketch.draw(seed)), song_of(Sketch.draw(seed), complete=True)) for seed in range(400)]
    for name in ("bpm", "key", "time_signature"):
        values = [(getattr(song, name), getattr(complete, name)) for song, complete in told]
        assert 0.07 < np.mean([value is None for value, _ in values]) < 0.18
        assert all(value in (None, right) for value, right in values)


# ---- the form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0, 16.0, 30.0, 47.5, 60.0, 120.0, 240.0])
def test_sections_fill_every_length(seconds):
    for seed in range(40):
        drawn = Sketch.draw(seed, seconds)
        form = form_of(drawn)
        starts = [section.first_bar for section in form.sections]
        assert starts == [0, *(section.after for section in form.sections)][:-1]
        assert all(section.bars > 0 for section in form.sections)
        whole = form.bars * drawn.seconds_per_bar
        if form.ring_s:
            assert whole + form.ring_s == pytest.approx(seconds) and 1.3 <= form.ring_s < 1.3 + drawn.seconds_per_bar
        else:
            assert seconds <= whole + 1e-6 and whole - seconds < drawn.seconds_per_bar
        for role in drawn.voices:
            assert seconds < 10 or any(form.plays(role, section.name) for section in form.sections) or role == "fx"
        assert all(any(form.plays(role, name) for role in pitched_roles(drawn)) for name in form.names)


def pitched_roles(drawn):
    return set(drawn.voices) & {"bass", "keys", "pad", "lead", "arp"}


def test_a_chorus_comes_back_with_the_same_notes():
    for seed in range(20):
        drawn = Sketch.draw(seed, 120.0)
        form, events = form_of(drawn), score.write(drawn)
        choruses = [section for section in form.sections if section.name == "chorus"]
        assert len(choruses) >= 2
        first, again = (notes_of(drawn, events, section, min(c.bars for c in choruses)) for section in choruses[:2])
        assert first == again and first
        verse = next(section for section in form.sections if section.name == "verse")
        assert notes_of(drawn, events, verse, 4) != notes_of(drawn, events, choruses[0], 4)


def notes_of(drawn, events, section, bars):
    """Pitched notes of a section's first bars, times from its beginning."""
    start, end = (bar * drawn.beats_per_bar for bar in (section.first_bar, section.first_bar + bars))
    return {
        (event.role, round(event.beat - start, 6), event.midi)
        for event in pitched(events)
        if start <= event.beat < end and event.role != "vocals"
    }


def test_a_song_ends_on_its_home_chord_or_fades():
    ends = 0
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 20.0)
        form = form_of(drawn)
        last = [e for e in pitched(score.write(drawn)) if e.beat >= form.bars * drawn.beats_per_bar]
        assert bool(last) == (form.ring_s > 0)
        assert {(e.midi - drawn.tonic) % 12 for e in last} <= ({0, 3, 7} if drawn.minor else {0, 4, 7})
        ends += bool(last)
    assert 20 < ends < 60


# ---- the words -------------------------------------------------------------------------------------------------------


def test_every_note_of_a_singer_has_a_syllable():
    sung = [drawn for seed in range(200) if (drawn := Sketch.draw(seed, 60.0)).sung]
    assert len(sung) > 40
    for drawn in sung:
        lines = lines_of(form_of(drawn))
        notes = [event for event in score.write(drawn) if event.role == "vocals"]
        syllables = [sound for line in lines for sound in line.syllables]
        assert [event.syllable for event in notes] == syllables[: len(notes)]
        assert len(notes) == len(syllables) or not form_of(drawn).ring_s  # a song that fades may lose its last bar
        text = song_of(drawn).lyrics
        assert all(line.text in text for line in lines) and "[Verse 1]" in text and "[Chorus]" in text
        assert {line.text for line in lines if line.section.name == "chorus"} != set()
        assert all(41 <= event.midi <= 82 for event in notes)
    assert not any(event.syllable for seed in SEEDS for event in score.write(unsung(seed)))


def unsung(seed):
    drawn = Sketch.draw(seed, 20.0)
    return replace(
        drawn, voices={role: voice for role, voice in drawn.voices.items() if role not in ("vocals", "backing")}
    )


def test_a_chorus_is_sung_on_the_same_words_and_verses_are_not():
    drawn = next(s for seed in range(99) if (s := Sketch.draw(seed, 120.0)).sung)
    by_section = {}
    for line in lines_of(form_of(drawn)):
        by_section.setdefault((line.section.name, line.section.number), []).append(line.text)
    same = min(map(len, by_section.values()))
    assert by_section["chorus", 1][:same] == by_section["chorus", 2][:same]
    assert by_section["verse", 1][:same] != by_section["verse", 2][:same]


def test_the_singer_knows_every_sound_of_the_lexicon():
    from acestep_pack.acestep_core.band import singer

    for words in lexicon().values():
        for sound in (sound for word in words for sound in word.sounds):
            onset, vowel, coda = sound.split("/")
            assert vowel in singer.FORMANTS_HZ or vowel in singer.GLIDES
            assert "".join(singer._consonants(onset)) == onset and "".join(singer._consonants(coda)) == coda


@pytest.mark.parametrize("syllable", ["s/a/ng", "l/ei/t", "/oh/", "m/ee/"])
def test_a_syllable_is_sung_on_its_note(syllable):
    from acestep_pack.acestep_core.band import singer

    for voice, midi in (("female voice", 69), ("male voice", 50)):
        sound = singer.sing(voice, midi, 0.6, syllable)
        assert sound.dtype == np.float32 and len(sound) == round(0.66 * RATE_HZ) and np.abs(sound).max() < 1
        middle = sound[int(0.2 * RATE_HZ) : int(0.5 * RATE_HZ)]
        alike = np.fft.irfft(np.abs(np.fft.rfft(middle, 2 * len(middle))) ** 2)[: len(middle)]
        lag = 40 + (alike / (1 - np.arange(len(middle)) / len(middle)))[40:600].argmax()
        assert RATE_HZ / lag == pytest.approx(voices.hz(midi), rel=0.02)
        assert np.abs(sound[-20:]).max() < 1e-3


# ---- what is written -------------------------------------------------------------------------------------------------


def test_only_the_chosen_voices_play_and_all_of_them():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 30.0)
        events = score.write(drawn)
        found = {event.role: event.voice for event in events if event.voice in KNOWN_VOICES}
        assert found == {role: voice for role, voice in drawn.voices.items() if voice in KNOWN_VOICES}
        assert {event.role for event in events} | {"fx"} == set(drawn.voices) | {"fx"}
        assert all(0 <= event.beat * drawn.seconds_per_beat < 30 for event in events)
        assert all(event.beats > 0 and 0 < event.velocity <= 1 for event in events)


@pytest.mark.parametrize("genre", [*GENRES, *UNHEARD])
def test_strokes_lie_on_the_grid_and_only_off_beats_swing(genre):
    known = GENRES | UNHEARD
    grid, late = known[genre].swing
    for event in score.write(sketch(genre, 20.0)):
        if event.role == "drums":
            step = 4 * event.beat
            assert step == round(step) or step - late == pytest.approx(round(step - late))
            assert step == round(step) or round(step - late) % (2 * grid) == grid


@pytest.mark.parametrize("genre", [*GENRES, *UNHEARD])
@pytest.mark.parametrize("metre", [3, 4, 6])
def test_chords_are_the_forms_and_every_part_keeps_to_them(genre, metre):
    drawn = sketch(genre, 30.0, metre=metre)
    form, beats = form_of(drawn), drawn.beats_per_bar
    chords = {}
    for event in score.write(drawn):
        if event.role in ("pad", "keys", "arp", "bass"):
            chords.setdefault(int(event.beat / beats + 1e-9), set()).add((event.midi - 9) % 12)
    for section in form.sections:
        for bar in range(section.first_bar, section.after):
            degree = form.chord(section, bar)
            wanted = {sorted(MINOR)[(degree + k) % 7] for k in (0, 2, 4, 6)}
            assert chords[bar] <= wanted and sorted(MINOR)[degree] in chords[bar]
    assert len({frozenset(chord) for chord in chords.values()}) > 1


def test_every_note_is_in_the_key_and_the_first_chord_is_home():
    for seed in SEEDS:
        drawn = Sketch.draw(seed, 16.0)
        events = pitched(score.write(drawn))
        assert {(event.midi - drawn.tonic) % 12 for event in events} <= (MINOR if drawn.minor else MAJOR)
        first = [e for e in events if e.beat < drawn.beats_per_bar and e.role in ("bass", "pad", "arp")]
        assert {(event.midi - drawn.tonic) % 12 for event in first} <= ({0, 3, 7} if drawn.minor else {0, 4, 7})
        basses = [event for event in events if event.role == "bass"]
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
    from acestep_pack.acestep_core.band import patterns, soundfont

    full = [*patterns.DRUMS.values(), *patterns.PERCUSSION.values(), patterns.PERCUSSION_ELSEWHERE]
    short = [*patterns.THREE.values(), *patterns.SIX.values(), patterns.PERCUSSION_OF_TWELVE]
    lines = {length: [line for one in group for line in one] for length, group in ((16, full), (12, short))}
    assert all(len(line.split(":")[1]) == length for length, group in lines.items() for line in group)
    fills = [line for fill in patterns.FILL.values() for line in fill]
    used = {line.removeprefix("+").split(":")[0] for line in (*lines[16], *lines[12], *fills)} | {"crash"}
    assert used == set(strokes.STROKES) and used - {"zap", "hiss", "tick"} == set(soundfont.DRUM_KEYS)
    assert set(patterns.BASS) == set(patterns.KEYS) == {*GENRES, *UNHEARD}


def test_the_last_bar_of_a_section_has_a_fill():
    drawn = sketch("rock", 60.0)
    form = form_of(drawn)
    toms = {int(event.beat // 4) for event in score.write(drawn) if event.voice == "tom"}
    assert toms == {section.after - 1 for section in form.sections}


# ---- what is heard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*voices.VOICES, *voices.UNHEARD_VOICES])
def test_every_voice_sounds_at_its_pitch_and_fades_out(name):
    sound = voices.note(name, 69, 0.4)
    assert sound.dtype == np.float32 and np.isfinite(sound).all()
    assert 0.02 < np.sqrt(np.mean(sound**2)) < 0.5 and abs(sound[-1]) < 1e-3
    assert len(sound) == pytest.approx((0.4 + KNOWN_VOICES[name].release_s) * RATE_HZ, abs=2)
    spectrum = np.abs(np.fft.rfft(sound, 2 * RATE_HZ))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=5)
    assert (spectrum[2 * 12_000 :] ** 2).sum() < 1e-3 * (spectrum**2).sum()  # nothing folds back from above
    assert len(voices.note(name, 69, 60.0)) <= RATE_HZ  # a note ends even when nobody ends it


@pytest.mark.parametrize("name", strokes.STROKES)
def test_every_stroke_sounds(name):
    sound = voices.stroke(name)
    assert sound.dtype == np.float32 and np.isfinite(sound).all() and 0.1 < np.abs(sound).max() < 2
    assert np.abs(sound[: RATE_HZ // 50]).max() > 3 * np.abs(sound[-100:]).max()


@pytest.mark.parametrize("genre, mood", list(zip(GENRES, [*MOODS] * 4)))
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


def test_a_clip_that_ends_before_its_first_note_is_silent():
    silent = play(sketch("folk", 0.1, voices={"fx": "effects"}))
    assert silent.shape == (2, 4_800) and not silent.any()


@pytest.mark.parametrize("name", ["riser", "fall"])
def test_an_effect_has_every_sample_of_its_length(name):
    for count in (125_216, 125_217):  # the second, divided by the rate and times it again, is a little less
        for more_s in (0.0, 1e-6):
            made = strokes.effect(name, count / RATE_HZ + more_s)
            assert made.shape == (count,) and np.isfinite(made).all() and np.abs(made).max() > 0.1


def test_beats_never_drift():
    """The beat of a click track lies within a sample of where the tempo has it, after two minutes too."""
    for bpm in (61, 97, 178):
        drawn = sketch("house", 120.0, bpm=bpm, voices={"drums": "kit", "bass": "sub bass"})
        for sound in mix.sounds(drawn):
            step = sound.start / RATE_HZ * bpm / 60 * 4
            assert abs(step - round(step)) * 15 / bpm * RATE_HZ <= 0.51


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
    assert mix._pump(mix.desk_of(sketch("house", voices=held)), 4800)[0] == pytest.approx(0.45, abs=1e-3)
    for still in (sketch("rock", voices=held), sketch("house", voices=held, metre=3), sketch(voices={})):
        assert (mix._pump(mix.desk_of(still), 4800) == 1).all()

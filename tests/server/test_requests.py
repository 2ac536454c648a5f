"""Requests in JSON become the orders that the command line makes of the same options."""

import time
from dataclasses import replace

import pytest
from acestep_pack.acestep_core.cli.orders import orders_of, takes_of
from acestep_pack.acestep_core.cli.parser import build_parser
from acestep_pack.acestep_core.editing import bars
from acestep_pack.acestep_core.editing.regions import BarTimes
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.server.openai_routes import _tagged
from acestep_pack.acestep_core.server.original_requests import Fields, OriginalRequests, _sampling
from acestep_pack.acestep_core.song import INSTRUMENTAL, Song

SONG = {"caption": "lo-fi beat"}


@pytest.fixture
def read(server):
    return server.requests.songs


def by_command(*arguments):
    argv = ["generate", *arguments]
    return orders_of(build_parser(argv).parse_args(argv))


@pytest.mark.parametrize(
    "given, arguments",
    [
        ({"song": SONG, "settings": {"seed": 3}}, ["lo-fi beat", "--seed", "3"]),
        (
            {
                "song": {"caption": "x", "lyrics": "la", "bpm": 90, "key": "Am", "seconds": 20, "language": "English"},
                "settings": {"seed": 1, "steps": [2, 1, 1], "guidance": ["3", "3", "1"], "models": "tiny"},
                "count": 2,
            },
            [
                *("x", "--lyrics", "la", "--bpm", "90", "--key", "Am", "--seconds", "20", "--language", "English"),
                *("--seed", "1", "--steps", "2,1,1", "--guidance", "3,3,1", "--models", "tiny"),
                *("--count", "2"),
            ],
        ),
        (
            {"song": SONG, "settings": {"seed": 1, "l": "tiny-l", "boundaries": [0.8, 0.5], "loudness": -14.0}},
            ["lo-fi beat", "--seed", "1", "--l", "tiny-l", "--boundaries", "0.8,0.5", "--loudness", "-14"],
        ),
        (
            {"song": SONG, "settings": {"seed": 1}, "best_of": 3, "keep": 2, "retry_below": 0.5, "count": 2},
            ["lo-fi beat", "--seed", "1", "--best-of", "3", "--keep", "2", "--retry-below", "0.5", "--count", "2"],
        ),
    ],
)
def test_a_request_is_the_order_of_the_same_options(read, monkeypatch, tmp_path, given, arguments):
    monkeypatch.chdir(tmp_path)
    order, wanted = read(given), by_command(*arguments)
    assert order.takes == takes_of(build_parser(argv := ["generate", *arguments]).parse_args(argv))
    assert [order.song] * len(wanted) == [one.song for one in wanted]
    assert list(order.settings) == [one.settings for one in wanted]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"song": {"caption": " "}}, "caption: is empty"),
        ({"song": {}}, "caption is missing"),
        ({"song": SONG, "sogn": 1}, "unknown field 'sogn' (did you mean song?)"),
        ({"song": {**SONG, "bpm": 900}}, "bpm: got 900, expected a number from"),
        ({"song": {**SONG, "seconds": 1}}, "seconds: got 1, expected a number from 10"),
        ({"song": [SONG]}, "song: got [{'caption': 'lo-fi beat'}], expected an object"),
        ({"song": SONG, "settings": {"steps": "many"}}, "steps"),
        ({"song": SONG, "settings": {"seed": -2}}, "seed: got -2"),
        ({"song": SONG, "settings": {"steps": 2}}, "steps: got 2, expected at least one for each of the 3 stages"),
        ({"song": SONG, "settings": {"solver": "magic"}}, "solver: got 'magic'"),
        ({"song": SONG, "settings": {"models": "/etc/passwd"}}, "models: got '/etc/passwd'"),
        ({"song": SONG, "settings": {"l": "../tiny"}}, "l: got '../tiny'"),
        ({"song": SONG, "settings": {"models": "tinny"}}, "did you mean tiny?"),
        ({"song": SONG, "settings": {"lora": ["/etc/passwd"]}}, "lora: got '/etc/passwd'"),
        ({"song": SONG, "settings": {"lora": ["no-such:0.5"]}}, "lora: got 'no-such'"),
        ({"song": SONG, "settings": {"reference": ["/etc/passwd"]}}, "sound: got '/etc/passwd'"),
        ({"song": SONG, "settings": {"continue_from": "clip.wav"}}, "sound: got 'clip.wav'"),
        ({"song": SONG, "settings": {"source": "clip.wav"}}, "settings: got source"),
        ({"song": SONG, "settings": {"unknown": 1}}, "unknown setting 'unknown'"),
        ({"song": SONG, "count": 9}, "count: got 9, expected a whole number from 1 to 8"),
        ({"song": SONG, "count": True}, "count: got True"),
        ({"song": SONG, "preview_seconds": 1e9}, "preview_seconds"),
        ({"song": SONG, "best_of": 33}, "best_of: got 33, expected a whole number from 1 to 32"),
        ({"song": SONG, "best_of": 2, "keep": 3}, "keep: got 3, expected 1 to 2"),
        ({"song": SONG, "best_of": 2, "retry_below": "x"}, "retry_below: got 'x'"),
        ({"song": SONG, "format": "exe"}, "got the format 'exe'"),
        ({"song": SONG, "format": "mp3", "bit_depth": 24}, "bit depth: got 24 for mp3"),
        ({"song": SONG, "plan": 7}, "plan: got 7"),
        ({"song": SONG, "plan": "/etc/passwd"}, "planner: got '/etc/passwd'"),
        ({"again": "../song"}, "none of the handle '../song'"),
        ({"edit": {"task": "repaint"}}, "sound: got None"),
        ({"song": SONG, "keep_latents": "yes"}, "keep_latents: got 'yes', expected true or false"),
        ({"kind": "dance"}, "kind: got 'dance'"),
        ({"kind": "write", "line": ""}, "write: got an empty line"),
        ({"kind": "understand", "source": "/etc/passwd"}, "sound: got '/etc/passwd'"),
    ],
)
def test_mistakes_are_named_as_the_command_line_names_them(server, given, message):
    with pytest.raises(UserError) as refused:
        server.requests.order(given)
    assert message in str(refused.value)


def test_lyrics_never_name_a_file(read):
    assert read({"song": {**SONG, "lyrics": "@/etc/passwd"}}).song.lyrics == "@/etc/passwd"


def test_seeds_are_drawn_where_none_is_given(read):
    first, second = (read({"song": SONG, "settings": {"seed": -1}}).settings[0].seed for _ in range(2))
    assert first != second


def test_the_servers_own_models_are_those_of_requests_that_name_none(make_server):
    own = make_server(defaults=GenerationSettings(models="tiny", dtype="fp32"))
    assert own.requests.songs({"song": SONG}).settings[0].models == "tiny"
    named = own.requests.songs({"song": SONG, "settings": {"l": "tiny-s"}}).settings[0]
    assert (named.models, named.l, named.dtype) == (None, "tiny-s", "fp32")


@pytest.fixture
def song(server, write_song):
    """The handle of a song of the library."""
    made = Song("calm piano", "la la", bpm=80, seconds=10)
    path = write_song(server.library.folder, "calm.wav", made, {"seed": 5, "models": "tiny", "steps": 3})
    return server.library.add(path).id


def test_a_song_is_made_again_with_other_words_and_settings(read, song):
    order = read({"again": song, "song": {"caption": "loud piano"}, "settings": {"steps": 4}})
    assert order.song == Song("loud piano", "la la", bpm=80, seconds=10)
    assert order.settings[0] == GenerationSettings(seed=5, models="tiny", steps=4)


@pytest.mark.parametrize(
    "asked, codes, codebook",
    [({}, None, None), ({"codes": [3, 4]}, (3, 4), None), ({"codes": [3], "codebook": 9}, (3,), 9)],
)
def test_codes_of_a_song_go_along_to_models_that_follow_them(server, read, write_song, asked, codes, codebook):
    tags = {"seed": 5, "models": "tiny", "codes": [1, 2], "codebook": 7, "codes_strength": 0.5}
    path = write_song(server.library.folder, "coded.wav", Song("calm piano", seconds=10), tags)
    [settings] = read({"again": server.library.add(path).id, "settings": asked}).settings
    assert (settings.codes, settings.codebook) == (codes, codebook)


def test_an_edit_takes_the_words_of_its_source(server, read, song):
    order = read({"edit": {"task": "repaint", "source": song, "regions": ["0.2-0.6", [0.7, 0.9]]}})
    [settings] = order.settings
    assert order.song.caption == "calm piano" and settings.edit["regions"] == ((0.2, 0.6), (0.7, 0.9))
    assert settings.source == str(server.library.path(song))
    assert server.requests.shown_settings(settings)["source"] == song


@pytest.mark.parametrize("tagged, told, bpm", [(80, 120, 80), (None, 120, 120), (None, None, None)])
def test_bars_are_of_the_tags_tempo_and_else_of_the_requests(server, read, write_song, monkeypatch, tagged, told, bpm):
    path = write_song(server.library.folder, "bars.wav", Song("calm piano", bpm=tagged, seconds=10), {"models": "tiny"})
    asked = []
    monkeypatch.setattr(
        bars, "bar_times", lambda source, song: (asked.append(song.bpm), (BarTimes.of(60, None, 0.0), ""))[1]
    )
    edit = {"task": "repaint", "source": server.library.add(path).id, "regions": ["bars 1-2"]}
    order = read({"edit": edit, "song": {"bpm": told}})
    assert asked == [bpm] and order.settings[0].edit["regions"] == ((0.0, 8.0),)


def test_retakes_have_other_noise_each_and_the_seed_of_their_song(read, song):
    order = read({"edit": {"task": "retake", "source": song, "amount": 0.1}, "settings": {"seed": 40}, "count": 2})
    assert [(one.seed, one.edit["retake_seed"], one.edit["amount"]) for one in order.settings] == [
        (5, 40, 0.1),
        (5, 41, 0.1),
    ]
    assert order.settings[0].steps == 3


def test_an_upload_is_a_reference(server, read, make_sound):
    import io

    upload = server.uploads.put(io.BytesIO(make_sound(2)))
    [settings] = read({"song": SONG, "settings": {"reference": [upload.id]}}).settings
    assert settings.reference == (str(upload.path),)
    assert server.requests.shown_settings(settings)["reference"] == [upload.id]


# ---- the original's words --------------------------------------------------------------------------------------------


@pytest.fixture
def task(server):
    return lambda **given: OriginalRequests(server.requests).task(given)


def test_the_originals_fields_under_all_their_names(task):
    song = Song("pop", "la", 120, "C major", "4", "en", 30.0)
    ways = [
        {"prompt": "pop", "audio_duration": 30, "key_scale": "C Major", "time_signature": "4", "vocal_language": "en"},
        {"caption": "pop", "audioDuration": "30", "keyScale": "C Major", "timeSignature": 4, "vocalLanguage": "en"},
        {"prompt": "pop", "metas": {"duration": 30, "keyscale": "C", "timesignature": "4/4", "language": "en"}},
        {"prompt": "pop", "user_metadata": '{"target_duration": 30, "key": "C", "time": "4", "lang": "en"}'},
    ]
    for way in ways:
        assert task(**way, lyrics="la", bpm=120)[0].song == song


def test_what_the_originals_clients_leave_out(task):
    order, notes = task(prompt="pop")
    assert len(order.settings) == 2 and order.file.format == "mp3" and notes == []
    assert order.song.lyrics == INSTRUMENTAL and order.settings[0].seed + 1 == order.settings[1].seed


def test_the_originals_seed_counts_where_it_is_not_random(task):
    assert task(prompt="x", seed=5, use_random_seed="false", batch_size="1")[0].settings[0].seed == 5
    assert task(prompt="x", seed=5, batch_size=1)[0].settings[0].seed != 5


def test_a_large_seed_written_as_text_keeps_its_digits(task):
    seed = 2**53 + 1
    given = dict(prompt="x", batch_size=1, use_random_seed=False)
    assert [task(seed=one, **given)[0].settings[0].seed for one in (str(seed), seed)] == [seed, seed]


def test_sampling_by_the_originals_names(task):
    given = {"inference_steps": 3, "infer_method": "sde", "audio_format": "wav32", "guidance_scale": 4, "model": "tiny"}
    order, notes = task(prompt="x", shift=1.5, **given)
    [settings, _] = order.settings
    assert (settings.steps, settings.solver, settings.models) == (3, "sde", "tiny")
    assert (order.file.format, order.file.bit_depth) == ("wav", "32f")
    assert notes == ["shift: is not offered here and was not used"]


def test_the_originals_edits(task, song):
    order, _ = task(task_type="repaint", src_audio_path=song, repainting_start=0.2, repainting_end=-1, batch_size=1)
    assert order.settings[0].edit == {"task": "repaint", "regions": ((0.2, None),)}
    assert order.song.caption == "calm piano"
    order, _ = task(task_type="cover", src_audio_path="calm.wav", prompt="rock", audio_cover_strength=0.4)
    assert order.settings[0].edit == {"task": "cover", "structure": 0.4} and order.song.caption == "rock"
    order, _ = task(task_type="extract", src_audio_path=song, instruction="Extract the DRUMS track from the audio:")
    assert order.settings[0].edit == {"task": "extract", "tracks": ("drums",)}


@pytest.mark.parametrize("regions", [[5], [None], [[5]], [{"start": 1}], "5-6", [["1", "2"]]])
def test_regions_of_a_wrong_form_are_named(read, song, regions):
    with pytest.raises(UserError, match="regions?: got"):
        read({"edit": {"task": "repaint", "source": song, "regions": regions}})


@pytest.mark.parametrize("given", [{"lm_top_k": "inf"}, {"lm_top_k": 1.5}])
def test_numbers_of_sampling_are_whole_where_they_count(given):
    with pytest.raises(UserError, match="lmtopk: got"):
        _sampling(Fields.of(given))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"src_audio_path": "/etc/passwd", "task_type": "cover"}, "audio path: got '/etc/passwd'"),
        ({"src_audio_path": "../calm.wav", "task_type": "cover"}, "audio path: got '../calm.wav'"),
        ({"reference_audio_path": "/tmp/x.wav"}, "audio path: got '/tmp/x.wav'"),
        ({"task_type": "cover"}, "cover: got no source"),
        ({"task_type": "dance", "src_audio_path": "s_0000000000000000"}, "none of the handle"),
        ({"timesteps": "0.9,0.5,0"}, "timesteps: are not offered here"),
        ({"batch_size": "many"}, "batchsize: got 'many'"),
        ({"batch_size": 99}, "count: got 99"),
        ({"thinking": "perhaps"}, "thinking: got 'perhaps'"),
        ({"model": "/etc"}, "models: got '/etc'"),
        ({"metas": "{"}, "metas: cannot be read as JSON"),
        ({"thinking": True, "audio_code_string": "9" * 5000}, "codes: got 999999999, expected whole numbers from 0"),
    ],
)
def test_the_originals_mistakes_are_named(task, given, message):
    with pytest.raises(UserError) as refused:
        task(**{"prompt": "x", **given})
    assert message in str(refused.value)


def test_settings_of_a_song_show_no_places(server, tmp_path):
    settings = GenerationSettings(models=str(tmp_path / "family"), reference=(str(tmp_path / "a.wav"),))
    shown = server.requests.shown_settings(replace(settings, lora=(f"{tmp_path}/warm.safetensors:0.5",)))
    assert str(tmp_path) not in str(shown) and shown["models"] == "family"


@pytest.mark.parametrize(
    "text, found",
    [
        ("<prompt>pop</prompt> and <lyrics>la\nla</lyrics>", {"prompt": "pop", "lyrics": "la\nla"}),
        ("<prompt>a</prompt><prompt>b</prompt>", {"prompt": "b"}),
        ("<prompt>a<lyrics>la</lyrics>", {"lyrics": "la"}),
        ("<prompt>a <lyrics>la</lyrics></prompt>", {"prompt": "a <lyrics>la</lyrics>"}),
        ("</prompt>a<prompt>", {}),
        ("no tags", {}),
    ],
)
def test_words_in_tags_of_a_chat(text, found):
    assert _tagged(text) == found


@pytest.mark.parametrize("text", ["<prompt>", "<prompt><lyrics>", "<prompt></lyrics>", "<prompt></prompt>"])
def test_tags_without_end_are_read_at_once(text):
    began = time.thread_time()
    _tagged(text * 25_000)
    assert time.thread_time() - began < 2

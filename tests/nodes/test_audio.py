import datetime
import inspect
import json
import math
import re

import pytest
import soundfile
import torch
from acestep_pack.acestep_core import audio as sound_files
from acestep_pack.acestep_core.audio import files, formats
from acestep_pack.acestep_core.audio.formats import FORMATS
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.digest import model_digest
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.generation.settings import read_song
from acestep_pack.acestep_core.song import Song
from acestep_pack.nodes import song_files
from acestep_pack.nodes.audio import Envelope, SaveAudio, Spectrogram
from acestep_pack.nodes.example_clip import ExampleClip
from acestep_pack.nodes.host import names
from acestep_pack.nodes.sound import to_audio

SONG = Song("lo-fi beat\nwith rain", "[Verse]\nla la", bpm=90, key="Am")
HIDDEN = {
    "PROMPT": {"1": {"class_type": "AceStepSaveAudio", "inputs": {"title": "日本"}}},
    "EXTRA_PNGINFO": {"workflow": {"nodes": [{"id": 1, "title": "{}}"}]}, "other": {"pack": 1}},
}
FLAC, AS_IT_IS = {"format": "flac", "bit_depth": "24"}, {"loudness": "as it is"}


def tone(seconds=1.0, rate=48000, level=0.5, items=1, channels=2) -> Waveform:
    t = torch.arange(round(seconds * rate)) / rate
    rows = [level * torch.sin(2 * math.pi * 220 * (item + 1) * t).expand(channels, -1) for item in range(items)]
    return Waveform(torch.stack(rows), rate)


@pytest.fixture(autouse=True)
def models_folder(comfy_models):
    """Tags have the digests of models, which are found in this ComfyUI's folders."""


@pytest.fixture
def save(run_node, comfy_folders, said):
    """Saves, and gives the paths that the node's result names."""

    def run(wave: Waveform, **inputs):
        audio = inputs.pop("audio", None) or to_audio(wave, (5, 6, 7), ("tiny-l", "tiny-m"))
        given = {"filename_prefix": "audio/song", "format": FLAC, "loudness": AS_IT_IS, "title": "", "artist": ""}
        hidden = inputs.pop("hidden", HIDDEN)
        run.ui = run_node(SaveAudio, hidden, **{**given, "audio": audio, "song": SONG, **inputs}).ui
        results = run.ui["audio"]
        assert all(
            set(result) == {"filename", "subfolder", "type"} and result["type"] == "output" for result in results
        )
        return [comfy_folders / "output" / result["subfolder"] / result["filename"] for result in results]

    return run


# ---- Save Audio ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [SaveAudio, Spectrogram, Envelope, ExampleClip])
def test_schemas_say_what_execute_takes(node):
    schema = node.GET_SCHEMA()
    assert schema.node_id == f"AceStep{node.__name__}" and schema.category == "ACE-Step/audio" and schema.search_aliases
    assert set(inspect.signature(node.execute).parameters) == {given.id for given in schema.inputs}
    nested = [inner for given in schema.inputs for inner in given.get_all() if given.id != "audioUI"]
    assert [given.id for given in nested if not given.tooltip] == []


@pytest.mark.parametrize("name, depth", [(name, depth) for name in FORMATS for depth in FORMATS[name].subtypes])
def test_every_format_is_saved_with_song_and_workflow(name, depth, save):
    chosen = {"format": name} if depth == formats.LOSSY else {"format": name, "bit_depth": depth}
    (path,) = save(tone(), format=chosen)
    assert path.name == f"song_00001.{name}" and path.parent.name == "audio"
    assert sound_files.read(path).samples.shape == (1, 2, 48000)
    tags = sound_files.read_tags(path)
    assert tags["title"] == "lo-fi beat" and tags["artist"] == "acestep-cascade" and tags["bpm"] == "90"
    assert tags["lyrics"] == SONG.lyrics and json.loads(tags["models"]) == ["tiny-l", "tiny-m"]
    assert json.loads(tags["prompt"]) == HIDDEN["PROMPT"] and tags["prompt"].isascii()
    assert json.loads(tags["workflow"]) == HIDDEN["EXTRA_PNGINFO"]["workflow"]
    assert json.loads(tags["other"]) == {"pack": 1} and [*tags][-1] == "workflow"
    made = read_song(path)
    assert made.song == SONG and made.settings.seed == 5
    assert made.digests == {name: model_digest(TINY_FOLDER / name[-1], "stage") for name in ("tiny-l", "tiny-m")}


def found_by_the_front_end(data: bytes, name: str) -> dict:
    """prompt and workflow of a file, by the rules of ComfyUI's front end 1.49."""
    text = data.decode("latin-1")
    if name == "mp3":
        patterns = {key: rf"{key}\x00(\{{.*?\}})\x00" for key in ("prompt", "workflow")}
        found = {key: re.search(pattern, text, re.DOTALL)[1] for key, pattern in patterns.items()}
    else:
        patterns = {key: rf"{key}=(\{{.*?(\}}.*?\x00))" for key in ("prompt", "workflow")}
        whole = {key: re.search(pattern, text, re.DOTALL)[1] for key, pattern in patterns.items()}
        found = {key: re.search(r"\{.*\}", value)[0] for key, value in whole.items()}
    return {key: json.loads(value) for key, value in found.items()}


@pytest.mark.parametrize("name", ["mp3", "ogg", "opus"])
def test_the_front_end_finds_the_workflow_of_a_dropped_file(name, save):
    (path,) = save(tone(), format={"format": name})
    found = found_by_the_front_end(path.read_bytes(), name)
    assert found == {"prompt": HIDDEN["PROMPT"], "workflow": HIDDEN["EXTRA_PNGINFO"]["workflow"]}


def test_a_long_workflow_leaves_its_prompt_to_be_found_in_ogg(save, monkeypatch):
    monkeypatch.setitem(HIDDEN["EXTRA_PNGINFO"], "workflow", {"nodes": ["x" * 100_000]})
    data = save(tone(), format={"format": "ogg"})[0].read_bytes()
    assert re.search(rb"prompt=(\{.*?\}).{0,4}\x00", data[:60_000], re.DOTALL) and b"workflow=" in data[:60_000]


def test_without_metadata_no_workflow_is_saved(save, monkeypatch):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_metadata", True)
    tags = sound_files.read_tags(save(tone())[0])
    assert "workflow" not in tags and "prompt" not in tags and tags["seed"] == "5"


def test_a_batch_is_a_file_for_each_song_with_its_own_seed(save):
    paths = save(tone(items=3)) + save(tone(items=2), format={"format": "mp3"})
    assert [path.name for path in paths[:3]] == ["song_00001.flac", "song_00002.flac", "song_00003.flac"]
    assert [path.name for path in paths[3:]] == ["song_00004.mp3", "song_00005.mp3"]
    assert [sound_files.read_tags(path)["seed"] for path in paths[:3]] == ["5", "6", "7"]
    assert torch.allclose(sound_files.read(paths[2]).samples, tone(items=3)[2].samples, atol=1e-6)


def test_a_batch_number_in_a_name_never_replaces_a_file(save):
    names = [path.name for _ in range(2) for path in save(tone(items=2), filename_prefix="a_%batch_num%")]
    assert names == ["a_0_00001.flac", "a_1_00001.flac", "a_0_00002.flac", "a_1_00002.flac"]


def test_sound_of_core_nodes_has_only_the_tags_that_are_given(save):
    core = {"waveform": torch.zeros(1, 1, 4800, dtype=torch.float64), "sample_rate": 44100}
    tags = sound_files.read_tags(save(None, audio=core, song=None, title=" Tune ")[0])
    assert {name for name in tags if name not in ("prompt", "workflow", "other")} == {"title"} and tags[
        "title"
    ] == "Tune"


def test_title_and_artist_are_taken(save):
    tags = sound_files.read_tags(save(tone(), title="Rain", artist="Me")[0])
    assert tags["title"] == "Rain" and tags["artist"] == "Me"


def test_loudness_is_reached(save):
    (path,) = save(tone(2.0, level=0.9), loudness={"loudness": "target", "lufs": -20.0})
    assert sound_files.loudness_lufs(sound_files.read(path))[0] == pytest.approx(-20, abs=0.2)


@pytest.mark.parametrize("chosen", [FLAC, {"format": "wav", "bit_depth": "32f"}])
def test_peaks_stay_below_full_scale_and_others_are_untouched(save, chosen):
    (path,) = save(tone(level=3.0), format=chosen)
    assert 0.99 < sound_files.read(path).samples.abs().max() <= 1.0
    (path,) = save(tone(level=0.99), format=chosen)
    assert torch.allclose(sound_files.read(path).samples, tone(level=0.99).samples, atol=1e-6)


@pytest.mark.parametrize(
    "name, rate, channels, kept",
    [
        ("opus", 44100, 2, (48000, 2)),
        ("opus", 11025, 1, (12000, 1)),
        ("mp3", 96000, 2, (48000, 2)),
        ("flac", 44100, 6, (44100, 2)),
        ("wav", 44100, 6, (44100, 6)),
    ],
)
def test_what_a_format_cannot_hold_is_converted(save, name, rate, channels, kept):
    chosen = {"format": name, **({"bit_depth": "24"} if name in ("flac", "wav") else {})}
    (path,) = save(tone(rate=rate, channels=channels), format=chosen)
    made = sound_files.read(path)
    assert soundfile.info(path).channels == kept[1] and made.seconds == pytest.approx(1.0, abs=0.01)
    assert made.sample_rate_hz == kept[0] and made.samples.shape[1] == min(kept[1], 2)


def validated(prefix, **choices):
    """ComfyUI hands over a choice that it knows, with nothing in it."""
    return SaveAudio.validate_inputs(filename_prefix=prefix, **{"format": {}, "loudness": {}, **choices})


@pytest.mark.parametrize("name", ["format", "loudness"])
def test_an_unknown_choice_is_told_before_anything_is_made(name, comfy_folders):
    assert validated("song", **{name: None}).startswith(f"{name}: expected one of ")


UNC = ["//evil/share/x", "\\\\evil\\share\\x", "/\\evil/x", "\\/evil/x"]  # Windows would log in there


@pytest.mark.parametrize(
    "prefix", ["../../evil", "/etc/evil", "a/../../evil", "a\\..\\..\\evil", "", "  ", "audio/", "a\\", "a\0b", *UNC]
)
def test_a_bad_name_is_told_before_anything_is_made(prefix, comfy_folders):
    assert validated(prefix).startswith(f"filename_prefix: got {prefix!r}, ")


@pytest.mark.parametrize("prefix", [None, "song", "a/b/song", "%year%/song_%batch_num%"])
def test_a_good_name_is_none_to_talk_about(prefix, comfy_folders):
    assert validated(prefix) is True


def test_a_path_of_another_machine_is_not_even_looked_at(comfy_folders, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "is_within_directory", lambda *_: pytest.fail("looked"))
    assert all(validated(prefix) for prefix in UNC)


# ---- names -----------------------------------------------------------------------------------------------------------


def test_date_and_widgets_are_filled_in_as_core_does(save):
    prompt = {
        "1": {"class_type": "AceStepSaveAudio", "inputs": {"title": "a/b:c"}, "_meta": {"title": "Save Audio"}},
        "2": {"class_type": "AceStepSong", "inputs": {"bpm": 120, "seconds": 30.5, "caption": ["9", 0]}},
        "3": {"class_type": "AceStepStageL", "inputs": {"stretch.start": 1.0}},
    }
    workflow = {"nodes": [{"id": 2, "title": "My song", "properties": {"Node name for S&R": "Song"}}, {"id": 3}]}
    hidden = {"PROMPT": prompt, "EXTRA_PNGINFO": {"workflow": workflow}}
    prefix = "%date:yyyy-MM-dd%/%date:yy.M.d hh%/%Song.bpm%_%My song.seconds%_%AceStepStageL.stretch.start%"
    now = datetime.datetime.now().astimezone()
    (path,) = save(tone(), hidden=hidden, filename_prefix=prefix + "_%Save Audio.title%_%batch_num%_%year%")
    assert path.parent.name == f"{now.year % 100:02}.{now.month}.{now.day} {now.hour:02}"
    assert path.parent.parent.name == f"{now:%Y-%m-%d}"
    assert path.name == f"120_30.5_1_a_b_c_0_{now.year}_00001.flac"
    assert save.ui["acestep_text"] == [{"lines": []}]


def test_what_cannot_be_filled_in_stays_and_is_noted(save):
    (path,) = save(tone(), filename_prefix="x_%Nobody.bpm%_%oops%_50%")
    assert path.name == "x_%Nobody.bpm%_%oops%_50%_00001.flac"
    assert save.ui["acestep_text"][0]["lines"] == [
        f"filename_prefix: {token} is not filled in, there is no such node or widget"
        for token in ("%Nobody.bpm%", "%oops%")
    ]


def test_a_value_cannot_leave_the_folder(save):
    prompt = {"1": {"class_type": "Evil", "inputs": {"up": "..", "path": "../../x", "back": "..\\x"}}}
    hidden = {"PROMPT": prompt, "EXTRA_PNGINFO": {}}
    with pytest.raises(AceStepError, match="outside ComfyUI's output folder"):
        save(tone(), hidden=hidden, filename_prefix="%Evil.up%/%Evil.up%/x")
    for name in ("path", "back"):
        assert save(tone(), hidden=hidden, filename_prefix=f"%Evil.{name}%")[0].parent.name == "output"


@pytest.mark.parametrize(
    "prefix, name",
    [
        ("song: take 1", "song_ take 1"),
        ('a<b>c"d|e?f*g\x01h', "a_b_c_d_e_f_g_h"),
        ("con/x", "con_/x"),
        ("nul.x", "nul_.x"),
        ("LPT1", "LPT1_"),
        ("console/company", "console/company"),
        ("take. /x", "take/x"),
        ("sub\\x", "sub/x"),
        ("é" * 150, "é" * 100),
        ("日本/語", "日本/語"),
        ("a/../b", "a/../b"),
        ("...", "_"),
    ],
)
def test_names_are_such_as_any_system_can_hold(prefix, name):
    assert names.portable(prefix) == name


def test_files_have_portable_names(save, comfy_folders):
    (path,) = save(tone(), filename_prefix="con/song: take?")
    assert path.relative_to(comfy_folders / "output").as_posix() == "con_/song_ take__00001.flac" and path.is_file()


# ---- rows and previews -----------------------------------------------------------------------------------------------


def test_rows_have_seed_and_loudness_of_each_file(save):
    paths = save(tone(2.0, items=2), loudness={"loudness": "target", "lufs": -20.0})
    rows = save.ui["acestep_sound"]
    assert [row["seed"] for row in rows] == [5, 6] and not any(row["keep"] for row in rows)
    for row, path in zip(rows, paths, strict=True):
        assert row["lufs"] == pytest.approx(sound_files.loudness_lufs(sound_files.read(path))[0], abs=0.1)
    core = {"waveform": torch.zeros(1, 1, 4800), "sample_rate": 44100}
    save(None, audio=core)
    assert save.ui["acestep_sound"] == [{"seed": None, "lufs": None, "keep": False}]


def previewed(run_node, **inputs) -> tuple[list[dict], list[dict]]:
    given = {"filename_prefix": "takes/%batch_num%", "format": FLAC, "loudness": AS_IT_IS, "preview_only": True}
    audio = to_audio(tone(items=2), (5, 6), ("tiny-l",))
    ui = run_node(SaveAudio, HIDDEN, **{**given, "audio": audio, "song": SONG, **inputs}).ui
    return ui["audio"], ui["acestep_sound"]


def test_a_preview_is_played_from_the_temp_folder_until_it_is_kept(run_node, comfy_folders, said):
    files, rows = previewed(run_node)
    assert [file["type"] for file in files] == ["temp", "temp"] and all(row["keep"] for row in rows)
    assert [row["seed"] for row in rows] == [5, 6] and not [*(comfy_folders / "output").iterdir()]
    played = [comfy_folders / "temp" / file["filename"] for file in files]
    kept = song_files.answer_keep({"filename": files[1]["filename"], "subfolder": ""})
    assert kept == {"filename": "1_00001.flac", "subfolder": "takes", "type": "output"}
    saved = comfy_folders / "output" / "takes" / "1_00001.flac"
    assert saved.read_bytes() == played[1].read_bytes() and played[1].is_file()
    assert sound_files.read_tags(saved)["seed"] == "6"
    assert song_files.answer_keep({"filename": files[1]["filename"]}) == kept  # once is enough
    assert len([*(comfy_folders / "output").rglob("*.flac")]) == 1
    saved.unlink()
    assert song_files.answer_keep({"filename": files[1]["filename"]}) == kept and saved.is_file()
    assert song_files.answer_keep({"filename": files[0]["filename"]})["filename"] == "0_00001.flac"


def test_only_previews_can_be_kept(run_node, comfy_folders, said):
    files, _ = previewed(run_node)
    name = files[0]["filename"]
    (comfy_folders / "temp" / "other.flac").write_bytes(b"of another node")
    strange = [{"filename": one} for one in ("other.flac", "../secret", "/etc/passwd", "", None, 7, [name])]
    for query in (*strange, {}, {"filename": name, "subfolder": "../output"}):
        with pytest.raises(UserError, match="filename: got .*, which is no preview of this ComfyUI"):
            song_files.answer_keep(query)
    (comfy_folders / "temp" / name).unlink()
    with pytest.raises(UserError, match="run Save Audio again"):
        song_files.answer_keep({"filename": name})
    assert not [*(comfy_folders / "output").iterdir()]


def test_a_preview_with_a_bad_name_is_told_at_once(run_node, comfy_folders, said):
    with pytest.raises(AceStepError, match="outside ComfyUI's output folder"):
        previewed(run_node, filename_prefix="../evil")


def test_a_preview_that_cannot_be_kept_is_told_and_stays(run_node, comfy_folders, said, monkeypatch):
    files, _ = previewed(run_node)
    (comfy_folders / "output" / "takes").write_text("a file")
    with pytest.raises(AceStepError, match=r"^takes/%batch_num%: could not be kept \(Not a directory\)$"):
        song_files.answer_keep({"filename": files[0]["filename"]})
    assert (comfy_folders / "temp" / files[0]["filename"]).is_file()


def test_a_workflow_that_no_format_holds_does_not_lose_the_song(save, monkeypatch):
    monkeypatch.setitem(HIDDEN["EXTRA_PNGINFO"], "workflow", {"nodes": ["x" * (17 << 20)]})
    (path,) = save(tone())
    tags = sound_files.read_tags(path)
    assert "workflow" not in tags and tags["seed"] == "5" and json.loads(tags["prompt"]) == HIDDEN["PROMPT"]
    assert any("workflow" in line for line in save.ui["acestep_text"][0]["lines"])


# ---- what cannot be saved --------------------------------------------------------------------------------------------


def test_a_song_with_a_bad_name_is_kept(save, comfy_folders):
    with pytest.raises(
        AceStepError, match="outside ComfyUI's output folder; .* is kept as .* until ComfyUI ends"
    ) as exc:
        save(tone(items=2, level=2.0), filename_prefix="../evil")
    kept = sorted((comfy_folders / "temp").iterdir())
    assert [path.name for path in kept] == ["acestep_kept_00001.wav", "acestep_kept_00002.wav"]
    assert all(str(path) in str(exc.value) for path in kept)
    assert torch.equal(sound_files.read(kept[1]).samples, tone(items=2, level=2.0)[1].samples)
    assert sound_files.read_tags(kept[1])["seed"] == "6"


def fail_on(monkeypatch, *fails):
    """The disk is full for files whose path has one of these in it."""
    write = files.write_beside

    def full(path, data):
        if any(word in str(path) for word in fails):
            raise AceStepError(f"{path}: could not be written (No space left on device); free space")
        return write(path, data)

    monkeypatch.setattr(files, "write_beside", full)


def test_a_full_disk_loses_no_song_and_keeps_what_is_saved(save, comfy_folders, monkeypatch):
    fail_on(monkeypatch, "song_00002")
    with pytest.raises(AceStepError, match="No space left on device.*acestep_kept_00001.wav, .*acestep_kept_00002.wav"):
        save(tone(items=3))
    assert [path.name for path in (comfy_folders / "output" / "audio").iterdir()] == ["song_00001.flac"]
    assert len([*(comfy_folders / "temp").iterdir()]) == 2


def test_a_disk_that_is_full_everywhere_is_told(save, monkeypatch):
    fail_on(monkeypatch, "song", "kept")
    with pytest.raises(AceStepError, match="ComfyUI still holds the song: remove the cause and queue again"):
        save(tone())


def test_an_unwritable_folder_is_told(save, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: "temp" in str(path))  # whoever runs this may be root
    with pytest.raises(AceStepError, match="is not writable; .* is kept as"):
        save(tone())


def test_a_folder_that_cannot_be_made_is_told(save, comfy_folders):
    (comfy_folders / "output" / "audio").write_text("a file")
    with pytest.raises(AceStepError, match="acestep_kept_00001.wav"):
        save(tone())


def test_too_short_a_sound_for_its_loudness_is_kept(save):
    with pytest.raises(AceStepError, match="expected at least 0.4 s.*acestep_kept"):
        save(tone(0.2), loudness={"loudness": "target", "lufs": -14.0})


SAVED = {"filename_prefix": "a", "format": FLAC, "loudness": AS_IT_IS}
DRAWN = {"width": 256, "height": 128, "fmax_hz": 8000.0, "range_db": 80.0}
MEASURED = {"fps": 24.0, "frames": 0, "measure": "loudness", "smoothing": 0.1}


@pytest.mark.parametrize("node, inputs", [(SaveAudio, SAVED), (Spectrogram, DRAWN), (Envelope, MEASURED)])
def test_no_sound_is_told(node, inputs, run_node, comfy_folders):
    with pytest.raises(UserError, match="audio: got none"):
        run_node(node, HIDDEN, audio=None, **inputs)


# ---- Spectrogram and Envelope ----------------------------------------------------------------------------------------


def test_a_spectrogram_for_each_song(run_node):
    (image,) = run_node(Spectrogram, audio=to_audio(tone(items=2)), **DRAWN).args
    assert image.shape == (2, 128, 256, 3) and image.dtype == torch.float32 and 0 <= image.min() < image.max() <= 1
    assert not torch.equal(image[0], image[1])


def test_an_envelope_is_a_list_and_its_length(run_node):
    values, frames = run_node(Envelope, audio=to_audio(tone(10.0, items=2)), **MEASURED).args
    assert frames == len(values) == 240 and all(isinstance(value, float) and 0.9 < value <= 1 for value in values)
    assert Envelope.GET_SCHEMA().outputs[0].is_output_list and not Envelope.GET_SCHEMA().outputs[1].is_output_list


# ---- Example Clip ----------------------------------------------------------------------------------------------------


def test_example_clip_is_four_bars_that_end_without_a_fade(run_node, save):
    (clip,) = run_node(ExampleClip).args
    samples, rate_hz = clip["waveform"], clip["sample_rate"]
    assert samples.shape == (1, 2, 12 * rate_hz) and rate_hz == 48000 and samples.dtype == torch.float32
    bars = samples.unflatten(-1, (4, -1)).square().mean((0, 1, 3)).sqrt()
    assert bars.min() > 0.7 * bars.max() and samples.abs().max() < 1
    (file,) = save(None, audio=clip)
    assert torch.allclose(files.read(file).samples, samples, atol=1e-6)

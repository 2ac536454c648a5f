"""Audio Region, and the routes that its waveform asks."""

from importlib.util import find_spec

import pytest
import torch
from acestep_pack.acestep_core.audio.files import read, write
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.song import Song
from acestep_pack.nodes import audio_region, region_routes
from acestep_pack.nodes.audio_region import AudioRegion
from acestep_pack.nodes.sound import STAMP

RATE_HZ = 48000


@pytest.fixture
def audio(comfy_folders, said):
    """A batch of two sounds of ten seconds, whose second is its number in hundredths."""
    seconds = torch.arange(10).repeat_interleave(RATE_HZ) / 100
    return {"waveform": torch.stack([seconds, -seconds])[:, None], "sample_rate": RATE_HZ, STAMP: {"seeds": [1, 2]}}


@pytest.fixture
def clicks(comfy_folders, said):
    """A file of the input folder with a click in every half second, the first one at 0.25 s."""
    sound = torch.zeros(1, 1, 20 * RATE_HZ)
    for start in range(RATE_HZ // 4, 20 * RATE_HZ, RATE_HZ // 2):
        sound[..., start : start + 500] = torch.linspace(1, 0, 500) * (torch.arange(500) % 40 < 20)
    (comfy_folders / "input" / "sub").mkdir()
    return write(comfy_folders / "input" / "sub" / "clicks.flac", Waveform(sound, RATE_HZ))


def test_the_sound_goes_through_and_its_regions_come_out(run_node, audio):
    made = run_node(AudioRegion, audio=audio, regions="2-3, 7.5-end")
    whole, regions, selected, _ = made.result
    assert whole is audio
    assert regions == ((2.0, 3.0), (7.5, None))
    assert selected["waveform"].shape == (2, 1, 3.5 * RATE_HZ) and selected[STAMP] == audio[STAMP]
    assert selected["waveform"][1, 0, [0, RATE_HZ, -1]].tolist() == pytest.approx([-0.02, -0.07, -0.09])


def test_without_regions_all_is_selected(run_node, audio):
    _, regions, selected, _ = run_node(AudioRegion, audio=audio, regions=" ").result
    assert regions == () and torch.equal(selected["waveform"], audio["waveform"])


def test_the_editor_is_given_a_file_once_for_the_same_sound(run_node, audio, comfy_folders, monkeypatch):
    (file,) = run_node(AudioRegion, audio=audio, regions="").ui[audio_region.RESULT]
    path = comfy_folders / "temp" / file["filename"]
    assert file["type"] == "temp" and read(path).samples[0, 0, -1].item() == pytest.approx(0.09, abs=1e-3)
    monkeypatch.setattr(audio_region, "write", lambda *_: pytest.fail("written again"))
    assert run_node(AudioRegion, audio=audio, regions="1-2").ui[audio_region.RESULT] == [file]


@pytest.mark.parametrize(
    "regions, said",
    [
        ("2-30", "the source ends at 10.00 s"),
        ("11-end", "the source ends at 10.00 s"),
        ("3-2", "expected an end at least 0.1 s behind"),
        ("chorus", "expected seconds such as 10-20"),
    ],
)
def test_regions_that_the_sound_does_not_have_are_told(run_node, audio, regions, said):
    with pytest.raises(UserError, match=said):
        run_node(AudioRegion, audio=audio, regions=regions)


def test_bars_without_a_tempo_are_told(run_node, audio, monkeypatch):
    monkeypatch.setattr(audio_region, "beats_of", lambda *_: None)
    with pytest.raises(UserError, match="neither known nor could it be measured; set bpm"):
        run_node(AudioRegion, audio=audio | {"waveform": audio["waveform"] * 0.9}, regions="bars 1-2")


def test_no_sound_at_all_is_told(run_node, said, comfy_folders):
    with pytest.raises(UserError, match="connect something that makes sound, or choose or drop a file"):
        run_node(AudioRegion, regions="")


# ---- a file of its own -----------------------------------------------------------------------------------------------


def test_a_file_is_read_with_its_tempo_from_its_tags(run_node, comfy_folders, said):
    song = Song("calm", bpm=90, time_signature="3/4", seconds=10)
    write(comfy_folders / "input" / "a.flac", Waveform(torch.rand(1, 2, 480_000), RATE_HZ), tags=song_tags(song, {}))
    made = run_node(AudioRegion, regions="bars 2", bpm=0.0, time_signature="auto", file="a.flac")
    whole, ((start, end),), _, bpm = made.result
    assert whole["waveform"].shape == (1, 2, 480_000) and bpm == 90
    assert end - start == pytest.approx(2.0)  # three beats at 90
    assert made.ui[audio_region.RESULT] == [{"filename": "a.flac", "subfolder": "", "type": "input"}]


@pytest.mark.parametrize(
    "name", ["../secret.flac", "/etc/passwd", "absent.flac", "sub", "a\0b", r"\\evil\share\a.flac"]
)
def test_a_file_elsewhere_is_refused_before_it_runs(comfy_folders, name):
    (comfy_folders / "secret.flac").write_bytes(b"")
    (comfy_folders / "input" / "sub").mkdir()
    assert "expected a sound file that is in ComfyUI's folders" in AudioRegion.validate_inputs(file=name)
    assert "expected a sound file" in AudioRegion.fingerprint_inputs(file=name, regions="")


def test_a_file_that_changed_makes_the_node_run_again(clicks):
    before = AudioRegion.fingerprint_inputs(file="sub/clicks.flac", regions="")
    assert AudioRegion.validate_inputs(file="sub/clicks.flac") is True
    clicks.write_bytes(clicks.read_bytes() + b" ")
    assert AudioRegion.fingerprint_inputs(file="sub/clicks.flac", regions="") != before


# ---- routes ----------------------------------------------------------------------------------------------------------

CLICKS = {"filename": "clicks.flac", "subfolder": "sub", "type": "input"}


def test_peaks_are_given_in_the_asked_resolution(clicks):
    told = region_routes.answer_peaks({**CLICKS, "start": "0", "end": "1", "columns": "4"})
    assert told["seconds"] == pytest.approx(20)
    assert [high for _, high in told["pairs"]] == [0, 1000, 0, 1000]
    assert [low for low, _ in told["pairs"]] == [0] * 4


def test_a_file_is_read_once_until_it_changes(clicks, monkeypatch):
    asked = {**CLICKS, "start": "0", "end": "9e15", "columns": "9"}
    first = region_routes.answer_peaks(asked)
    with monkeypatch.context() as patched:
        patched.setattr(region_routes, "peaks_of", lambda _: pytest.fail("read again"))
        assert region_routes.answer_peaks(asked) == first
    write(clicks, Waveform(torch.zeros(1, 1, 3 * RATE_HZ), RATE_HZ))
    assert region_routes.answer_peaks(asked)["seconds"] == pytest.approx(3)


@pytest.mark.skipif(find_spec("librosa") is None, reason="librosa is not installed")
def test_beats_are_measured_where_nobody_knows_them(clicks):
    told = region_routes.answer_beats({**CLICKS, "bpm": "0", "time_signature": "auto"})
    assert told["beat"] == pytest.approx(0.5, rel=0.01) and told["in_bar"] == 4
    assert told["first"] == pytest.approx(0.25, abs=0.06)
    known = region_routes.answer_beats({**CLICKS, "bpm": "60", "time_signature": "3/4"})
    assert (known["beat"], known["in_bar"]) == (1.0, 3)


def test_silence_has_no_beats(comfy_folders):
    write(comfy_folders / "output" / "a.wav", Waveform(torch.zeros(1, 1, 10 * RATE_HZ), RATE_HZ))
    assert region_routes.answer_beats({"filename": "a.wav", "bpm": "0"}) == {}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"filename": "secret.flac", "subfolder": ".."},
        {"filename": "../secret.flac"},
        {"filename": "/etc/passwd"},
        {"filename": "link.flac"},
        {"filename": "sub/clicks.flac", "type": "models"},
        {"filename": "sub/clicks.flac", "columns": "many"},
        {"filename": "sub/clicks.flac", "columns": "1e9"},
        {"filename": "sub/clicks.flac", "start": "nan"},
        {"filename": "sub/clicks.flac", "end": "inf"},
    ],
)
def test_what_is_not_in_comfyuis_folders_is_refused(clicks, comfy_folders, query):
    write(comfy_folders / "secret.flac", Waveform(torch.zeros(1, 1, RATE_HZ), RATE_HZ))
    (comfy_folders / "input" / "link.flac").symlink_to(comfy_folders / "secret.flac")
    with pytest.raises(UserError):
        region_routes.answer_peaks({"type": "input", "start": "0", "end": "1", "columns": "4"} | query)


@pytest.mark.parametrize("query", [{"bpm": "1000"}, {"bpm": "x"}, {"bpm": "0", "time_signature": "9/8"}])
def test_a_tempo_that_is_none_is_refused(clicks, query):
    with pytest.raises(UserError):
        region_routes.answer_beats(CLICKS | query)

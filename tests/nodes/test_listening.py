"""Nodes that listen: the best of several takes, and the times of lyrics."""

import json

import pytest
import torch
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.song import Song
from acestep_pack.nodes import listening, load, song_files
from acestep_pack.nodes.audio import SaveAudio
from acestep_pack.nodes.latents import Latents, to_latent
from acestep_pack.nodes.sound import STAMP, to_audio

SONG = Song("lo-fi", "[Verse]\nneon rain\nhold on", seconds=10, language="en")
RATE = 22_050
HIDDEN = {"PROMPT": {}, "EXTRA_PNGINFO": {}}


def takes() -> dict:
    """Two takes: silence, and a tone."""
    tone = 0.3 * torch.sin(2 * torch.pi * 220 * torch.arange(2 * RATE) / RATE)
    return to_audio(Waveform(torch.stack([0 * tone, tone])[:, None], RATE), (7, 8), ("tiny-l",))


def test_the_best_take_is_handed_on_with_its_seed_and_scores(run_node, said):
    made = run_node(listening.ScoreTakes, audio=takes(), keep=1, song=SONG)
    audio, report, score = made.args
    assert torch.equal(audio["waveform"], takes()["waveform"][1:]) and audio[STAMP]["seeds"] == [8]
    assert audio[STAMP]["models"] == ["tiny-l"] and audio[STAMP]["scores"][0]["total"] == score > 0.5
    lines = report.split("\n")
    assert lines[0].startswith("seed 8: ") and [line[:14] for line in lines[1:]] == ["take 2, seed 8", "take 1, seed 7"]
    assert made.ui["acestep_text"] == [{"lines": lines}]
    both = run_node(listening.ScoreTakes, audio=takes(), keep=5).args[0]
    assert both[STAMP]["seeds"] == [8, 7] and len(both["waveform"]) == 2


def test_scores_go_into_the_tags(run_node, said, comfy_models):
    from acestep_pack.nodes.audio import tags_of

    audio = run_node(listening.ScoreTakes, audio=takes(), keep=2).args[0]
    tags = tags_of(audio, SONG, "", "")
    assert json.loads(tags[0]["scores"])["total"] > json.loads(tags[1]["scores"])["total"]
    assert "scores" not in tags_of(takes(), SONG, "", "")[0]


def test_lines_have_times(run_node, said, comfy_models):
    model, encoder = (
        run_node(node, **{name: which, "dtype": "auto"}).args[0]
        for node, name, which in (
            (load.LoadStageModel, "model", "tiny-s"),
            (load.LoadTextEncoder, "text_encoder", "tiny-text"),
        )
    )
    given = {"model": model, "text_encoder": encoder, "song": SONG, "words": False}
    latent = to_latent(Latents(torch.randn(2, 8, 300), seconds=10.0))
    made = run_node(listening.LyricTimestamps, latent=latent, **given)
    texts, none = made.args
    assert none is None and len(texts) == 2 and [line[10:] for line in texts[0].split("\n")] == ["neon rain", "hold on"]
    (shown,) = made.ui["acestep_text"]
    assert any("not known which attention heads" in line for line in shown["lines"])
    with pytest.raises(UserError, match="half made"):
        run_node(listening.LyricTimestamps, latent=to_latent(Latents(torch.randn(1, 8, 300), 0.5)), **given)
    with pytest.raises(UserError, match="^lyrics: the song has none"):
        run_node(listening.LyricTimestamps, latent=latent, **{**given, "song": Song("x")})


def test_sound_is_handed_on_with_the_times_of_its_lyrics(run_node, said, comfy_folders, comfy_models):
    audio = listening.timed(takes(), ["[00:01.00]neon rain", "[00:02.50]hold on"])
    assert torch.equal(audio["waveform"], takes()["waveform"]) and audio[STAMP]["seeds"] == [7, 8]
    best = run_node(listening.ScoreTakes, audio=audio, keep=1, song=SONG).args[0]
    asked = {"filename_prefix": "sung/%batch_num%", "format": {"format": "mp3"}, "loudness": {"loudness": "as it is"}}
    run_node(SaveAudio, HIDDEN, audio=best, song=SONG, **asked)
    written = comfy_folders / "output" / "sung" / "0_00001.mp3"
    assert read_tags(written)["syncedlyrics"] == "[00:02.50]hold on"
    assert written.with_suffix(".lrc").read_text() == "[00:02.50]hold on\n"
    ui = run_node(SaveAudio, HIDDEN, audio=audio, song=SONG, preview_only=True, **asked).ui
    assert not [*(comfy_folders / "temp").glob("*.lrc")]
    kept = song_files.answer_keep({"filename": ui["audio"][0]["filename"]})
    lrc = (comfy_folders / "output" / "sung" / kept["filename"]).with_suffix(".lrc")
    assert lrc.read_text() == "[00:01.00]neon rain\n"
    with pytest.raises(UserError, match="^audio: got 2 songs, expected 1 as in latent"):
        listening.check_same_songs(takes(), Latents(torch.randn(1, 8, 300)))

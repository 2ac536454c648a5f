"""The Song node: languages by name and by code, and how many tokens its texts have."""

import pytest
from acestep_pack.acestep_core.checkpoints.load import load_tokenizer
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import LANGUAGES, Song
from acestep_pack.nodes import model_choice, song
from comfyui_tests import published

GIVEN = {"caption": "lo-fi", "lyrics": "[Verse]\nla la la", "seconds": 10.0, "bpm": 0, "key": "auto"}
GIVEN |= {"time_signature": "auto", "language": "auto"}


def languages() -> list[str]:
    return next(one.options for one in song.SongNode.GET_SCHEMA().inputs if one.id == "language")


def test_every_language_has_a_name_in_the_list(run_node, said):
    auto, *names = languages()
    assert auto == "auto" and names == sorted(names) and "English" in names and "en" not in names
    codes = [run_node(song.SongNode, **{**GIVEN, "language": name}).args[0].language for name in names]
    assert sorted([*codes, "unknown"]) == sorted(LANGUAGES)


def test_saved_workflows_hold_codes(run_node):
    assert song.SongNode.validate_inputs(language="en") is True
    assert run_node(song.SongNode, **{**GIVEN, "language": "en"}).args[0].language == "en"
    assert song.SongNode.validate_inputs(language=None) is True  # through a link
    assert song.SongNode.validate_inputs(language="Klingon").startswith("language: got 'Klingon'")


def test_an_empty_caption_is_one_error(run_node):
    with pytest.raises(UserError, match="^caption: is empty; describe the song"):
        run_node(song.SongNode, **{**GIVEN, "caption": " "})


def test_tokens_are_those_that_the_text_encoder_reads(comfy_models):
    tokenizer = load_tokenizer(TINY_FOLDER / "text_encoder")
    asked = Song("lo-fi with piano", "[Verse]\nla la\nlu", bpm=90, language="en", seconds=30)
    given = {"caption": asked.caption, "lyrics": asked.lyrics, "bpm": 90, "language": "English", "seconds": 30}
    told = song.answer_tokens(given)
    assert told == {
        "caption": {"tokens": len(tokenizer.encode(text_prompt(asked)).ids), "most": 256},
        "lyrics": {"tokens": len(tokenizer.encode(lyrics_prompt(asked)).ids), "most": 2048},
        "text_encoder": "tiny-text",
    }
    assert song.answer_tokens({**given, "lyrics": asked.lyrics * 9})["lyrics"]["tokens"] > told["lyrics"]["tokens"]
    assert song.answer_tokens({})["lyrics"]["tokens"] > 0  # a new node, or one with links


def test_tokens_are_counted_by_the_text_encoder_that_is_linked(comfy_models):
    published.lay_out_files(comfy_models)
    given = {"lyrics": "ab ab"}
    named = song.answer_tokens({**given, "text_encoder": published.TEXT_ENCODER})
    auto = song.answer_tokens({**given, "text_encoder": "auto", "model": published.STAGE})
    assert named["text_encoder"] == auto["text_encoder"] == published.TEXT_ENCODER and named == auto
    assert song.answer_tokens({**given, "text_encoder": "auto", "model": "tiny-l"})["text_encoder"] == "tiny-text"
    assert named["lyrics"] != song.answer_tokens(given)["lyrics"]


@pytest.mark.parametrize("choice", ["../../etc/passwd", "gone", "Qwen3-Embedding-0.6B (download, 1.2 GB)", 7])
def test_a_text_encoder_that_is_not_here_is_told(choice, comfy_models):
    with pytest.raises(UserError, match=f"^{model_choice.plain(choice).replace('.', '[.]')} "):
        song.answer_tokens({"text_encoder": choice})


@pytest.mark.parametrize("given", [{"lyrics": 7}, {"bpm": "many"}, {"language": "xx"}, {"seconds": 10**400}])
def test_a_song_that_there_is_not_is_told(given, comfy_models):
    with pytest.raises(UserError, match=f"^{next(iter(given))}: got "):
        song.answer_tokens(given)


def test_findings_on_lyrics_are_notes_on_the_node(run_node, said):
    right = {**GIVEN, "lyrics": "[Verse]\nneon rain on the window", "language": "en"}
    assert run_node(song.SongNode, **right).ui["acestep_text"] == [{"lines": []}]
    made = run_node(song.SongNode, **{**right, "lyrics": "Verse 1:\nneon rain on the window"})
    assert made.ui["acestep_text"] == [{"lines": ["lyrics, line 1: 'Verse 1:' would be sung; write [Verse 1]"]}]

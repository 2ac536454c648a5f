"""Planner nodes: the answers and songs of the command line, Cancel, wrong wires, planners that are not here, labels."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from acestep_pack.acestep_core import Cascade, Planner, Song
from acestep_pack.acestep_core.audio.files import write
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.checkpoints.locate import LocalModel
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.generation.settings import read_song
from acestep_pack.acestep_core.models.defaults import ALL_TASKS
from acestep_pack.acestep_core.planner.audio_codes import codes_of_audio
from acestep_pack.acestep_core.planner.planned_song import PlannedSong
from acestep_pack.acestep_core.planner.requests import PlanSong, UnderstandAudio
from acestep_pack.acestep_core.planner.sampling import Sampling
from acestep_pack.acestep_core.training.dataset import read_dataset
from acestep_pack.nodes import (
    audio,
    edit_nodes,
    label_clips,
    latents,
    load,
    plan_nodes,
    planner,
    planner_widgets,
    play_score,
    song,
    stages,
    understand,
    vocoder,
)
from acestep_pack.nodes.host import messages
from acestep_pack.nodes.sound import to_audio
from core_tests.conftest import save_tiny_stage, save_tiny_text_encoder, save_tiny_vocoder

PLANNER = Path(__file__).resolve().parents[1] / "golden_tasks" / "lm_a"
SONG = Song("lo-fi beat", "[Verse]\nla la", bpm=90, seconds=10)
HOW = {"seed": 5, "temperature": 0.85, "top_p": 0.9, "top_k": 0}
PLAN = {**HOW, "choose_length": False, "codes": True, "codes_strength": 1.0, "guidance": 2.0, "negative": ""}
WRITE = {**HOW, "line": "a slow song", "instrumental": False, "seconds": 12.0, "bpm": 0}
WRITE |= {"key": "auto", "time_signature": "3/4", "language": "auto"}
STAGE = {"steps": 0, "stretch": {"stretch": "auto"}, "guidance": {"guidance": "auto"}, "solver": "euler", "shift": 0.0}
NODES = (stages.StageL, stages.StageM, stages.StageS)
SAVE = {
    "filename_prefix": "song",
    "format": {"format": "flac", "bit_depth": "16"},
    "loudness": {"loudness": "as it is"},
}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A small family whose stages have audio tokenizers."""
    folder = tmp_path_factory.mktemp("family")
    for seed, slot in enumerate("lms"):
        save_tiny_stage(folder / slot, seed, (8, 8, 8), tasks=list(ALL_TASKS))  # the planner knows 512 codes
    save_tiny_text_encoder(folder / "text_encoder")
    save_tiny_vocoder(folder / "vae")
    return folder


@pytest.fixture
def handle(comfy_models, said):
    with torch.inference_mode():
        return planner.load_planner(LocalModel("lm_a", PLANNER), "auto")


@pytest.fixture
def parts(comfy_models, family):
    with torch.inference_mode():
        models = [load.load_model(LocalModel(slot, family / slot), "auto") for slot in "lms"]
        encoder = load.load_encoder(LocalModel("text", family / "text_encoder"), "auto")
        return models, encoder, load.load_vocoder(LocalModel("vae", family / "vae"))


@pytest.fixture(scope="module")
def own():
    return Planner.load(PLANNER, device="cpu", cache=False)


def music(seconds=6.0, hertz=220):
    t = torch.arange(round(48_000 * seconds)) / 48_000
    return Waveform((0.3 * torch.sin(2 * torch.pi * hertz * t) * (1 - t * 4 % 1))[None, None], 48_000)


# ---- the same as on the command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_planned_graph_makes_the_samples_and_tags_of_a_planned_cascade(
    run_node, handle, parts, family, own, comfy_folders, strength
):
    models, encoder, voice = parts
    given = {"planner": handle, "song": SONG, "vocoder": voice, **PLAN, "codes_strength": strength}
    asked, reference, text = run_node(plan_nodes.PlanSong, **given).args
    plan = own.plan(SONG, seed=5)
    assert (asked.song, asked.codes) == (plan.song, plan.codes) and text.splitlines() == plan.lines()
    (states,) = run_node(song.TextEncode, text_encoder=encoder, song=asked).args
    (latent,) = run_node(latents.EmptyLatent, vocoder=voice, song=asked, batch_size=2).args
    for node, model in zip(NODES, models, strict=True):
        given = {"model": model, "text": states, "latent": latent, "seed": 7, "reference": reference}
        latent, _ = run_node(node, **given, **STAGE).args
    decoded = run_node(vocoder.Vocode, vocoder=voice, latent=latent)
    expected = Cascade.load(family, device="cpu").generate(
        PlannedSong(plan.song, plan.codes, strength), seed=7, count=2
    )
    assert torch.equal(decoded.args[0]["waveform"], expected.samples)
    assert decoded.ui["acestep_text"] == [{"lines": []}]
    run_node(audio.SaveAudio, audio=decoded.args[0], song=asked, **SAVE)
    saved = read_song(sorted((comfy_folders / "output").glob("*.flac"))[1])
    assert saved.song == plan.song and saved.settings.codes == plan.codes
    assert (saved.settings.planner, saved.settings.planner_seed, saved.settings.seed) == ("lm_a", 5, 8)
    assert saved.settings.codebook == plan.codebook == 512
    assert saved.settings.codes_strength == (None if strength == 1 else strength)


def test_a_song_is_filled_in_written_and_put_in_better_words_as_on_the_command_line(run_node, handle, own):
    filled, reference, _ = run_node(plan_nodes.PlanSong, planner=handle, song=SONG, **PLAN | {"codes": False}).args
    assert filled == own.plan(SONG, codes=False, seed=5).song and reference is None
    written, text = run_node(plan_nodes.WriteSong, planner=handle, **WRITE).args
    plan = own.write("a slow song", given=Song("", "", seconds=12, time_signature="3"), seed=5)
    assert written == plan.song and plan.song.lyrics in text
    better, _ = run_node(plan_nodes.RewriteSong, planner=handle, song=SONG, choose_length=False, **HOW).args
    assert better == own.rewrite(SONG, seed=5).song


def test_music_is_described_as_on_the_command_line(run_node, handle, parts, family, own):
    models, _, voice = parts
    links = {"planner": handle, "model": models[0], "vocoder": voice, "audio": to_audio(music())}
    found, _ = run_node(understand.UnderstandAudio, **links, **HOW).args
    codes = codes_of_audio(music(), find_cascade(family))
    plan = own.understand(codes, seed=5, sampling=Sampling())
    assert found == plan.song and found.seconds == 10  # the shortest that a song can be


def test_values_of_a_song_can_be_replaced(run_node, said):
    kept = {"caption": "", "lyrics": "", "seconds": 0.0, "bpm": 0}
    kept |= dict.fromkeys(("key", "time_signature", "language"), song.AS_IT_IS)
    assert run_node(song.EditSong, song=SONG, **kept).args == (SONG,)
    (made,) = run_node(song.EditSong, song=SONG, **kept | {"lyrics": "oh", "bpm": 120, "key": "A minor"}).args
    assert made == Song("lo-fi beat", "oh", bpm=120, key="A minor", seconds=10)


# ---- while it runs ---------------------------------------------------------------------------------------------------


def test_cancel_holds_within_a_token_and_the_planner_goes_on_afterwards(run_node, handle, own, monkeypatch):
    tokens = []

    def cancelled():
        tokens.append(1)
        if len(tokens) == 3:
            raise messages.Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(messages, "check_cancelled", cancelled)
        with pytest.raises(messages.Cancelled):
            run_node(plan_nodes.RewriteSong, planner=handle, song=SONG, choose_length=False, **HOW)
    assert len(tokens) == 3
    better, _ = run_node(plan_nodes.RewriteSong, planner=handle, song=SONG, choose_length=False, **HOW).args
    assert better == own.rewrite(SONG, seed=5).song


def test_tokens_a_second_are_shown_and_caches_are_given_back(run_node, handle, parts, said, monkeypatch):
    monkeypatch.setattr(planner, "SHOWN_EVERY_S", 0.0)
    run_node(plan_nodes.PlanSong, planner=handle, song=SONG, vocoder=parts[2], **PLAN)
    assert any(line.startswith("codes: 50 of 50 tokens, ") and "tokens/s" in line for line in said)
    assert any(line.startswith("key: ") for line in said[-1].splitlines())
    assert handle.planner._prompts == {} and handle.planner._model is None


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def planned(run_node, handle, parts):
    return run_node(plan_nodes.PlanSong, planner=handle, song=SONG, vocoder=parts[2], **PLAN).args


def test_wires_of_a_plan_that_do_not_fit_are_one_clean_error(run_node, planned, parts):
    models, encoder, voice = parts
    asked, reference, _ = planned
    texts = [run_node(song.TextEncode, text_encoder=encoder, song=one).args[0] for one in (asked, SONG)]
    (latent,) = run_node(latents.EmptyLatent, vocoder=voice, song=asked, batch_size=1).args
    (longer,) = run_node(latents.EmptyLatent, vocoder=voice, song=Song("x", seconds=12), batch_size=1).args
    for text, source, empty, said in (
        (texts[0], None, latent, "not of one plan"),
        (texts[1], reference, latent, "not of one plan"),
        (texts[0], reference, longer, "got a latent of"),
    ):
        with pytest.raises(UserError, match=said):
            run_node(NODES[0], model=models[0], text=text, latent=empty, seed=1, reference=source, **STAGE)


def test_a_song_with_codes_is_not_edited(run_node, planned, parts, handle):
    asked, reference, _ = planned
    edit = {"vocoder": parts[2], "audio": to_audio(music()), "batch_size": 1}
    cover = {"structure": 1.0, "closeness": 0.0, "codes": True}
    with pytest.raises(UserError, match="switch `codes` off in Plan Song"):
        run_node(edit_nodes.Cover, song=asked, **edit, **cover)
    with pytest.raises(UserError, match="audio codes"):
        run_node(play_score.PlayScore, score="example", instrument="as written", song=asked)
    with pytest.raises(UserError, match="audio codes"):
        run_node(plan_nodes.PlanSong, planner=handle, song=asked, vocoder=parts[2], **PLAN)
    with pytest.raises(UserError, match="has a source"):
        run_node(plan_nodes.PlanSong, planner=handle, song=SONG, vocoder=parts[2], reference=reference, **PLAN)
    with pytest.raises(UserError, match="vocoder: is not connected"):
        run_node(plan_nodes.PlanSong, planner=handle, song=SONG, **PLAN)


def test_models_without_an_audio_tokenizer_are_named(run_node, handle, planned, parts, tmp_path):
    save_tiny_stage(tmp_path / "bare", 1)
    with torch.inference_mode():
        tiny = load.load_model(LocalModel("bare", tmp_path / "bare"), "auto")
    links = {"planner": handle, "model": tiny, "vocoder": parts[2], "audio": to_audio(music())}
    with pytest.raises(CheckpointError, match="audio_tokenizer"):
        run_node(understand.UnderstandAudio, **links, **HOW)


def test_a_planner_of_another_family_is_named(run_node, handle, parts, tmp_path):
    save_tiny_stage(tmp_path / "other", 1, tasks=list(ALL_TASKS))
    with torch.inference_mode():
        other = load.load_model(LocalModel("other", tmp_path / "other"), "auto")
    given = {"planner": handle, "model": other, "vocoder": parts[2], "audio": to_audio(music())}
    with pytest.raises(UserError, match="in codes of 64,000 kinds, and the planner knows 512; .* of one family"):
        run_node(understand.UnderstandAudio, **given, **HOW)


def test_of_an_absent_planner_the_node_says_how_to_download_it(run_node, comfy_models, said):
    loader = {"dtype": "auto", "quantise": "none"}
    with pytest.raises(UserError, match="models download acestep-5Hz-lm-0.6B") as told:
        run_node(planner.LoadPlanner, planner="acestep-5Hz-lm-0.6B", **loader)
    assert "\n" not in str(told.value)
    with pytest.raises(CheckpointError, match="is no planner"):
        run_node(planner.LoadPlanner, planner="tiny-l", **loader)


def test_planners_of_comfyuis_folders_are_listed_and_auto_takes_one(run_node, comfy_models, said):
    (loaded,) = run_node(planner.LoadPlanner, planner="auto", dtype="auto", quantise="none").args
    assert loaded.planner.name == "tiny-planner"
    shutil.copytree(PLANNER, comfy_models / "acestep" / "my-planner")
    schema = planner.LoadPlanner.define_schema()
    options = next(one.options for one in schema.inputs if one.id == "planner")
    assert options[:3] == ["auto", "tiny-planner", "my-planner"] and any(
        "acestep-5Hz-lm-4B (download, 8" in one for one in options
    )
    (loaded,) = run_node(planner.LoadPlanner, planner="auto", dtype="bf16", quantise="none").args
    assert loaded.planner.name == "my-planner" and loaded.planner.model.dtype == torch.bfloat16


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_clips_without_labels_are_labelled_and_no_label_of_the_user_is_touched(run_node, handle, parts, comfy_folders):
    folder = comfy_folders / "input" / "clips"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        write(folder / f"{name}.flac", music(5.0, 110 * (1 + number)))
    write(folder / "silent.flac", Waveform(torch.zeros(1, 1, 48_000), 48_000))
    (folder / "b.txt").write_text("my own caption")
    (folder / "c.lyrics.txt").write_text("[Verse]\nmine")
    links = {"planner": handle, "model": parts[0][0], "vocoder": parts[2], "folder": "clips", **HOW}
    (report,) = run_node(label_clips.LabelClips, **links).args
    lines = report.splitlines()
    assert len(lines) == 2 and "silent.flac: not labelled: " in lines[1]
    assert (folder / "b.txt").read_text() == "my own caption" and not (folder / "c.txt").exists()
    found = understand_clip(run_node, links, music(5.0, 110))
    read = {clip.path.name: clip for clip in read_dataset(folder).clips}
    label = read["a.flac"].labels
    assert label["caption"] == " ".join(found.caption.split()) and (label["bpm"], label["key"]) == (
        found.bpm,
        found.key,
    )
    assert label["lyrics"] == found.lyrics.strip() and str(label["time_signature"]) == found.time_signature
    (again,) = run_node(label_clips.LabelClips, **links).args
    assert again.splitlines() == lines[1:]


def understand_clip(run_node, links, wave):
    links = {name: value for name, value in links.items() if name != "folder"}
    return run_node(understand.UnderstandAudio, audio=to_audio(wave), **links).args[0]


def test_words_are_drawn_at_the_planners_own_temperature_unless_the_widget_says_another():
    embedded = SimpleNamespace(planner=Planner.load("tiny-planner", device="cpu", cache=False))
    own = embedded.planner.files.text_temperature
    filters = {"top_p": 0.9, "top_k": 0, "guidance": 2.0}
    for request, usual in ((PlanSong(SONG), 0.85), (UnderstandAudio((1, 2)), 0.3)):
        as_it_is = planner_widgets.sampling_of(embedded, request, temperature=usual, **filters)
        assert (as_it_is.temperature, as_it_is.of_text.temperature) == (usual, own)
        changed = planner_widgets.sampling_of(embedded, request, temperature=0.5, **filters)
        assert changed.temperature == changed.of_text.temperature == 0.5 and changed.guidance == 2.0

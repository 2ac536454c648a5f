"""Edits in the graph: the samples of the command line to the bit, and one clean error for each wrong wire."""

import dataclasses
import math

import pytest
import torch
from acestep_pack.acestep_core import Cascade, Edit, Song
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.locate import LocalModel
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.nodes import edit_nodes, edits, latents, load, play_score, reference, song, stages, stems, vocoder
from acestep_pack.nodes.sound import to_audio
from core_tests.conftest import save_taught_family

RATE, SECONDS, SEED = 16000, 6.3, 7
SONG = Song("lo-fi beat", lyrics="la la", bpm=120, seconds=10)
SOUL = Song("soul", lyrics="oh", seconds=10)
STAGE = {
    "steps": 0,
    "stretch": {"stretch": "auto"},
    "guidance": {"guidance": "auto"},
    "solver": "euler",
    "shift": 0.0,
}
NODES = (stages.StageL, stages.StageM, stages.StageS)
COVER = {"structure": 1.0, "closeness": 0.0, "codes": True}
REPAINT = {"regions": "1-2.5, 4-5", "strength": 0.5}
MORPH = {"source_song": SOUL, "morph_begin": 0.0, "morph_end": 1.0, "averages": 1}

# What is edited -> node, its widgets, and the edit of the command line that makes the same.
EDITS = {
    "cover": (edit_nodes.Cover, COVER, Edit("cover")),
    "cover with both strengths": (
        edit_nodes.Cover,
        COVER | {"structure": 0.5, "closeness": 0.3},
        Edit("cover", structure=0.5, closeness=0.3),
    ),
    "cover that begins in the last stage": (
        edit_nodes.Cover,
        COVER | {"codes": False, "closeness": 0.6, "structure": 0.5},
        Edit("cover", codes=False, closeness=0.6, structure=0.5),
    ),
    "repaint": (edit_nodes.Repaint, REPAINT, Edit("repaint", regions=((1.0, 2.5), (4.0, 5.0)))),
    "repaint at another strength": (
        edit_nodes.Repaint,
        {"regions": "", "drawn": ((2.0, None),), "strength": 0.3},
        Edit("repaint", regions=((2.0, None),), strength=0.3),
    ),
    "extend": (
        edit_nodes.Extend,
        {"before": 2.02, "after": 3.0, "strength": 0.0},
        Edit("extend", before=2.02, after=3),
    ),
    "one more stem": (
        stems.AddStem,
        {"track": "bass", "regions": "1-3", "mix": True},
        Edit("lego", tracks=("bass",), regions=((1.0, 3.0),), mix=True),
    ),
    "accompaniment": (
        stems.Complete,
        {"tracks": "drums, Backing vocals"},
        Edit("complete", tracks=("drums", "backing_vocals")),
    ),
    "morph": (
        edit_nodes.Morph,
        MORPH | {"morph_begin": 0.2, "morph_end": 0.7, "averages": 2},
        Edit("morph", from_caption="soul", from_lyrics="oh", morph_begin=0.2, morph_end=0.7, averages=2),
    ),
}
each_edit = pytest.mark.parametrize("name", EDITS)


def music(seconds=SECONDS):
    """Chords that change, with some noise."""
    t = torch.arange(round(seconds * RATE)) / RATE
    hum = sum(torch.sin(2 * math.pi * hz * t * (1 + 0.02 * t)) for hz in (110, 277, 440)) / 3
    noise = torch.randn(2, len(t), generator=torch.Generator().manual_seed(3))
    return Waveform((0.4 * (0.8 * hum + 0.05 * noise))[None], RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small family with audio tokenizers, of models that know every task."""
    return save_taught_family(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def cascade(folder):
    return Cascade.load(folder, device="cpu")


@pytest.fixture
def graph(run_node, said, comfy_models, folder):
    class Graph:
        def __init__(self):
            self.run = run_node
            with torch.inference_mode():
                self.models = [load.load_model(LocalModel(slot, folder / slot), "auto") for slot in "lms"]
                self.encoder = load.load_encoder(LocalModel("text", folder / "text_encoder"), "auto")
                self.vocoder = load.load_vocoder(LocalModel("vae", folder / "vae"))

        def edit(self, node, wave=None, **given):
            links = {"vocoder": self.vocoder, "song": SONG, "audio": to_audio(wave or music()), "batch_size": 1}
            return run_node(node, **links | given).args

        def named(self, name, **given):
            node, settings, _ = EDITS[name]
            return self.edit(node, **settings | given)

        def text(self, asked):
            return run_node(song.TextEncode, text_encoder=self.encoder, song=asked).args[0]

        def stage(self, slot, text, latent, source, seed=SEED, **given):
            links = {"model": self.models[slot], "text": text, "latent": latent, "seed": seed, "reference": source}
            return run_node(NODES[slot], **links, **(STAGE | given)).args

        def all_stages(self, text, latent, source, **given):
            for slot in range(3):
                latent, x0 = self.stage(slot, text, latent, source, **given)
            assert torch.equal(latent["samples"], x0["samples"])
            return latent

        def sound(self, asked, source, latent, **given):
            made = self.all_stages(self.text(asked), latent, source, **given)
            self.ui = (decoded := run_node(vocoder.Vocode, vocoder=self.vocoder, latent=made, reference=source)).ui
            return decoded.args[0]["waveform"]

    return Graph()


# ---- the same as on the command line ---------------------------------------------------------------------------------


@each_edit
def test_a_graph_makes_the_samples_of_the_command_line(graph, cascade, name):
    made = graph.sound(*graph.named(name, batch_size=2)[:2], graph.named(name, batch_size=2)[2])
    expected = cascade.edit(EDITS[name][2], music(), SONG, seed=SEED, count=2).samples
    assert torch.equal(made, expected)


def test_the_seed_of_the_first_stage_is_that_of_the_song(graph):
    asked, source, latent = graph.named("cover with both strengths")
    text = graph.text(asked)
    first, _ = graph.stage(0, text, latent, source)
    alike = [graph.stage(1, text, first, source, seed=seed)[0]["samples"] for seed in (SEED, SEED + 1)]
    assert torch.equal(*alike)
    others = [graph.stage(1, text, first, source, seed=seed, solver="sde")[0]["samples"] for seed in (SEED, SEED + 1)]
    assert not torch.equal(*others)


def test_a_stage_before_the_beginning_hands_on_the_source(graph):
    asked, source, latent = graph.named("cover that begins in the last stage")
    handed, x0 = graph.stage(0, graph.text(asked), latent, source)
    first = latents.of_latent(handed)
    assert first.run.start is None and first.models == () and first.t == pytest.approx(0.8333, abs=1e-4)
    assert torch.equal(x0["samples"], source.source.music(source.source.frames))


def test_stems_come_one_after_the_other(graph, cascade):
    asked, sources, empty, names = graph.edit(stems.ExtractStem, tracks="drums, vocals", song=None)
    assert names == ["drums", "vocals"] and len(asked) == len(sources) == len(empty) == 2
    expected = cascade.extract(music(), "vocals", seed=SEED).samples
    assert torch.equal(graph.sound(asked[1], sources[1], empty[1]), expected)
    with pytest.raises(UserError, match="the text and the reference are not of one edit"):
        graph.sound(asked[0], sources[1], empty[0])


@pytest.mark.parametrize("edited", [False, True])
def test_retakes_are_those_of_the_command_line(graph, cascade, edited):
    if edited:
        asked, source, latent = graph.named("repaint")
        expected = dataclasses.replace(EDITS["repaint"][2], amount=0.4, retake_seed=10)
        expected = cascade.edit(expected, music(), SONG, seed=SEED).samples
    else:
        asked, source = SONG, None
        (latent,) = graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=SONG, batch_size=1).args
        expected = cascade.retake(SONG, seed=SEED, retake_seed=10, amount=0.4).samples
    (varied,) = graph.run(edit_nodes.Retake, reference=source, amount=0.4, seed=9, count=2).args
    assert len(varied) == 2
    made = [graph.sound(asked, one, latent) for one in varied]
    assert torch.equal(made[1], expected) and not torch.equal(made[0], made[1])


def test_a_continuation_can_be_varied(graph, cascade):
    clip = music(2.0)
    links = {"vocoder": graph.vocoder, "audio": to_audio(clip), "use": "continuation"}
    (begun,) = graph.run(reference.ReferenceEncode, **links).args
    ((varied,),) = graph.run(edit_nodes.Retake, reference=begun, amount=0.4, seed=9, count=1).args
    (latent,) = graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=SONG, batch_size=1).args
    expected = cascade.retake(SONG, seed=SEED, retake_seed=9, amount=0.4, continue_from=clip).samples
    assert torch.equal(graph.sound(SONG, varied, latent), expected)


def test_a_songs_own_latents_are_its_source(graph, cascade):
    (empty,) = graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=SONG, batch_size=1).args
    finished = graph.all_stages(graph.text(SONG), empty, None)
    (sound,) = graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=finished).args
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(graph.vocoder.vocoder), "encode", None)
        asked, source, latent = graph.edit(edit_nodes.Repaint, audio=sound, latent=finished, **REPAINT)
    assert torch.equal(source.source.latents, finished["samples"])
    made = graph.sound(asked, source, latent)
    assert torch.equal(made[..., : RATE - 1], sound["waveform"][..., : RATE - 1])


def test_another_strength_encodes_nothing(graph, monkeypatch):
    graph.named("repaint")
    monkeypatch.setattr(type(graph.vocoder.vocoder), "encode", None)
    graph.named("repaint", strength=0.9)
    with pytest.raises(TypeError):
        graph.named("repaint", audio=to_audio(music(5.5)))


def test_timbre_and_edit_go_together(graph, cascade):
    clip = music(3.0)
    (heard,) = graph.run(reference.ReferenceEncode, vocoder=graph.vocoder, audio=to_audio(clip), use="timbre").args
    expected = cascade.edit(EDITS["cover"][2], music(), SONG, seed=SEED, reference=[clip]).samples
    asked, source, latent = graph.named("cover", reference=heard)
    assert torch.equal(graph.sound(asked, source, latent), expected)


def test_bars_are_counted_at_the_songs_tempo(graph, said):
    _, source, _ = graph.named("repaint", regions="bars 2, 5-6")
    start, end = source.edit.regions[0]
    assert end - start == pytest.approx(2.0) and source.edit.regions[1] == (5.0, 6.0)
    assert any("bars are counted at 120 bpm" in line for line in said)


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_a_score_is_played_and_fills_a_song_in(run_node, said, comfy_folders):
    sound, filled = run_node(play_score.PlayScore, score="example", instrument="as written").args
    assert sound["sample_rate"] == 48_000 and sound["waveform"].abs().max() > 0.1
    assert (filled.bpm, filled.key, filled.time_signature) == (100, "G major", "4")
    assert filled.caption == "acoustic guitar, flute"
    assert filled.seconds == pytest.approx(sound["waveform"].shape[-1] / 48_000)
    assert said[-1].endswith("s, 100 bpm, G major, 4 beats in a bar")
    own = Song("soul ballad", bpm=90, seconds=60)
    kept = run_node(play_score.PlayScore, score="example", instrument="piano", song=own).args[1]
    assert (kept.caption, kept.bpm, kept.key, kept.seconds) == ("soul ballad", 90, "G major", filled.seconds)


def test_scores_are_those_of_the_input_folder(run_node, comfy_folders):
    (comfy_folders / "input" / "broken.MID").write_bytes(b"MThd")
    (comfy_folders / "secret.mid").write_bytes(b"")
    assert play_score.choices() == ["example", "example melody", "broken.MID"]
    assert play_score.PlayScore.validate_inputs(score="broken.MID") is True
    for name in ("../secret.mid", str(comfy_folders / "secret.mid"), "none.mid"):
        assert "which is no MIDI file in" in play_score.PlayScore.validate_inputs(score=name)
        with pytest.raises(UserError, match="which is no MIDI file in"):
            run_node(play_score.PlayScore, score=name, instrument="as written")
    with pytest.raises(UserError, match="broken.MID: is no MIDI file"):
        run_node(play_score.PlayScore, score="broken.MID", instrument="as written")
    with pytest.raises(UserError, match="instrument: got 'kazoo', expected one of as written"):
        run_node(play_score.PlayScore, score="example", instrument="kazoo")


# ---- wrong wires -----------------------------------------------------------------------------------------------------


def test_text_and_reference_of_one_edit_belong_together(graph):
    asked, source, latent = graph.named("repaint")
    for text, other in ((SONG, source), (asked, None), (asked, graph.named("cover")[1])):
        with pytest.raises(UserError, match="the text and the reference are not of one edit; connect `song`"):
            graph.stage(0, graph.text(text), latent, other)


def test_a_latent_of_another_length(graph):
    asked, source, _ = graph.named("repaint")
    with pytest.raises(UserError, match=r"song: got that of an edit \(repaint\); connect `latent`"):
        graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=asked, batch_size=1)
    (latent,) = graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=SONG, batch_size=1).args
    with pytest.raises(UserError, match="repaint: got a latent of .* frames, expected .*; connect `latent`"):
        graph.stage(0, graph.text(asked), latent, source)


def test_vocode_asks_for_the_reference_of_an_edit(graph):
    asked, source, latent = graph.named("repaint")
    made = graph.all_stages(graph.text(asked), latent, source)
    told = graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=made).ui["acestep_text"][0]["lines"]
    assert len(told) == 1 and "connect the reference of the editing node here too" in told[0]
    told = graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=made, reference=source).ui["acestep_text"]
    assert told == [{"lines": []}]


def test_a_model_that_does_not_know_the_task_names_one_that_does(graph):
    model = graph.models[0].model
    turbo = dataclasses.replace(model, defaults=dataclasses.replace(VARIANTS["turbo"]))
    graph.models[0] = dataclasses.replace(graph.models[0], model=turbo)
    asked, source, latent = graph.named("morph")
    with pytest.raises(CheckpointError, match="morph: l was not trained for it .* choose acestep-v15-base in the node"):
        graph.stage(0, graph.text(asked), latent, source)
    few = dataclasses.replace(model, defaults=dataclasses.replace(model.defaults, tasks=("text2music",)))
    graph.models[0] = dataclasses.replace(graph.models[0], model=few)
    asked, source, latent = graph.named("cover")
    with pytest.raises(CheckpointError, match="cover: l was not trained for it .*or switch codes off in Cover"):
        graph.stage(0, graph.text(asked), latent, source)


@pytest.mark.parametrize(
    "tracks, error",
    [("kazoo", "tracks: got .*kazoo.*, expected names of woodwinds"), (" ", "extract: got 0 tracks, expected one")],
)
def test_stems_that_there_are_not(graph, tracks, error):
    with pytest.raises(UserError, match=error):
        graph.edit(stems.ExtractStem, tracks=tracks)


@pytest.mark.parametrize(
    "given, error",
    [
        ({"regions": ""}, "repaint: got no region"),
        ({"regions": "3-2"}, "expected an end at least"),
        ({"regions": "7-8"}, "region: got 7-8 s, but the source ends at 6.30 s"),
        ({"song": Song("")}, "repaint: the caption is missing"),
        ({"wave": music(0.5)}, "the source: got 0.50 s of sound"),
    ],
)
def test_what_cannot_be_edited_is_told_before_it_is_encoded(graph, given, error, monkeypatch):
    monkeypatch.setattr(edits, "encode_source", None)
    with pytest.raises(UserError, match=error):
        graph.edit(edit_nodes.Repaint, **REPAINT | given)


def test_sources_that_do_not_fit(graph):
    asked, source, latent = graph.named("repaint")
    with pytest.raises(UserError, match="repaint: the reference has a source of its own already"):
        graph.named("repaint", reference=source)
    with pytest.raises(UserError, match="repaint: got the song of another edit"):
        graph.named("repaint", song=asked)
    with pytest.raises(UserError, match="latent: expected the finished latent of one song"):
        graph.named("repaint", latent=latent)


def test_tags_hold_the_edit(graph):
    asked, *_ = graph.named("repaint")
    kept, settings = edits.tags_of_edit(asked)
    expected = dataclasses.replace(EDITS["repaint"][2], strength=0.5)
    assert kept == asked.song and Edit.from_given(settings["edit"]) == expected

"""Stages in the graph: the library's own latents to the bit, and what a stage says to its user."""

import dataclasses

import pytest
import torch
from acestep_pack.acestep_core import Cascade, Song
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.models.reference import Reference
from acestep_pack.acestep_core.models.text_encoder import TextEncoder
from acestep_pack.acestep_core.models.velocity import Velocity
from acestep_pack.acestep_core.models.vocoder import Vocoder
from acestep_pack.nodes import latents, load, reference, song, stages, vocoder
from acestep_pack.nodes.host import devices, messages
from core_tests.out_of_memory import runs_out

AUTO = {
    "steps": 0,
    "stretch": {"stretch": "auto"},
    "guidance": {"guidance": "auto"},
    "solver": "euler",
    "shift": 0.0,
}
QUICK = AUTO | {"steps": 2, "guidance": {"guidance": "none"}}
ASKED = {"caption": "calm lo-fi beat, no drums", "lyrics": "[Instrumental]", "seconds": 10.0}
SONG = ASKED | {"bpm": 84, "key": "A minor", "time_signature": "auto", "language": "auto"}
NODES = (stages.StageL, stages.StageM, stages.StageS)


@pytest.fixture(scope="module")
def cascade():
    return Cascade.load("tiny")


@pytest.fixture
def graph(run_node, said, comfy_models):
    """The parts of a graph: models, song, text, empty latent."""

    class Graph:
        def __init__(self):
            self.run = run_node
            names = {slot: f"tiny-{slot}" for slot in "lms"} | {"text_encoder": "auto", "vocoder": "auto"}
            *self.models, self.encoder, self.vocoder = run_node(load.LoadCascade, **names, dtype="auto").args
            (self.song,) = run_node(song.SongNode, **SONG).args
            (self.text,) = run_node(song.TextEncode, text_encoder=self.encoder, song=self.song).args

        def empty(self, batch_size=1):
            given = {"vocoder": self.vocoder, "song": self.song, "batch_size": batch_size}
            return run_node(latents.EmptyLatent, **given).args[0]

        def stage(self, slot, latent, seed=7, **given):
            links = {"model": self.models[slot], "text": self.text, "latent": latent, "seed": seed}
            return run_node(NODES[slot], **links, **(AUTO | given)).args

        def clip(self, use, before=None, seconds=3.0):
            wave = 0.1 * torch.randn(1, 2, int(seconds * 48_000), generator=torch.Generator().manual_seed(3))
            audio = {"waveform": wave, "sample_rate": 48_000}
            links = {"vocoder": self.vocoder, "audio": audio, "use": use}
            return run_node(reference.ReferenceEncode, **links, reference=before).args[0], Waveform(wave, 48_000)

    return Graph()


def steps_of(cascade, **given):
    asked = Song(ASKED["caption"], seconds=ASKED["seconds"], bpm=SONG["bpm"], key=SONG["key"])
    return list(cascade.iterate(asked, seed=7, **given))


def test_a_graph_makes_the_latents_of_the_command_line(graph, cascade):
    latent = graph.empty()
    for slot in range(3):
        latent, x0 = graph.stage(slot, latent)
    last = steps_of(cascade)[-1]
    assert torch.equal(latent["samples"], last.latents) and torch.equal(x0["samples"], last.x0)


def test_and_so_it_does_with_clips_and_in_a_batch(graph, cascade):
    continued, beginning = graph.clip("continuation")
    heard, clip = graph.clip("timbre", continued)
    latent = graph.empty(batch_size=2)
    for slot in range(3):
        latent, _ = graph.stage(slot, latent, reference=heard)
    last = steps_of(cascade, count=2, reference=[clip], continue_from=beginning)[-1]
    assert torch.equal(latent["samples"], last.latents)


def test_x0_of_a_stage_is_finished_music(graph, cascade):
    latent, x0 = graph.stage(0, graph.empty(), **QUICK)
    boundaries = graph.models[0].model.defaults.boundaries
    assert latents.of_latent(latent).t == pytest.approx(boundaries[0]) and latents.of_latent(x0).t is None
    first = [step for step in steps_of(cascade, steps=(2, 1, 1), boundaries=boundaries, guidance=1) if step.stage == 0]
    assert torch.equal(x0["samples"], first[-1].x0)
    assert latents.of_latent(latent).seeds == (7,) and latents.of_latent(latent).models == ("tiny-l",)


def test_a_stage_reports_each_step(graph, said):
    graph.stage(0, graph.empty(), **QUICK)
    told = [line for line in said if line.startswith("L ")]
    end = graph.models[0].model.defaults.boundaries[0]
    assert [line.split(" · ")[0] for line in told] == ["L 1/2", "L 2/2"] and told[-1].endswith(f"t {end:.2f}")


def test_notes_stay_on_a_stage_while_it_reports(graph, said):
    custom = {"stretch": {"stretch": "custom", "start": 1.0, "end": 0.3333}}
    graph.models[0] = dataclasses.replace(
        graph.models[0], model=dataclasses.replace(graph.models[0].model, defaults=VARIANTS["turbo"])
    )
    graph.stage(0, graph.empty(), **(AUTO | custom | {"steps": 3, "guidance": {"guidance": "cfg", "scale": 2.0}}))
    last = [line for line in said if line.startswith("L 3/3")][-1]
    assert "made to run without guidance" in last


def test_pictures_are_left_out_where_they_are_slow(graph, monkeypatch):
    made, seconds = [], [0.0]
    monkeypatch.setattr(stages, "_picture", lambda *_: made.append(messages.time.sleep(seconds[0])))
    monkeypatch.setattr(messages.Progress, "_last_picture_seconds", 0.0)
    graph.stage(0, graph.empty(), **QUICK)
    assert made
    seconds[0] = 0.01
    monkeypatch.setattr(messages, "QUICK_PICTURE_SECONDS", 0.0)
    monkeypatch.setattr(messages, "PREVIEW_SHARE", 1e-4)
    for _ in range(2):
        made.clear()
        graph.stage(0, graph.empty(), **QUICK)
    assert made == []
    monkeypatch.setattr(devices.Managed, "is_in_place", False)
    monkeypatch.setattr(messages, "QUICK_PICTURE_SECONDS", 9.0)
    graph.stage(0, graph.empty(), **QUICK)
    assert made == []


def test_clips_of_another_familys_vocoder_are_told(graph):
    foreign = Reference(timbre=(torch.zeros(1, 64, 750),))
    with pytest.raises(UserError, match="reference: tiny-l hears latents of 8 channels, got 64; encode the clip with"):
        graph.stage(0, graph.empty(), reference=foreign, **QUICK)


def test_encoding_is_told_and_can_be_cancelled(graph, said, monkeypatch):
    graph.clip("continuation")
    assert said[-1] == "3 of 3 s"
    wave = {"waveform": torch.rand(1, 2, 48_000), "sample_rate": 48_000}
    graph.run(latents.EncodeAudio, vocoder=graph.vocoder, audio=wave)
    assert said[-1] == "1 of 1 s"

    def stop():
        raise messages.Cancelled

    monkeypatch.setattr(messages.management, "throw_exception_if_processing_interrupted", stop)
    for node, more in ((latents.EncodeAudio, {}), (reference.ReferenceEncode, {"use": "timbre"})):
        with pytest.raises(messages.Cancelled):
            graph.run(node, vocoder=graph.vocoder, audio=wave, **more)
    with pytest.raises(UserError, match="audio: holds no sound, its length is 0"):
        graph.run(latents.EncodeAudio, vocoder=graph.vocoder, audio={**wave, "waveform": torch.zeros(1, 2, 0)})


@pytest.mark.parametrize("given, lacks", [({"guidance": {}}, "stretch"), ({"stretch": {}}, "guidance")])
def test_a_choice_that_there_is_not_is_told_before_anything_runs(given, lacks):
    assert stages.StageM.validate_inputs(stretch={}, guidance={}) is True
    assert stages.StageM.validate_inputs(**given).startswith(f"{lacks}: expected one of auto, ")


def test_what_comes_through_a_link_is_held_to_what_the_widgets_are(graph):
    for given in ({"stretch": "auto"}, {"guidance": "none"}):
        with pytest.raises(
            UserError, match=f"{next(iter(given))}: expected one of auto, .* cannot come through a link"
        ):
            graph.stage(0, graph.empty(), **{**QUICK, **given})
    with pytest.raises(UserError, match="steps: got 201, expected at most 200"):
        graph.stage(0, graph.empty(), **{**QUICK, "steps": 201})
    with pytest.raises(UserError, match="batch_size: got 0, expected at least 1"):
        graph.run(latents.EmptyLatent, vocoder=graph.vocoder, song=graph.song, batch_size=0)


def test_another_seed_runs_no_encoder(graph, monkeypatch):
    graph.stage(0, graph.empty(), **QUICK)
    monkeypatch.setattr(stages, "encode_condition", None)
    graph.stage(0, graph.empty(), seed=8, **QUICK)
    with pytest.raises(TypeError):  # the next model has not heard of this song
        graph.stage(1, graph.empty(), **QUICK)


def test_times_that_do_not_meet_name_both(graph):
    latent, _ = graph.stage(0, graph.empty(), **QUICK)
    at = f"{graph.models[0].model.defaults.boundaries[0]:g}"
    custom = {"stretch": {"stretch": "custom", "start": 0.9, "end": 0.1}}
    with pytest.raises(UserError, match=rf"latents at t = {at} .* begins at t = 0\.9"):
        graph.stage(1, latent, **(QUICK | custom))


def test_items_that_another_node_chooses_are_what_they_were(graph):
    both, _ = graph.stage(0, graph.empty(batch_size=2), **QUICK)
    chosen = {**both, "samples": both["samples"][[1, 0, 1]]}  # as core's nodes do, which copy keys they do not know
    kept = latents.of_latent(chosen)
    assert kept.t == latents.of_latent(both).t and kept.seeds == (8, 7, 8)
    whole, _ = graph.stage(1, both, **QUICK)
    second, _ = graph.stage(1, {**both, "samples": both["samples"][1:]}, **QUICK)
    assert torch.allclose(second["samples"], whole["samples"][1:], atol=1e-4)


def test_the_seed_of_a_song_is_that_of_the_stage_which_began_it(graph):
    latent, x0 = graph.stage(0, graph.empty(), **QUICK)
    on, _ = graph.stage(1, latent, seed=99, **QUICK)
    assert latents.of_latent(on).seeds == (7,)
    custom = {"stretch": {"stretch": "custom", "start": 0.2, "end": 0.0}}
    anew, _ = graph.stage(2, x0, seed=99, **(QUICK | custom))
    assert latents.of_latent(anew).seeds == (99,)


def test_half_made_music_that_was_changed_is_refused(graph, said):
    latent, _ = graph.stage(0, graph.empty(), **QUICK)
    with pytest.raises(UserError, match=r"half made music \(t = 0\.\d+\) that another node changed"):
        graph.stage(1, {**latent, "samples": 0.5 * latent["samples"]}, **QUICK)
    graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=latent)
    assert said[-1].startswith("10 of 10 s\nthe latent is at t = 0.") and "half made: let a last stage" in said[-1]


def test_a_changed_latent_is_finished_music_to_the_next_stage(graph):
    _, x0 = graph.stage(0, graph.empty(), **QUICK)
    changed = {**x0, "samples": 0.5 * x0["samples"]}
    assert latents.of_latent(changed).t is None and latents.of_latent(changed).seeds == ()
    custom = {"stretch": {"stretch": "custom", "start": 0.2, "end": 0.0}}
    refined, _ = graph.stage(2, changed, **(QUICK | custom))
    assert latents.of_latent(refined).t is None
    assert not torch.equal(refined["samples"], changed["samples"])


def test_latents_of_pictures_are_told(graph):
    with pytest.raises(UserError, match=r"latent: got shape \[1, 4, 8, 8\], expected \[batch, channels, frames\]"):
        graph.stage(0, {"samples": torch.zeros(1, 4, 8, 8)}, **QUICK)


def test_weights_can_be_trained_upon_though_nodes_run_in_inference_mode(graph):
    latent, _ = graph.stage(0, graph.empty(), **QUICK)
    parameters = list(graph.models[0].model.transformer.parameters())
    assert not any(parameter.is_inference() for parameter in parameters)
    assert latent["samples"].device.type == "cpu" and latent["samples"].dtype == torch.float32


# ---- memory that runs out --------------------------------------------------------------------------------------------


@pytest.fixture
def put_out(monkeypatch) -> list:
    """How often every model was put out."""
    times = []
    monkeypatch.setattr(messages.management, "unload_all_models", lambda: times.append(1))
    return times


def test_a_batch_too_large_goes_through_a_stage_one_by_one(graph, monkeypatch, said, put_out):
    whole, _ = graph.stage(0, graph.empty(batch_size=2), **QUICK)
    runs_out(monkeypatch, Velocity, "_forward", lambda _, latents, *__: len(latents) > 1)
    split, _ = graph.stage(0, graph.empty(batch_size=2), **QUICK)
    assert torch.allclose(split["samples"], whole["samples"], atol=1e-4)
    assert put_out == [
        1
    ] and "out of memory; retrying with all models stay in memory, one forward pass of one song" in str(said)


def test_a_stage_without_memory_ends_with_one_error(graph, monkeypatch, put_out):
    runs_out(monkeypatch, Velocity, "_forward", lambda *_: True)
    with pytest.raises(AceStepError, match="out of memory even with one network .*; make a shorter song"):
        graph.stage(0, graph.empty(), **QUICK)
    assert put_out == [1, 1]


def test_a_vocoder_without_memory_goes_on_in_small_tiles(graph, monkeypatch, said, put_out):
    latent = graph.stage(0, graph.empty(), **QUICK)[1]
    (whole,) = run_vocode(graph, latent)
    tile = graph.vocoder.vocoder.tile_frames
    runs_out(monkeypatch, Vocoder, "decode", lambda own, *_: own.tile_frames == tile)
    (tiled,) = run_vocode(graph, latent)
    assert torch.allclose(tiled["waveform"], whole["waveform"], atol=1e-4) and put_out == [1]
    assert any("small tiles in the vocoder" in line for line in said)


def run_vocode(graph, latent):
    return graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=latent).args


# ---- text that was read before ---------------------------------------------------------------------------------------


def test_text_read_before_needs_no_encoder(run_node, said, comfy_models, monkeypatch, tmp_path):
    monkeypatch.setenv("ACESTEP_CACHE", str(tmp_path))
    wish = Song("calm lo-fi beat", seconds=10)
    encoder = run_node(load.LoadTextEncoder, text_encoder="tiny-text", dtype="auto").args[0]
    (first,) = run_node(song.TextEncode, text_encoder=encoder, song=wish).args
    started_again = run_node(load.LoadTextEncoder, text_encoder="tiny-text", dtype="auto").args[0]
    monkeypatch.setattr(TextEncoder, "encode", None)
    assert run_node(song.TextEncode, text_encoder=encoder, song=wish).args[0] is first
    (again,) = run_node(song.TextEncode, text_encoder=started_again, song=wish).args
    assert torch.equal(again.text, first.text) and torch.equal(again.lyrics, first.lyrics)
    with pytest.raises(TypeError):
        run_node(song.TextEncode, text_encoder=encoder, song=Song("techno", seconds=10))

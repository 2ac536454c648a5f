"""Stages in the graph: the library's own latents to the bit, and what a stage says to its user."""

import dataclasses
import importlib
import re

import pytest
import torch
from acestep_pack.acestep_core import Cascade, Song
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.flow import stage_plan
from acestep_pack.acestep_core.flow.song_run import RunState
from acestep_pack.acestep_core.models.reference import Reference
from acestep_pack.acestep_core.models.text_encoder import TextEncoder
from acestep_pack.acestep_core.models.velocity import Velocity
from acestep_pack.acestep_core.models.vocoder import Vocoder
from acestep_pack.nodes import latent_stamp, latents, load, reference, song, stage_run, stage_times, stages, vocoder
from acestep_pack.nodes.host import devices, messages
from core_tests.out_of_memory import runs_out

EDGES = read_checkpoint(TINY_FOLDER / "m").defaults.boundaries  # where tiny-m begins and ends

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
            made = run_node(NODES[slot], **links, **(AUTO | given))
            self.ui = made.ui
            return made.args

        def clip(self, use, before=None, seconds=3.0):
            wave = 0.1 * torch.randn(1, 2, int(seconds * 48_000), generator=torch.Generator().manual_seed(3))
            audio = {"waveform": wave, "sample_rate": 48_000}
            links = {"vocoder": self.vocoder, "audio": audio, "use": use}
            return run_node(reference.ReferenceEncode, **links, reference=before).args[0], Waveform(wave, 48_000)

    return Graph()


def steps_of(cascade, **given):
    asked = Song(ASKED["caption"], seconds=ASKED["seconds"], bpm=SONG["bpm"], key=SONG["key"])
    return list(cascade.iterate(asked, seed=7, **given))


@pytest.mark.slow
def test_a_graph_makes_the_latents_of_the_command_line(graph, cascade):
    latent = graph.empty()
    for slot in range(3):
        latent, x0 = graph.stage(slot, latent)
    last = steps_of(cascade)[-1]
    assert torch.equal(latent["samples"], last.latents) and torch.equal(x0["samples"], last.x0)


@pytest.mark.slow
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
    assert said[-1].startswith("L 3/3 · t 0.33") and "\n" not in said[-1]
    (noted,) = [text for text in said if "made to run without guidance" in text]
    assert graph.ui["acestep_text"] == [{"lines": noted.split("\n")}] and len(noted.split("\n")) == 2
    graph.stage(1, graph.empty(), **QUICK)
    assert graph.ui["acestep_text"] == [{"lines": []}]  # which takes the notes of another run away


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
    with pytest.raises(UserError, match="reference: tiny-l takes latents of 8 channels, got 64; encode the clip with"):
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
    monkeypatch.setattr(stage_run, "encode_condition", None)
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
    assert torch.allclose(music(second), music(whole)[1:], atol=1e-4)


def music(latent) -> torch.Tensor:
    """The samples without a stamp behind them."""
    return latents.of_latent(latent).samples


def test_half_made_songs_of_two_stages_are_one_batch(graph):
    importlib.import_module("comfy_extras.nodes_post_processing")  # whose import of the next one is circular
    batch = importlib.import_module("comfy_extras.nodes_latent").LatentBatch.execute
    first, x0 = graph.stage(0, graph.empty(), seed=7, **QUICK)
    second, _ = graph.stage(0, graph.empty(), seed=9, **QUICK)
    (both,) = batch(first, second).args
    kept = latents.of_latent(both)
    assert (kept.t, kept.seeds, kept.seconds) == (latents.of_latent(first).t, (7, 9), 10.0)
    assert torch.equal(kept.samples, torch.cat([music(first), music(second)]))
    on, _ = graph.stage(1, both, **QUICK)
    alone, _ = graph.stage(1, second, **QUICK)
    assert torch.allclose(music(on)[1:], music(alone), atol=1e-4) and latents.of_latent(on).seeds == (7, 9)
    later, _ = graph.stage(1, first, **QUICK)
    times = ", ".join(f"t = {edge:g}" for edge in sorted(EDGES))
    with pytest.raises(UserError, match=rf"got a batch of several times \({re.escape(times)}\), expected one"):
        latents.of_latent(batch(first, later).args[0])
    frames = first["samples"].shape[-1]
    finished = {"samples": torch.nn.functional.pad(x0["samples"], (0, frames - x0["samples"].shape[-1]))}
    with pytest.raises(UserError, match=rf"several times \(finished, t = {EDGES[0]}\)"):
        latents.of_latent(batch(first, finished).args[0])


def test_the_time_of_half_made_music_travels_in_a_latent_file(graph, comfy_folders, monkeypatch):
    import folder_paths

    core = importlib.import_module("nodes")
    half, _ = graph.stage(0, graph.empty(batch_size=2), **QUICK)
    core.SaveLatent().save(half, "half")
    (file,) = (comfy_folders / "output").glob("*.latent")
    file.rename(comfy_folders / "input" / "half.latent")
    assert folder_paths.get_input_directory() == str(comfy_folders / "input")
    (loaded,) = core.LoadLatent().load("half.latent")
    assert set(loaded) == {"samples"}
    kept, before = latents.of_latent(loaded), latents.of_latent(half)
    assert (kept.t, kept.seconds, kept.seeds) == (before.t, 10.0, (7, 8)) and torch.equal(kept.samples, before.samples)
    on, straight = graph.stage(1, loaded, **QUICK)[0], graph.stage(1, half, **QUICK)[0]
    assert torch.equal(on["samples"], straight["samples"])


@pytest.mark.parametrize("channels", [1, 8, 64])
def test_a_stamp_says_what_was_written_and_nothing_of_changed_music(channels):
    item, stamp = torch.randn(channels, 50), latent_stamp.ItemStamp(0.1 + 0.2, 10.5, 2**62 + 1)
    made = latent_stamp.stamped(item, stamp)
    assert made.shape == (channels, 50 + stamp.frames(channels)) and torch.equal(made[:, :50], item)
    assert latent_stamp.read_stamp(made) == stamp
    edited = [latent_stamp.ItemStamp(0.5, 9.0, 3, RunState(3.0, start, 7)) for start in (None, 0.75)]
    for other in (latent_stamp.ItemStamp(0.5, None, None), *edited):
        assert latent_stamp.read_stamp(latent_stamp.stamped(item, other)) == other
    for place in (0, 50):  # in the music, in the stamp
        changed = made.clone()
        changed[0, place] += 2**-16
        assert latent_stamp.read_stamp(changed) is None
    for strange in (item, made[:, 1:], made * 0.5, torch.full((channels, 60), torch.nan), torch.zeros(channels, 1)):
        assert latent_stamp.read_stamp(strange) is None


# ---- start and end ---------------------------------------------------------------------------------------------------


def test_finished_music_is_not_lost_in_the_first_stage(graph, said):
    _, x0 = graph.stage(0, graph.empty(), **QUICK)
    graph.stage(0, x0, **QUICK)
    (line,) = graph.ui["acestep_text"][0]["lines"]
    own = graph.models[0].model.defaults
    times = stage_plan.stage_times(own, 0, finished=True)
    share = f"{1 - times[0]:.0%} is left of it"
    assert line.startswith(f"the latent is finished music: this stage begins at t = {times[0]:.4g}, where {share}")
    begun = {"stretch": {"stretch": "custom", "start": times[0], "end": -1}}
    chosen, _ = graph.stage(0, x0, **(QUICK | begun))
    assert torch.equal(chosen["samples"], graph.stage(0, x0, **QUICK)[0]["samples"])
    graph.stage(0, x0, **(QUICK | {"stretch": {"stretch": "custom", "start": 1.0, "end": 0.5}}))
    (line,) = graph.ui["acestep_text"][0]["lines"]
    assert line.startswith("the latent is finished music, and nothing is left of it at t = 1")
    graph.stage(1, x0, **QUICK)
    assert graph.ui["acestep_text"] == [{"lines": []}]  # a later stage begins where something is left


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_custom_is_at_first_what_auto_is(slot, graph):
    given = next(one for one in NODES[slot].GET_SCHEMA().inputs if one.id == "stretch")
    custom = next(option for option in given.options if option.key == "custom")
    untouched = {one.id: one.default for one in custom.inputs}
    latent = graph.empty()
    for before in range(slot):
        latent, _ = graph.stage(before, latent, **QUICK)
    chosen, _ = graph.stage(slot, latent, **(QUICK | {"stretch": {"stretch": "custom", **untouched}}))
    assert torch.equal(chosen["samples"], graph.stage(slot, latent, **QUICK)[0]["samples"])


# ---- the strip -------------------------------------------------------------------------------------------------------


def strip(slot="M", **query) -> dict:
    asked = {"slot": slot, "model": f"tiny-{slot.lower()}", "steps": "0", "shift": "0"}
    return stage_times.answer_stretch(asked | query)


def test_the_strip_gives_start_and_end_of_auto(comfy_models):
    begin, end = EDGES
    told = strip(at=f"{begin:g}", latent="stage")
    assert told["auto"] == [told["times"][0], told["times"][-1]] == [begin, end]
    chosen = strip(at=f"{begin:g}", latent="stage", start="0.9", end="-1")
    assert chosen["auto"] == [begin, end] and (chosen["times"][0], chosen["times"][-1]) == (0.9, end)
    assert strip("L", latent="finished")["times"][0] < 1 == strip("L", latent="empty", at="1")["times"][0]
    (noted,) = strip("L", latent="finished")["notes"]
    assert noted.startswith("the latent is finished music: this stage begins at t = ")
    assert strip("L", latent="empty", at="1")["notes"] == strip(latent="finished")["notes"] == ()
    assert strip(at="0.01", start="0.9", end="0.5")["auto"] is None  # auto could not begin there


@pytest.mark.parametrize(
    "slot, query, counts",
    [
        ("L", {"latent": "stage", "solver": "euler", "clip": "0"}, True),
        ("M", {"latent": "stage", "solver": "euler", "clip": "0"}, False),
        ("S", {"latent": "stage", "solver": "heun", "clip": "0"}, False),
        ("S", {"latent": "stage", "solver": "sde", "clip": "0"}, True),
        ("M", {"latent": "stage", "solver": "euler", "clip": "1"}, True),
        ("M", {"latent": "finished", "solver": "euler", "clip": "0"}, True),
        ("M", {"latent": "empty", "solver": "euler", "clip": "0"}, True),
        ("M", {"solver": "euler", "clip": "0"}, True),  # not known
        ("M", {"latent": "stage", "clip": "0"}, True),
        ("M", {"latent": "stage", "solver": "euler"}, True),
    ],
)
def test_the_strip_says_whether_a_seed_counts(slot, query, counts, comfy_models):
    assert strip(slot, **query)["seed_counts"] is counts


@pytest.mark.slow
def test_a_seed_counts_where_the_strip_says_so(graph):
    first, x0 = graph.stage(0, graph.empty(), **QUICK)
    clip, _ = graph.clip("continuation")

    def differs(latent, **given):
        one, other = (graph.stage(1, latent, seed=seed, **(QUICK | given))[0]["samples"] for seed in (1, 2))
        return not torch.equal(one, other)

    assert not differs(first)
    assert differs(first, solver="sde") and differs(x0) and differs(first, reference=clip)


@pytest.mark.parametrize("name", ["../../secret", "gone.safetensors", "/etc/passwd"])
def test_the_strip_tells_no_paths(name, comfy_models):
    with pytest.raises(UserError) as caught:
        strip(model=name)
    assert str(comfy_models) not in str(caught.value) and str(caught.value) == f"{name} is no stage model that is here"


def test_a_clip_longer_than_every_song_is_told_before_it_is_encoded(graph, monkeypatch):
    def encodes(*_):
        raise AssertionError("encoded")

    monkeypatch.setattr(Vocoder, "encode", encodes)
    prompt = {
        "1": {"class_type": "AceStepReferenceEncode", "inputs": {"audio": ["9", 0]}},
        "2": {"class_type": "AceStepStageL", "inputs": {"reference": ["1", 0], "text": ["3", 0]}},
        "3": {"class_type": "AceStepTextEncode", "inputs": {"song": ["4", 0]}},
        "4": {"class_type": "AceStepSong", "inputs": {"seconds": 15}},
        "5": {"class_type": "AceStepSong", "inputs": {"seconds": 600}},  # of another branch
    }
    audio = {"waveform": torch.rand(1, 2, 16 * 48_000), "sample_rate": 48_000}
    given = {"vocoder": graph.vocoder, "audio": audio, "use": "continuation"}
    with pytest.raises(UserError, match=r"the song is 15\.0 s and the clip 16\.0 s; ask for a longer song"):
        graph.run(reference.ReferenceEncode, {"PROMPT": prompt}, **given)
    before, _ = Reference(source=object()), None
    with pytest.raises(UserError, match="already has a clip to go on from"):
        graph.run(reference.ReferenceEncode, {"PROMPT": prompt}, **given, reference=before)
    for seconds in (["7", 0], 17):  # not known, or long enough
        prompt["4"]["inputs"]["seconds"] = seconds
        with pytest.raises(AssertionError, match="encoded"):
            graph.run(reference.ReferenceEncode, {"PROMPT": prompt}, **given)


def test_the_seed_of_a_song_is_that_of_the_stage_which_began_it(graph):
    latent, x0 = graph.stage(0, graph.empty(), **QUICK)
    on, _ = graph.stage(1, latent, seed=99, **QUICK)
    assert latents.of_latent(on).seeds == (7,)
    custom = {"stretch": {"stretch": "custom", "start": 0.2, "end": 0.0}}
    anew, _ = graph.stage(2, x0, seed=99, **(QUICK | custom))
    assert latents.of_latent(anew).seeds == (99,)


def test_half_made_music_that_was_changed_is_refused(graph, said):
    latent, _ = graph.stage(0, graph.empty(), **QUICK)
    with pytest.raises(UserError, match=r"half-made music \(t = 0\.\d+\) that another node changed"):
        graph.stage(1, {**latent, "samples": 0.5 * latent["samples"]}, **QUICK)
    graph.run(vocoder.Vocode, vocoder=graph.vocoder, latent=latent)
    assert said[-1] == "10 of 10 s"
    assert any(text.startswith("the latent is at t = 0.") and "half made: let a last stage" in text for text in said)


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
    assert torch.allclose(music(split), music(whole), atol=1e-4)
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
    monkeypatch.setattr(TextEncoder, "encode_prompts", None)
    assert run_node(song.TextEncode, text_encoder=encoder, song=wish).args[0] is first
    (again,) = run_node(song.TextEncode, text_encoder=started_again, song=wish).args
    assert torch.equal(again.text, first.text) and torch.equal(again.lyrics, first.lyrics)
    with pytest.raises(TypeError):
        run_node(song.TextEncode, text_encoder=encoder, song=Song("techno", seconds=10))

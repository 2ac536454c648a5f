"""Edits by a whole cascade: to the bit over stages, batches and memory plans; outside the regions to the sample."""

import math

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform, convert
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.editing.edit import Edit
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.memory.model_pool import ModelPool
from acestep_pack.acestep_core.memory.plan import LAYERS, NETWORKS, PARTS, Plan
from acestep_pack.acestep_core.models.source import EditSource
from acestep_pack.acestep_core.song import Song

RATE = 16000  # of the small family's vocoder
SONG = Song("lo-fi beat", lyrics="la la", bpm=120, seconds=10)
SECONDS = 6.3


def music(seconds=SECONDS, rate=RATE, channels=2, level=0.4, seed=3):
    """Chords that change, with some noise: something that no part of equals another."""
    t = torch.arange(round(seconds * rate)) / rate
    hum = sum(torch.sin(2 * math.pi * hz * t * (1 + 0.02 * t)) for hz in (110, 277, 440)) / 3
    noise = torch.randn(channels, len(t), generator=torch.Generator().manual_seed(seed))
    return Waveform((level * (0.8 * hum + 0.05 * noise))[None], rate)


EDITS = {
    "cover": Edit("cover"),
    "cover with both strengths": Edit("cover", structure=0.5, closeness=0.3),
    "cover without codes": Edit("cover", codes=False, structure=0.5),
    "cover from a late start": Edit("cover", closeness=0.6),
    "repaint": Edit("repaint", regions=((1.0, 2.5), (4.0, 5.0))),
    "repaint at full strength": Edit("repaint", regions=((2.0, None),), strength=1.0),
    "extend": Edit("extend", before=2.02, after=3.0),
    "extract": Edit("extract", tracks=("drums",)),
    "lego": Edit("lego", tracks=("bass",), regions=((1.0, 3.0),)),
    "lego mixed": Edit("lego", tracks=("bass",), mix=True),
    "complete": Edit("complete", tracks=("drums", "bass")),
    "morph": Edit("morph", from_caption="soul", from_lyrics="oh", morph_begin=0.2, morph_end=0.7, averages=2),
    "morph to the end": Edit("morph", from_caption="soul"),
    "repaint with other noise": Edit("repaint", regions=((1.0, 2.5),), amount=0.4, retake_seed=9),
}
each_edit = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)


@pytest.fixture(scope="module")
def cascade(taught_family):
    return Cascade.load(taught_family, device="cpu")


def step_of(wave):
    return (wave.samples[..., 1:] - wave.samples[..., :-1]).abs()


# ---- one result, however it is made ----------------------------------------------------------------------------------


@each_edit
def test_three_stages_of_one_model_are_one_stage_to_the_bit(taught_family, edit):
    alone = Cascade.load(taught_family / "m", device="cpu")
    thrice = Cascade.load(m=taught_family / "m", device="cpu")
    one = alone.edit(edit, music(), SONG, seed=1, steps=8)
    assert torch.equal(one.samples, thrice.edit(edit, music(), SONG, seed=1, steps=(3, 3, 2)).samples)
    assert torch.equal(one.samples, alone.edit(edit, music(), SONG, seed=1, steps=(1, 2, 5)).samples)


@each_edit
def test_an_item_of_a_batch_is_its_single_run(cascade, edit):
    batch = cascade.edit(edit, music(), SONG, seed=4, count=2)
    varied = edit if edit.retake_seed is None else Edit(**{**edit.given(), "retake_seed": edit.retake_seed + 1})
    single = cascade.edit(varied, music(), SONG, seed=5)
    assert len(batch) == 2
    assert (batch[1].samples - single.samples).abs().max() < 1e-4
    assert (batch[0].samples - single.samples).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("plan", [Plan(PARTS), Plan(NETWORKS, splits=True), Plan(LAYERS, True, True)], ids=str)
@pytest.mark.parametrize("name", ["cover with both strengths", "repaint", "morph"])
def test_memory_plans_make_the_same(cascade, taught_family, monkeypatch, name, plan):
    expected = cascade.edit(EDITS[name], music(), SONG, seed=2, guidance=3, count=2).samples
    monkeypatch.setattr(ModelPool, "settle", lambda self, seconds, passes, *more: self._use(plan))
    small = Cascade.load(taught_family, device="cpu")
    made = small.edit(EDITS[name], music(), SONG, seed=2, guidance=3, count=2)
    assert small.pool.plan == plan
    assert (made.samples - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["cover", "repaint", "morph", "lego"])
def test_in_bf16(taught_family, cascade, name):
    made = Cascade.load(taught_family, device="cpu", dtype="bf16").edit(EDITS[name], music(), SONG, seed=2).samples
    expected = cascade.edit(EDITS[name], music(), SONG, seed=2).samples
    apart = (made - expected).square().mean().sqrt()
    assert 0 < apart < 0.5 * expected.square().mean().sqrt()


@pytest.mark.parametrize("solver", ["heun", "sde"])
def test_other_solvers(cascade, solver):
    made = cascade.edit(EDITS["repaint"], music(), SONG, seed=2, solver=solver)
    assert bool(made.samples.isfinite().all())
    with pytest.raises(UserError, match=f"morph: got the solver {solver}, expected euler"):
        cascade.edit(EDITS["morph"], music(), SONG, solver=solver)


def test_each_stage_takes_its_own_codes_and_condition(cascade, taught_family, monkeypatch):
    shown = []
    monkeypatch.setattr(
        EditSource, "hints", lambda own, model, made=EditSource.hints: shown.append(made(own, model)) or shown[-1]
    )
    cascade.edit(Edit("cover", structure=0.9), music(), SONG, seed=77)
    assert len(shown) == 3
    assert not torch.equal(shown[0], shown[1]) and not torch.equal(shown[1], shown[2])


def test_a_late_start_leaves_the_first_stages_out(cascade):
    prepared = cascade.prepare_edit(EDITS["cover from a late start"], music(), SONG)
    steps = list(cascade.iterate(prepared.song, reference=prepared.reference, steps=(3, 3, 2)))
    assert [(step.stage, step.step, step.of) for step in steps] == [(2, 1, 2), (2, 2, 2)]
    assert steps[0].t == pytest.approx(0.5)


def test_stopping_leaves_nothing_behind(cascade):
    prepared = cascade.prepare_edit(EDITS["repaint"], music(), SONG)
    steps = cascade.iterate(prepared.song, reference=prepared.reference)
    next(steps)
    steps.close()
    assert bool(cascade.edit(EDITS["repaint"], music(), SONG).samples.isfinite().all())


def test_a_cascade_of_models_that_the_caller_has(taught_family, cascade):
    stages = [
        load_stage_model(taught_family / slot, parts=("audio_tokenizer", "audio_token_detokenizer")) for slot in "lms"
    ]
    own = Cascade(stages, load_text_encoder(taught_family / "text_encoder"), load_vocoder(taught_family / "vae"))
    made = own.edit(EDITS["cover"], music(), SONG, seed=3).samples
    assert torch.equal(made, cascade.edit(EDITS["cover"], music(), SONG, seed=3).samples)


# ---- what is kept of the source --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_outside_the_regions_a_repaint_is_the_source(cascade, strength):
    source = music()
    made = cascade.repaint(source, [(1.0, 2.5), (4.0, 5.0)], SONG, strength=strength, seed=2)
    assert made.samples.shape == source.samples.shape
    outside = torch.ones(source.samples.shape[-1], dtype=torch.bool)
    for first, last in ((1.0, 2.5), (4.0, 5.0)):
        inside = slice(round(first * RATE), round(last * RATE))
        outside[inside] = False
        assert (made.samples - source.samples)[..., inside].square().mean().sqrt() > 0.01
    assert torch.equal(made.samples[..., outside], source.samples[..., outside])


@pytest.mark.parametrize("name", ["repaint", "repaint at full strength", "extend"])
def test_no_click_at_a_seam(cascade, name):
    source, edit = music(), EDITS[name]
    made = cascade.edit(edit, source, SONG, seed=2)
    begin = round((edit.before or 0) * RATE)
    seams = (
        [begin, begin + source.samples.shape[-1]]
        if name == "extend"
        else [round(edge * RATE) for region in edit.regions for edge in region if edge is not None]
    )
    steps, most = step_of(made), step_of(source).flatten().quantile(0.999)
    for seam in seams:
        assert steps[..., seam - 3 : seam + 3].max() <= most


def test_an_extension_keeps_all_of_the_source(cascade):
    source = music()
    made = cascade.extend(source, before=2.02, after=3.0, song=SONG, seed=2)
    begin, length = round(2.02 * RATE), source.samples.shape[-1]
    assert made.samples.shape[-1] == begin + length + 3 * RATE
    assert torch.equal(made.samples[..., begin : begin + length], source.samples)
    assert made.samples[..., :begin].square().mean() > 0 and made.samples[..., begin + length :].square().mean() > 0


@pytest.mark.parametrize("rate, channels", [(44100, 1), (8000, 2), (48000, 6)])
def test_sources_of_any_rate_and_channel_count(cascade, rate, channels):
    source = music(rate=rate, channels=channels)
    made = cascade.repaint(source, [(1.0, 2.0)], SONG)
    expected = convert(source, RATE, 2).samples
    assert made.sample_rate_hz == RATE and made.samples.shape == expected.shape
    assert torch.equal(made.samples[..., 2 * RATE :], expected[..., 2 * RATE :])


@pytest.mark.parametrize("level", [0.003, 0.03, 0.9])
@pytest.mark.parametrize("name", ["cover", "morph"])
def test_a_whole_new_song_has_the_level_of_the_source(cascade, name, level):
    source = music(level=level)
    made = cascade.edit(EDITS[name], source, SONG, seed=2).samples
    assert made.square().mean().sqrt() == pytest.approx(float(source.samples.square().mean().sqrt()), rel=0.15)


def test_a_quiet_source_is_edited_as_a_loud_one(cascade):
    loud = cascade.repaint(music(level=0.4), [(1.0, 2.0)], SONG, seed=2).samples
    quiet = cascade.repaint(music(level=0.02), [(1.0, 2.0)], SONG, seed=2).samples
    assert (loud / 20 - quiet).abs().max() < 1e-3


def test_a_stem_is_silent_outside_its_region_and_its_mix_is_the_source_there(cascade):
    source, regions = music(), ((1.0, 3.0),)
    alone = cascade.lego(source, "bass", SONG, regions=regions, seed=2).samples
    mixed = cascade.lego(source, "bass", SONG, regions=regions, mix=True, seed=2).samples
    assert not alone[..., :RATE].any() and not alone[..., 3 * RATE :].any() and alone[..., RATE : 3 * RATE].any()
    assert torch.equal(mixed[..., 3 * RATE :], source.samples[..., 3 * RATE :])
    assert (mixed - (source.samples + alone)).abs().max() < 1e-6


@pytest.mark.parametrize("seconds", [1.0, 1.27, 5.0])
def test_a_short_source_is_padded_inside(cascade, seconds):
    source = music(seconds)
    made = cascade.repaint(source, [(0.3, 0.6)], SONG)
    assert made.samples.shape == source.samples.shape
    assert cascade.cover(source, SONG).samples.shape == source.samples.shape
    prepared = cascade.prepare_edit(Edit("cover"), source, SONG)
    assert prepared.reference.source.frames == 171  # 5.12 s
    assert f"- duration: {int(seconds)} seconds" in prepared.song.prompts()[0][0]


# ---- what is heard ---------------------------------------------------------------------------------------------------


def test_structure_and_closeness_count(cascade):
    made = [
        cascade.cover(music(), SONG, seed=2, steps=8, **given).samples
        for given in ({}, {"structure": 0.4}, {"structure": 0.0}, {"closeness": 0.5}, {"codes": False})
    ]
    for number, one in enumerate(made):
        assert all((one - other).abs().max() > 1e-3 for other in made[:number])


def test_without_structure_a_cover_is_text_to_music(cascade):
    song = Song("lo-fi beat", lyrics="la la", seconds=10)
    prepared = cascade.prepare_edit(Edit("cover", structure=0.0, codes=False), music(10), song)
    covered = [step.latents for step in cascade.iterate(prepared.song, reference=prepared.reference, seed=3)][-1]
    plain = [step.latents for step in cascade.iterate(song, seed=3)][-1]
    assert torch.equal(covered, plain)


def test_a_retake_is_as_far_as_its_amount(cascade):
    take = cascade.generate(SONG, seed=5).samples
    near, far = (cascade.retake(SONG, seed=5, retake_seed=8, amount=amount).samples for amount in (0.05, 0.6))
    assert torch.equal(cascade.retake(SONG, seed=5, retake_seed=8, amount=0.0).samples, take)
    assert 0 < (near - take).square().mean() < (far - take).square().mean()
    other = cascade.generate(SONG, seed=8).samples
    assert (cascade.retake(SONG, seed=5, retake_seed=8, amount=1.0).samples - other).abs().max() < 1e-4


@pytest.mark.slow
def test_an_adapter_counts_in_every_task(taught_family, cascade, tmp_path):
    from safetensors.torch import save_file

    file, weights = tmp_path / "adapter.safetensors", torch.Generator().manual_seed(1)
    target = "transformer.layers.0.self_attn.to_q"
    down, up = torch.randn(4, 32, generator=weights), torch.randn(32, 4, generator=weights)
    save_file({f"{target}.lora_A.weight": down, f"{target}.lora_B.weight": up}, file)
    for edit in EDITS.values():
        plain = cascade.edit(edit, music(), SONG, seed=2).samples
        assert (cascade.edit(edit, music(), SONG, seed=2, lora=file).samples - plain).abs().max() > 1e-5


def test_a_file_is_encoded_once_for_all_takes_of_it(cascade, tmp_path, monkeypatch):
    from acestep_pack.acestep_core import audio
    from acestep_pack.acestep_core.generation import edit_verbs

    encoded, encode = [], edit_verbs.encode_source
    monkeypatch.setattr(edit_verbs, "encode_source", lambda *given: encoded.append(given) or encode(*given))
    file = audio.write(tmp_path / "song.wav", music())
    one, same = (cascade.prepare_edit(EDITS["cover"], file, SONG) for _ in range(2))
    assert one.reference is same.reference  # so that stages keep their conditions and hints
    other = cascade.prepare_edit(EDITS["repaint"], file, SONG)
    assert len(encoded) == 1 and other.reference is not one.reference
    audio.write(file, music(seed=8))
    assert cascade.prepare_edit(EDITS["cover"], file, SONG).reference is not one.reference and len(encoded) == 2


@pytest.mark.parametrize("name", ["cover with both strengths", "morph"])
def test_a_text_without_its_second_one(cascade, name):
    prepared = cascade.prepare_edit(EDITS[name], music(), SONG)
    with pytest.raises(UserError, match="edit: its second text is missing"):
        list(cascade.iterate(SONG, reference=prepared.reference))


def test_a_retake_has_no_source(cascade):
    with pytest.raises(UserError, match="retake: it is no edit of sound"):
        cascade.edit(Edit("retake"), music(), SONG)


def test_kept_latents_are_taken_as_they_are(cascade, tmp_path):
    from acestep_pack.acestep_core import audio
    from acestep_pack.acestep_core.editing.kept_latents import keep_latents

    steps = list(cascade.iterate(SONG, seed=5))
    file = audio.write(tmp_path / "song.flac", cascade.decode(steps[-1].latents, SONG))
    sound = audio.read(file)
    keep_latents(file, steps[-1].latents, sound)
    prepared = cascade.prepare_edit(Edit("repaint", regions=((1.0, 2.0),)), file, SONG)
    assert torch.equal(prepared.reference.source.latents, steps[-1].latents)
    made = cascade.decode(steps[-1].latents, SONG, prepared.reference).samples
    assert (made - sound.samples).abs().max() < 1e-4  # at the file's level, and where it was


@pytest.mark.parametrize(
    "latents, other, said",
    [
        (torch.zeros(1, 8, 334), True, "is not of this sound and this vocoder"),
        (torch.zeros(1, 8, 99), False, "is not of this sound and this vocoder"),
        (torch.zeros(1, 64, 334), False, "is not of this sound and this vocoder"),
        (torch.zeros(8, 334), False, "is not of this sound and this vocoder"),
        (torch.full((1, 8, 334), math.nan), False, "has numbers that are not finite"),
    ],
    ids=["another sound", "shorter", "other channels", "one axis less", "nan"],
)
def test_kept_latents_of_something_else_are_left(cascade, tmp_path, caplog, latents, other, said):
    from acestep_pack.acestep_core import audio
    from acestep_pack.acestep_core.editing.kept_latents import keep_latents

    file = audio.write(tmp_path / "song.flac", music(10))
    keep_latents(file, latents, music(10, seed=4) if other else audio.read(file))
    prepared = cascade.prepare_edit(Edit("cover"), file, SONG)
    assert prepared.reference.source.latents.std() > 0
    assert f"{said}; the file itself is encoded" in caplog.text


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, said",
    [
        (music(0.5), "the source: got 0.50 s of sound, expected 1 to 600 s"),
        (Waveform(torch.zeros(1, 1, 601 * 100), 100), "the source: got 601.00 s of sound, expected 1 to 600 s"),
        (Waveform(torch.zeros(1, 2, 2 * RATE), RATE), "the source is silent"),
        (Waveform(torch.full((1, 2, 2 * RATE), math.nan), RATE), "samples that are no numbers"),
        (Waveform(music().samples.repeat(2, 1, 1), RATE), "the source: got a batch of 2, expected one piece"),
        (Waveform(music().samples, 1600), "has a sample rate of 1600 Hz"),
    ],
    ids=["short", "long", "silent", "nan", "batch", "rate"],
)
def test_sources_that_cannot_be_edited(cascade, source, said):
    with pytest.raises(UserError, match=said):
        cascade.edit(Edit("cover"), source, SONG)


def test_a_result_that_is_too_long(cascade):
    with pytest.raises(UserError, match="extend: the result would be 606.3 s long, expected at most 600 s"):
        cascade.extend(music(), after=600, song=SONG)


def test_regions_beyond_the_source(cascade):
    with pytest.raises(UserError, match="region: got 5-8 s, but the source ends at 6.30 s; name a part of it"):
        cascade.repaint(music(), [(5, 8)], SONG)
    with pytest.raises(UserError, match="region: got 7- s, but the source ends at 6.30 s"):
        cascade.repaint(music(), [(7, None)], SONG)


def test_no_words_at_all(cascade):
    with pytest.raises(UserError, match="cover: the caption is missing, and the source has no Song in its tags"):
        cascade.cover(music())
    with pytest.raises(UserError, match="morph: the source's own words are missing"):
        cascade.morph(music(), "soul")
    with pytest.raises(UserError, match="morph: got the words of the source itself"):
        cascade.morph(music(), "soul", from_caption="soul")
    assert cascade.extract(music(), "drums").samples.any()  # needs none


@pytest.mark.parametrize("task", ["extract", "lego", "complete", "morph", "cover"])
def test_models_that_do_not_know_a_task(tiny_family, task):
    edit = next(edit for edit in EDITS.values() if edit.task == task)
    wanted = "turbo" if task == "cover" else "base"
    said = (
        f"{task}: l was not trained for it .*models download acestep-v15-{wanted}`, then --models acestep-v15-{wanted}"
    )
    with pytest.raises(CheckpointError, match=said):
        Cascade.load(tiny_family, device="cpu").edit(edit, music(), SONG)


@pytest.mark.parametrize("name", ["cover without codes", "repaint", "extend"])
def test_tasks_that_any_model_does(tiny_family, name):
    assert Cascade.load(tiny_family, device="cpu").edit(EDITS[name], music(), SONG).samples.any()


def test_a_model_without_its_audio_tokenizer(taught_family, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(taught_family, tmp_path / "bare")
    kept = {
        name: tensor for name, tensor in load_file(folder / "m/model.safetensors").items() if "tokenizer" not in name
    }
    save_file(kept, folder / "m/model.safetensors")
    with pytest.raises(CheckpointError, match="cover: m has no audio tokenizer in its files; take acestep-v15-turbo"):
        Cascade.load(folder, device="cpu").cover(music(), SONG)
    assert Cascade.load(folder, device="cpu").cover(music(), SONG, codes=False).samples.any()

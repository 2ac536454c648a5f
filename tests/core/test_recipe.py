"""The recipe of the tiny family, run in miniature: trainings go on where they stopped, and a family comes out."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.band import Sketch, song_of, voices
from acestep_pack.acestep_core.band.instruments import TRACKS, VOICES
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import TEXT, VOCODER, Cascade
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.defaults import ALL_TASKS
from acestep_pack.acestep_core.models.semantic_codes import hints_of_latents
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.spec import LatentSpec
from acestep_pack.acestep_core.tiny_recipe import (
    assignments,
    batches,
    boundaries,
    budget,
    channels_last,
    checkpointing,
    codes,
    export,
    flow,
    language,
    latents,
    packed,
    recipe,
    songs,
    vocoder,
    words,
)
from acestep_pack.acestep_core.tiny_recipe import warm_start as warm
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 48_000
PHASES = ("songs", "vocoder", "text", "latents", "clips", "codes", "l", "m", "s", "decoder", "export")
WITHOUT_PLANNER = tuple(word for phase in PHASES for word in ("--only", phase))  # it has tests of its own
CHANNELS, PER_SECOND = 2, RATE_HZ / vocoder.SAMPLES_PER_FRAME
SONGS, CLIPS = 6, 3
SMALL_VOCODER = dict(
    encoder_hidden_size=2 * CHANNELS,
    decoder_input_channels=CHANNELS,
    decoder_channels=4,
    channel_multiples=[1, 1, 1, 2],
)


@pytest.fixture(autouse=True, scope="module")
def miniature():
    """The whole recipe at the smallest size that is still the recipe."""
    known = words.words_of_the_band
    listener = flow.ENCODER | dict(hidden_size=32, intermediate_size=48, num_attention_heads=1)
    listener |= dict(timbre_hidden_dim=CHANNELS)

    def small(name, family, stretch, *sizes):
        geometry = flow._geometry(*sizes) | dict(encoder_hidden_size=32)
        geometry |= dict(in_channels=3 * CHANNELS, audio_acoustic_hidden_dim=CHANNELS)
        heard = listener | {key: flow.SLOTS[name].encoder[key] for key in ("num_lyric_encoder_hidden_layers",)}
        return flow.Slot(name, family, stretch, 0.8, geometry, heard, 2, follows=flow.SLOTS[name].follows)

    slots = {
        "l": small("l", "xl", (0.5, 1.0), 48, 64, 2, 2, 1, 0.08),
        "m": small("m", "2b", (0.2, 0.6), 32, 48, 2, 1, 1, 0.08),
        "s": small("s", "2b", (0.0, 0.3), 32, 48, 2, 1, 1, 0.04, 0),
    }
    numbers = {
        vocoder: dict(BATCH=2, CROP_FRAMES=round(0.1 * PER_SECOND), SAVE_EVERY_STEPS=2),
        language: dict(BATCH=4),
        words: dict(words_of_the_band=lambda: known(60)),
        # A new process would not know the pack by this name.
        songs: dict(SHORT_S=(2, 2), LONG_S=(3, 4), CLIP_S=(1, 2), ProcessPoolExecutor=ThreadPoolExecutor),
        latents: dict(TRACKS_OF_A_SONG=2, TRACKS_SHARE=1.0, TWIN_SHARE=0.6, PIECE_S=2.0, HELD_OUT_EVERY=3),
        assignments: dict(CROP_S=(1.0, 2.0), SHORTEST_WINDOW_S=0.3),
        codes: dict(BATCH=2, CROP_CODES=4),
        flow: dict(BATCH_SECONDS=6.0, TIMBRE_FRAMES=60, SLOTS=slots, CHANNELS=CHANNELS),
        boundaries: dict(SONGS=2, SECONDS=1.0, BINS=4),
        export: dict(SILENCE_SECONDS=0.5),
        voices: dict(LONGEST_NOTE_S=1.0),
    }
    voices._tone.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for module, values in numbers.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        for name, value in SMALL_VOCODER.items():
            patch.setitem(vocoder.CONFIG, name, value)
        yield
    voices._tone.cache_clear()


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours, theirs, tolerance=1e-5):
    """Equal but for rounding, measured against the largest number there is."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(1e-3, float(theirs.detach().abs().max())))


def same(a, b):
    """Nested states, equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# ---- stopping and going on -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(miniature, tmp_path_factory):
    """A folder of songs, played once for all tests."""
    folder = tmp_path_factory.mktemp("played")
    assert len(list(songs.make(folder, songs.Order(SONGS, workers=1)))) == SONGS
    return folder


def copy_songs(played, folder, count=SONGS):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(songs.FIRST_SEED, songs.FIRST_SEED + count):
        for path in played.glob(f"{seed}.*"):
            shutil.copyfile(path, folder / path.name)


@pytest.fixture(scope="module")
def encoded(played, tmp_path_factory):
    """A work folder with some songs and their latents, of an encoder that has learnt nothing."""
    work = tmp_path_factory.mktemp("encoded")
    copy_songs(played, work / "songs")
    torch.manual_seed(0)
    encode = latents.Encoder(vocoder.new_vocoder().eval(), 2.0)
    told = list(latents.encode_songs(encode, songs.Shelf(work / "songs"), work / "latents"))
    assert told == [(done, SONGS) for done in range(1, SONGS + 1)]
    return work


def vocoder_trainer(folder, work):
    copy_songs(work / "songs", folder / "songs", 2)
    return vocoder.Trainer(folder, 4, decoder_only=False)


def decoder_trainer(folder, work):
    if not (folder / "vocoder.pt").exists():
        vocoder_trainer(folder, work).save()
    return vocoder.Trainer(folder, 4, decoder_only=True)


def text_trainer(folder, work):
    return language.Trainer(folder, 4)


def a_packer(patch, hints=None):
    tokenizer = words.new_tokenizer()
    silence = 0.1 * drawn(1, CHANNELS, 30)
    return batches.Packer(flow.Words(None, tokenizer).tokenize, silence, patch, flow.TIMBRE_FRAMES, hints)


def stage_trainer(slot):
    def make(folder, work):
        tokenizer = words.new_tokenizer()
        text = flow.Words(language.new_encoder(len(tokenizer)).requires_grad_(False).eval(), tokenizer)
        packer = a_packer(flow.SLOTS[slot].transformer["patch_size"], lambda source: 0.5 * source)
        return flow.Trainer(flow.SLOTS[slot], folder, latents.Library(work / "latents"), text, packer, 4)

    return make


def codes_trainer(folder, work):
    return codes.Trainer(folder, latents.Library(work / "latents"), flow.SLOTS["l"].encoder, 4)


TRAINERS = {"vocoder": vocoder_trainer, "decoder": decoder_trainer, "text": text_trainer, "codes": codes_trainer}
TRAINERS |= {"l": stage_trainer("l"), "s": stage_trainer("s")}


@pytest.mark.slow
@pytest.mark.parametrize("phase", TRAINERS)
def test_a_resumed_training_is_an_unbroken_one_to_the_bit(phase, tmp_path, encoded):
    def make(folder):
        return TRAINERS[phase](folder, encoded)

    unbroken = make(tmp_path / "a")
    told = [step[:2] for step in unbroken.run()]
    stopped = make(tmp_path / "b")
    first = [step[:2] for step in islice(stopped.run(), 2)]
    stopped.save()
    resumed = make(tmp_path / "b")
    assert resumed.step == 2
    assert first + [step[:2] for step in resumed.run()] == told and [step for step, _ in told] == [1, 2, 3, 4]
    name = {"decoder": "vocoder_decoder"}.get(phase, phase) + ".pt"
    one, other = (checkpointing.load_state(tmp_path / folder / name) for folder in "ab")
    assert one["step"] == 4 and same(one, other)


@pytest.mark.slow
def test_the_second_phase_trains_the_decoder_alone(tmp_path, encoded):
    trainer = decoder_trainer(tmp_path, encoded)
    before = {name: value.clone() for name, value in trainer.vae.state_dict().items()}
    list(trainer.run())
    changed = {name for name, value in trainer.vae.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert (tmp_path / "vocoder.pt").exists() and (tmp_path / "vocoder_decoder.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_learnt_is_saved_however_a_training_ends(number):
    before = signal.signal(number, signal.default_int_handler)  # SIGTERM is handled on the command line alone

    class Trainer:
        saved_at, step = None, 0

        def run(self):
            while True:
                if self.step == 1:
                    signal.raise_signal(number)  # in the middle of the second step
                self.step += 1
                yield self.step

        def save(self):
            self.saved_at = self.step

    stopped, closed = Trainer(), Trainer()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(recipe._saved_at_the_end(stopped))
    finally:
        signal.signal(number, before)
    steps = recipe._saved_at_the_end(closed)
    next(steps)
    steps.close()
    assert stopped.saved_at == 2 and closed.saved_at == 1


# ---- songs and their latents -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_song_is_encoded_in_pieces_as_if_it_were_whole():
    torch.manual_seed(0)
    vae = vocoder.new_vocoder().eval()
    encode, sound = latents.Encoder(vae, 2.0), (drawn(2, int(5.01 * RATE_HZ)) * 3_000).to(torch.int16).numpy()
    made = encode(sound)
    wave = torch.nn.functional.pad(
        torch.from_numpy(sound).float() / 32767, (0, -sound.shape[1] % vocoder.SAMPLES_PER_FRAME)
    )[None]
    with torch.no_grad():
        whole = 2.0 * channels_last.encode(vae.encoder, wave, torch.bfloat16).chunk(2, 1)[0][0]
    assert made.dtype == np.float16 and made.shape == (CHANNELS, latents.frames_of(5.01))
    close(torch.from_numpy(made).float(), whole, 0.02)


def test_the_library_has_every_sound_of_a_song_at_its_length(encoded):
    library = latents.Library(encoded / "latents")
    everything = library.songs + library.held_out
    assert len(everything) == SONGS and {entry.seed % 3 for entry in library.held_out} == {0}
    assert library.with_tracks and library.with_twin
    for entry in everything:
        names = [latents.MIX, *(latents.TWIN,) * bool(entry.twin), *entry.tracks]
        names += [latents.WITHOUT + track for track in entry.tracks] + [latents.SOLO] * bool(entry.tracks)
        for name in names:
            assert entry.read(name).shape == (CHANNELS, entry.frames), name
        assert (
            entry.read(latents.NOTES).shape == (24, entry.frames) and entry.frames == entry.facts.seconds * PER_SECOND
        )
        assert set(entry.tracks) <= set(entry.facts.playing) and len(entry.tracks) in (0, 2)
        if entry.twin:
            others = {role: voice for role, voice in entry.twin.items() if voice != entry.sketch.voices[role]}
            assert others and entry.twin.keys() == entry.sketch.voices.keys()
            assert {VOICES[v].role for v in others.values() if v in VOICES} == {
                VOICES[entry.sketch.voices[role]].role for role, v in others.items() if v in VOICES
            }
    assert np.array_equal(entry.read(latents.MIX, 20, 30), entry.read(latents.MIX)[:, 20:50])


@pytest.mark.slow
def test_sounds_can_be_deleted_and_new_songs_come_later(tmp_path, played):
    shelf, encode = songs.Shelf(tmp_path / "songs"), latents.Encoder(vocoder.new_vocoder().eval(), 1.0)
    copy_songs(played, shelf.folder, 2)
    assert list(latents.encode_songs(encode, shelf, tmp_path / "latents", forget=True)) == [(1, 2), (2, 2)]
    assert shelf.seeds == [] and len(latents.Library(tmp_path / "latents").songs) == 2
    assert latents.forgotten(tmp_path / "latents", shelf) == {songs.FIRST_SEED, songs.FIRST_SEED + 1}
    made = recipe.Recipe(tmp_path, tmp_path, order=songs.Order(3, workers=1))
    assert [done for done, _, _ in made._songs()] == [3] and shelf.seeds == [songs.FIRST_SEED + 2]
    assert list(latents.encode_songs(encode, shelf, tmp_path / "latents")) == [(3, 3)]
    with pytest.raises(UserError, match="the phase latents comes first"):
        latents.Library(tmp_path / "nothing")


# ---- what a stage is asked to make


@pytest.fixture(scope="module")
def items(encoded):
    rng, library = np.random.default_rng(0), latents.Library(encoded / "latents")
    return [assignments.draw(rng, library, True, 20) for _ in range(400)]


def test_every_task_comes_in_its_share_with_the_published_words(items):
    counts = {task: sum(item.task == task for item in items) / len(items) for task in assignments.SHARES}
    assert all(abs(counts[task] - share) < 0.07 and counts[task] > 0 for task, share in assignments.SHARES.items())
    begins = {"text2music": "Fill the audio semantic mask", "repaint": "Repaint the mask area", "lego": "Generate the "}
    begins |= {"cover": "Generate audio semantic", "cover-nofsq": "Generate audio semantic", "extract": "Extract the "}
    begins |= {"complete": "Complete the input track"}
    for item in items:
        assert item.prompt.startswith(f"# Instruction\n{begins[item.task]}"), item.prompt
        # The last frame may be a part of one, and the words have whole seconds, rounded down.
        told = int(item.prompt.split("- duration: ")[1].split(" seconds")[0])
        assert told <= item.frames / PER_SECOND < told + 1 + 1 / PER_SECOND
        if item.task in ("extract", "lego"):
            assert f"the {item.target.upper()} track" in item.prompt and item.target in TRACKS
    assert 0.05 < np.mean([item.dropped for item in items]) < 0.2
    assert {len(item.timbre) for item in items if item.task in ("extract", "lego", "complete")} == {0}
    assert 0.15 < np.mean([bool(item.timbre) for item in items]) < 0.35


def test_songs_are_whole_unless_a_part_is_the_source(items):
    for item in items:
        assert 0 < item.frames <= item.entry.frames - item.first
        if item.task in ("text2music", "cover", "cover-nofsq"):
            assert (item.first, item.frames) == (0, item.entry.frames)
            assert f"- duration: {int(item.entry.facts.seconds)} seconds" in item.prompt
    parts = {item.frames < item.entry.frames for item in items if item.task == "extract"}
    assert parts == {True, False}


def test_early_items_are_mostly_short_crops_that_begin_with_a_bar(encoded, monkeypatch):
    monkeypatch.setattr(assignments, "EARLY_CROP_S", (0.2, 0.5))
    rng, library = np.random.default_rng(1), latents.Library(encoded / "latents")
    items = [assignments.draw(rng, library, True, 20, early=True) for _ in range(200)]
    plain = [item for item in items if item.task == assignments.TEXT_TO_MUSIC]
    crops = [item for item in plain if item.frames < item.entry.frames]
    assert len(plain) > 0.65 * len(items) and len(crops) > 0.65 * len(plain)
    assert all(item.frames <= 0.5 * PER_SECOND + 1 for item in crops)
    places = [item.first / PER_SECOND / item.entry.sketch.seconds_per_bar for item in crops]
    assert max(places) > 0.9 and all(abs(place - round(place)) < 0.05 for place in places)


def test_beats_and_bars_of_a_crop_lie_where_the_band_plays_them(encoded):
    rng, library = np.random.default_rng(2), latents.Library(encoded / "latents")
    packer, entry = a_packer(4), library.songs[0]
    item = assignments.draw(rng, library, False)
    item = replace(
        item, entry=entry, target="mix", source=None, first=40, frames=entry.frames - 40, timbre=(), codes=False
    )
    beats = packer([item]).beats
    token_s, first_s = 4 / PER_SECOND, 40 / PER_SECOND
    for column, span in ((0, entry.sketch.seconds_per_beat), (1, entry.sketch.seconds_per_bar)):
        times = np.arange(0, 200) * span - first_s
        times = times[(times >= -1e-9) & (times < len(beats) * token_s)]
        assert beats[:, column].nonzero().flatten().tolist() == [int(at / token_s + 1e-6) for at in times]


def test_a_context_shows_what_the_task_is_given(items):
    pack, seen = a_packer(4, lambda source: 0.5 * source), set()
    for item in items[:200]:
        batch, frames = pack([item]), item.frames
        source, mask = batch.context[:CHANNELS, :frames], batch.context[CHANNELS:, :frames]
        music = torch.from_numpy(item.entry.read(item.target, item.first, frames)).float()
        assert torch.equal(batch.music[:, :frames], music)
        inside = torch.zeros(frames, dtype=torch.bool)
        for first, last in item.window or ((0, frames),):
            inside[first:last] = True
        assert torch.equal(mask.bool(), inside.expand_as(mask)) and inside.sum() > 0
        silent = pack.silent(frames)
        if item.task == "text2music":
            assert torch.equal(source, silent)
        elif item.task == "repaint":
            assert not inside.all() and torch.equal(source, torch.where(inside, silent, music))
        else:
            given = {"extract": "mix", "complete": "solo", "lego": f"without_{item.target}"}.get(item.task, item.source)
            known = torch.from_numpy(item.entry.read(given, item.first, frames)).float()
            assert torch.equal(source, 0.5 * known if item.task == "cover" else known)
        counted = inside if item.task == "lego" else torch.ones(frames, dtype=torch.bool)
        assert torch.equal(batch.counts[:frames].bool(), counted)
        assert batch.noted.eq(float(item.target in ("mix", "twin"))).all()
        seen |= {(item.task, item.window is not None)}
    assert len(seen) == 8  # lego with and without a window


def test_a_batch_is_its_items_and_none_of_them_is_padded(encoded, items):
    """The loss of a batch, item by item, is what each gives alone: lengths, captions and lyrics all differ."""
    trainer = stage_trainer("l")(encoded / "nowhere", encoded)
    torch.nn.init.normal_(trainer.networks.transformer.proj_out_conv.weight, std=0.1)
    trainer.networks.lean.dtype = torch.float32
    items = [replace(item, dropped=i == 2) for i, item in enumerate(items[:7])]
    together = trainer.packer(items)
    assert min(len({len(ids) for ids in words}) for words in (together.text, together.lyrics)) > 1
    assert len(set(together.tokens)) > 2 and together.dropped.tolist().count(True) == 1
    t = torch.linspace(0.1, 0.9, len(items))
    noise = drawn(*together.music.shape)
    with torch.no_grad():
        errors, notes, beats, lost = flow.flow_errors(trainer.networks, trainer.words, together, t, noise)
    patch = trainer.packer.patch
    frames, each = [patch * tokens for tokens in together.tokens], []
    for i, item in enumerate(items):
        alone = trainer.packer([item])
        with torch.no_grad():
            own = noise.split(frames, 1)[i]
            error, note, beat, missed = flow.flow_errors(trainer.networks, trainer.words, alone, t[i : i + 1], own)
        sung = int((alone.sung[:, 1] > alone.sung[:, 0]).sum())
        each.append((sung, missed))
        close(errors.split(frames)[i], error, 1e-4)
        close(notes.split(together.tokens)[i], note, 1e-4)
        close(beats.split(together.tokens)[i], beat, 1e-4)
    assert sum(sung for sung, _ in each) > 0
    close(lost, sum(sung * missed for sung, missed in each) / sum(sung for sung, _ in each), 1e-4)


def test_a_batch_is_the_steps_own_and_its_times_lean_to_the_slots_stretch(encoded):
    trainer = stage_trainer("l")(encoded / "nowhere", encoded)
    trainer.step = 3
    items, times = trainer.items(), trainer.times(200)
    budgeted = 6.0 * PER_SECOND / trainer.packer.patch
    sizes = [trainer.packer.tokens(item) for item in items]
    assert sum(sizes[:-1]) < budgeted <= sum(sizes)
    assert [item.prompt for item in items] == [item.prompt for item in trainer.items()]
    assert torch.equal(times, trainer.times(200)) and times.min() >= 0 and times.max() <= 1
    assert 0.85 < (times >= 0.5).float().mean() < 0.95  # all of its own share and half of the rest
    trainer.step = 4
    assert [item.prompt for item in items] != [item.prompt for item in trainer.items()]


def test_every_parameter_has_one_optimiser():
    networks = flow.Networks(flow.SLOTS["m"])
    held = [
        p for optimiser in flow.optimisers(networks, 1e-3) for group in optimiser.param_groups for p in group["params"]
    ]
    assert sorted(map(id, held)) == sorted(map(id, networks.parameters()))


def test_one_window_serves_all_networks_of_a_model():
    """config.json has room for one."""
    for slot in flow.SLOTS.values():
        assert slot.transformer["sliding_window"] == slot.encoder["sliding_window"]


def test_silence_is_as_long_as_asked():
    packer = a_packer(4)
    assert torch.equal(packer.silent(20), packer.silence[0, :, :20])
    assert torch.equal(packer.silent(33)[:, 30:], packer.silence[0, :, -1:].expand(-1, 3))


# ---- codes


def test_the_quantiser_is_diffusers_and_has_gradients():
    networks = codes.Networks(flow.SLOTS["l"].encoder)
    pooled = (3 * drawn(2, 5, 32)).requires_grad_()
    made = codes.quantised(networks.tokenizer.quantizer, pooled)
    theirs, numbers = networks.tokenizer.quantizer(pooled.detach())
    close(made.detach(), theirs, 1e-6)
    made.square().sum().backward()
    assert pooled.grad.abs().min() > 0 and numbers.min() >= 0 and numbers.max() < 1_000
    assert networks.tokenizer.quantizer.codebook_size == 1_000


def test_hints_are_five_codes_a_second_at_any_length():
    networks = codes.Networks(flow.SLOTS["l"].encoder)
    latents_, silence = drawn(1, CHANNELS, 3 * codes.WINDOW), 0.1 * drawn(1, CHANNELS, 2 * codes.WINDOW)
    assert codes.WINDOW == PER_SECOND / 5
    hints = networks.hints(latents_, silence)
    close(hints, networks(latents_)[0].detach())
    part = networks.hints(latents_[..., : 2 * codes.WINDOW + 3], silence)
    assert part.shape[-1] == 2 * codes.WINDOW + 3
    close(part[..., : 2 * codes.WINDOW], hints[..., : 2 * codes.WINDOW])


# ---- boundaries and time


def test_boundaries_are_where_the_curves_cross():
    at = np.array(boundaries.bins())
    curves = [list(1.0 + 0 * at), list(0.5 + at), list(0.2 + 3 * at)]
    edges, steps = boundaries.propose(curves, 20, 3.0)
    assert edges == (0.5, 0.25) and sum(steps) == 20 and steps[0] > steps[1] >= steps[2] > 0
    assert boundaries.gain(curves, edges) == pytest.approx(1 - (2 + 0.875 + 0.575) / 4)
    never_ahead, _ = boundaries.propose([curves[0], list(2 + at), list(3 + at)], 20, 3.0)
    assert never_ahead == (0.5, 0.25)  # each stage has a part all the same


def test_a_training_ends_when_its_time_is_over():
    class Trainer:
        step, steps, saved, now, rates = 7, 10_000, 0, 0.0, []

        def run(self):
            while self.step < self.steps:
                self.rates.append(checkpointing.warm_then_cool(self.step, self.steps))
                self.step, self.now = self.step + 1, self.now + 2.0
                yield self.step, {}, 2.0

        def save(self):
            self.saved = self.step

    trainer = Trainer()
    told = [step for step, _, _ in budget.within(trainer, 100.0, lambda: trainer.now)]
    assert told == list(range(8, 58)) and trainer.saved == 57 and trainer.rates[-1] < 0.1
    assert list(budget.until(iter(range(9)), 0.0)) == [0]


def test_time_goes_to_the_phases_that_are_open():
    times = budget.plan(100.0, ("vocoder", "l", "m", "export"), ("vocoder",))
    assert set(times) == {"l", "m"} and sum(times.values()) == pytest.approx(100.0) and times["l"] > times["m"] > 0


# ---- words


def test_the_tokenizer_knows_the_bands_words():
    tokenizer = words.new_tokenizer()
    said = tokenizer.convert_ids_to_tokens(tokenizer("Fast DRUMS, F# minor:599\n").input_ids)
    assert [token.removeprefix(words.MARK) for token in said] == ["fast", "drums", ",", "f#", "minor", ":", "599", "\n"]
    for seed in range(20):
        song = song_of(Sketch.draw(seed, 60.0), complete=True)
        for text in (text_prompt(song), lyrics_prompt(song)):
            said = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
            assert all(token.startswith((words.MARK, "<")) for token in said if token != "\n"), said


@pytest.mark.parametrize(
    "text", ["zyzzyva", "Crème brûlée", "дождь", "雨の歌 🎷", "dubstep", "a\x00b", "1234567", "a_"]
)
def test_no_word_is_unknown_and_none_is_taken_for_another(text):
    tokenizer = words.new_tokenizer()
    ids = tokenizer(text).input_ids
    assert ids and tokenizer.unk_token_id not in ids
    assert ids != tokenizer(text[::-1]).input_ids and tokenizer(text.upper()).input_ids == ids


def test_words_that_look_alike_share_pieces():
    tokenizer = words.new_tokenizer()
    one, other = (set(tokenizer(text).input_ids) for text in ("xylophonist", "xylophones"))
    assert len(one & other) > 4


def test_misspelt_captions_are_near_the_captions():
    text = "calm lo-fi with piano"
    made = [language.misspelt(np.random.default_rng(seed), text) for seed in range(200)]
    assert 0.15 < np.mean([one != text for one in made]) < 0.35
    assert all(len(text) - 1 <= len(one) <= len(text) for one in made)


def test_a_request_and_its_answers_agree():
    for seed in range(40):
        prompt, answers, code, length = language.request(seed, 0)
        assert (answers["tonic"] == 12) == (answers["minor"] == 2) and answers["metre"] < 4
        assert (answers["bpm"] == 121) == (not code.any())
        assert set(answers) == {question.name for question in language.QUESTIONS}
        assert all(0 <= answers[question.name] < question.answers for question in language.QUESTIONS)
        if answers["bpm"] != 121:
            assert str(answers["bpm"] + 60) in prompt
        asked = [track for track in TRACKS if answers[f"asks {track}"]]
        assert all(track.upper() in prompt for track in asked)
        assert np.array_equal(length, language.length_code(float(prompt.split("duration: ")[1].split()[0])))
        assert bool(asked) == (language.ASKED[answers["task"]] in ("extract", "lego", "complete"))
    far = [np.linalg.norm(language.tempo_code(120) - language.tempo_code(bpm)) for bpm in (120, 121, 122, 124, 180)]
    assert far == sorted(far)


def test_the_letters_and_vowels_of_words_are_known():
    tokenizer = words.new_tokenizer()
    ids, made = language.spelling(tokenizer)
    row = made[ids.tolist().index(tokenizer.convert_tokens_to_ids(words.MARK + "drums"))]
    letters = {letter for letter, there in zip(language.LETTERS, row.tolist()) if there}
    assert letters == set("drums") and len(ids) == len(made)


# ---- the family that comes out ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(played, tmp_path_factory):
    """(work folder, family, command): the recipe through the command line, two steps a phase, without the planner."""
    folder = tmp_path_factory.mktemp("recipe")
    copy_songs(played, folder / "work" / "songs", SONGS - 1)
    command = ["train", "tiny", "--work", str(folder / "work"), "--out", str(folder / "tiny"), "-q"]
    command += ["--songs", str(SONGS), "--clips", str(CLIPS), "--threads", "1", *WITHOUT_PLANNER]
    for phase in PHASES[1:]:
        command += ["--steps", f"{phase}=2"] * (phase not in ("latents", "clips", "export"))
    assert cli.main(command) == 0
    return folder / "work", folder / "tiny", command


@pytest.mark.slow
@torch.no_grad()
def test_the_recipe_writes_a_cascade_that_plays(trained):
    work, family, _ = trained
    cascade = Cascade.load(family, device="cpu", dtype="fp32")
    assert cascade.latents == LatentSpec(CHANNELS, vocoder.SAMPLES_PER_FRAME, RATE_HZ)
    assert [cascade.pool[where].family for where in cascade.stages] == ["xl", "2b", "2b"]
    assert [sum(one.cascade_steps) for one in cascade.defaults] == [sum(export.CASCADE_STEPS)] * 3
    assert {one.guidance_kind for one in cascade.defaults} == {export.GUIDANCE_KIND}
    assert {frozenset(one.tasks) for one in cascade.defaults} == {frozenset(ALL_TASKS)}
    song = Song("happy house with drums", bpm=120, seconds=10)
    made = cascade.generate(song, seed=1, steps=(1, 1, 1)).samples
    assert made.shape == (1, 2, 480_000) and torch.isfinite(made).all() and made.abs().max() > 0.1
    assert not torch.equal(cascade.generate(song, seed=2, steps=(1, 1, 1)).samples, made)


@pytest.mark.slow
@torch.no_grad()
def test_the_family_holds_what_was_learnt_in_half_precision(trained):
    work, family, _ = trained
    for slot in "lms":
        weights = load_file(family / slot / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    cascade = Cascade.load(family, device="cpu", dtype="fp32")
    average = checkpointing.load_state(work / "l.pt")["average"]
    network = cascade.pool[cascade.stages[0]].transformer
    for name, value in network.state_dict().items():
        close(value, average[f"transformer.{name}"], 1e-3)
    assert cascade.pool[TEXT].tokenizer.encode("happy house").ids == words.new_tokenizer()("happy house").input_ids
    vae, scale = export.load_vocoder(work), export.latent_scale(export.load_vocoder(work), work)
    shelf = songs.Shelf(work / "songs")
    sound = shelf.sound(songs.Crop(shelf.facts(shelf.seeds[0]), 0.0, 0.5))
    wave = torch.from_numpy(sound / np.float32(32_767))[None]
    close(cascade.pool[VOCODER].encode(Waveform(wave, RATE_HZ)), scale * vae.encode(wave).latent_dist.mean, 0.02)
    assert cascade.pool[cascade.stages[0]].silence.shape == (1, CHANNELS, export.SILENCE_SECONDS * PER_SECOND)


@pytest.mark.slow
def test_latents_have_a_deviation_of_one(trained):
    mixes = [np.load(file).astype(np.float32) for file in (trained[0] / "latents").glob("*.mix.npy")]
    assert len(mixes) == SONGS + CLIPS and 0.5 < np.concatenate(mixes, 1).std() < 2


@pytest.mark.slow
def test_every_stage_has_a_curve_of_its_losses(trained):
    curves = boundaries.known_curves(trained[0], "lms")
    assert [len(curve) for curve in curves] == [boundaries.BINS] * 3 and np.isfinite(curves).all()


@pytest.mark.slow
@torch.no_grad()
def test_an_exported_stage_makes_the_hints_it_was_trained_with(trained):
    work, family, _ = trained
    model = load_stage_model(family / "l", parts=("audio_tokenizer", "audio_token_detokenizer"))
    music = drawn(1, CHANNELS, 130)
    rounded = export.load_codes(work).half().float()  # a code may change where its value lies between two
    close(hints_of_latents(model, music), rounded.hints(music, model.silence))


@pytest.mark.slow
@torch.no_grad()
def test_the_head_that_was_trained_to_follow_the_lyrics_is_the_one_that_the_config_names(trained, encoded, items):
    """Its weights by the stage that plays songs are those of the queries and keys that training saw."""
    work, family, _ = trained
    known = {letter: load_stage_model(family / letter).defaults for letter in "lms"}
    assert [(one.lyric_heads_trained, len(one.lyric_heads)) for one in known.values()] == [(True, 1), *[(False, 0)] * 2]
    heads = dict(known["l"].lyric_heads)
    assert heads == {packed.follower_layer(flow.SLOTS["l"].transformer["num_hidden_layers"]): (packed.FOLLOWER,)}
    trainer = stage_trainer("l")(work, encoded)
    networks = trainer.average.eval()
    networks.lean.dtype = torch.float32
    batch = trainer.packer(items[:1])
    told = networks._states(batch, trainer.words.states(batch.text), trainer.words.embeddings(batch.lyrics))
    t, x = torch.tensor([0.3]), drawn(*batch.music.shape)
    *_, (queries, keys) = networks.lean(x, t, told[0], batch.context, batch.pack([len(told[0])]))
    trained_weights = (queries @ keys.T * queries.shape[-1] ** -0.5).softmax(-1)
    model = load_stage_model(family / "l", dtype=torch.float32)
    condition = Condition(told[0][None], networks.encoder.null_condition_emb, batch.context[None])
    (weights,) = prepare(model.transformer, condition).cross_weights(x[None], t, heads)
    close(weights[0, 0], trained_weights, 0.02)  # weights are shipped in half precision


@pytest.mark.slow
def test_the_same_command_has_nothing_left_to_do(trained, monkeypatch, capsys):
    work, family, command = trained
    kept = {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()}
    weights = {file: file.read_bytes() for file in family.rglob("*.safetensors")}
    monkeypatch.setattr(songs, "play_song", None)
    assert cli.main([part for part in command if part != "-q"]) == 0
    assert {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()} == kept
    assert {file: file.read_bytes() for file in family.rglob("*.safetensors")} == weights
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == ["songs", "export"] and f"MB in {family}" in told[-1]


@pytest.mark.slow
def test_a_family_can_be_trained_further(trained, tmp_path, encoded):
    _, family, _ = trained
    warm.warm_start(tmp_path, family)
    export.export(tmp_path, tmp_path / "again")
    for file in family.rglob("*.safetensors"):
        assert (tmp_path / "again" / file.relative_to(family)).read_bytes() == file.read_bytes(), file
    made = stage_trainer("l")(tmp_path, encoded)
    assert made.step == 0 and [step for step, _, _ in made.run()] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="already holds a training"):
        warm.warm_start(tmp_path, family)


@pytest.mark.slow
def test_a_family_of_another_vocabulary_keeps_its_vocoder_and_what_fits(trained, tmp_path, monkeypatch):
    _, family, _ = trained
    usual = words.words_of_the_band
    monkeypatch.setattr(words, "words_of_the_band", lambda: usual()[:-1])
    larger = flow.SLOTS["s"].encoder | dict(num_lyric_encoder_hidden_layers=2)
    monkeypatch.setitem(flow.SLOTS, "s", replace(flow.SLOTS["s"], encoder=larger))
    warm.warm_start(tmp_path, family)
    text, known = language.Trainer(tmp_path, 2), load_text_encoder(family / "text_encoder")
    rows = known.tokenizer.get_vocab()
    words_kept = text.tokenizer.convert_ids_to_tokens(text.kept)
    assert text.step == 0 and 40 < len(text.kept) < len(text.tokenizer)
    theirs = language.new_encoder(len(rows))
    theirs.load_state_dict({name: tensor.float() for name, tensor in known.model.state_dict().items()})
    said = theirs(torch.tensor([[rows[word] for word in words_kept]])).last_hidden_state
    assert [step for step, _, _ in text.run()] == [1, 2]  # only the other words have changed
    after = language.Trainer(tmp_path, 2)
    assert torch.equal(after.model(torch.tensor([after.kept])).last_hidden_state, said)
    fresh = language.new_encoder(len(text.tokenizer)).get_input_embeddings().weight
    assert not torch.equal(after.model.get_input_embeddings().weight, fresh)
    kept = load_file(family / "vae" / "diffusion_pytorch_model.safetensors")
    vae = checkpointing.load_state(tmp_path / "vocoder.pt")["vae"]
    assert all(torch.equal(vae[name], tensor.float()) for name, tensor in kept.items())
    made = checkpointing.load_state(tmp_path / "s.pt")["networks"]
    theirs = load_stage_model(family / "s", parts=()).condition_encoder.state_dict()
    new = [name for name in made if "lyric_encoder.layers.1." in name]  # beside what is kept, and changing nothing yet
    assert [name for name in new if not made[name].any()] == [
        name for name in new if name.endswith(warm._LAST_OF_LAYER)
    ]
    name = next(name for name in theirs if name.startswith("lyric_encoder.layers.0.") and theirs[name].ndim == 2)
    assert torch.equal(made[f"encoder.{name}"], theirs[name].float())


@pytest.mark.slow
def test_a_training_goes_on_from_a_state(trained, tmp_path, encoded, monkeypatch):
    """A state holds steps and averages in half precision, in small files, without the optimisers."""
    work, family, command = trained
    monkeypatch.setattr(warm, "FILE_BYTES_MOST", 100_000)
    assert cli.main([*command[:4], "--out", str(tmp_path / "state"), "--only", "state", "-q"]) == 0
    files = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert {"state.json", "scale.json", "l.losses.json", "l-1.safetensors", "l-2.safetensors"} <= set(files)
    assert cli.main(["train", "tiny", "--work", str(tmp_path / "w"), "--warm", str(tmp_path / "state"), "--out",
                     str(tmp_path / "again"), "--only", "export", "-q"]) == 0  # fmt: skip
    for file in family.rglob("*.safetensors"):
        ours, theirs = load_file(tmp_path / "again" / file.relative_to(family)), load_file(file)
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            close(ours[name].float(), tensor.float(), 2e-3)
    for phase in ("l", "codes", "text", "vocoder"):
        assert checkpointing.load_state(tmp_path / "w" / f"{phase}.pt")["step"] == 2
    kept, whole = latents.Library(tmp_path / "w" / "latents"), latents.Library(work / "latents")
    for ours, theirs in zip((*kept.songs, *kept.held_out), (*whole.songs, *whole.held_out), strict=True):
        assert (ours.facts, ours.tracks, ours.twin) == (theirs.facts, theirs.tracks, theirs.twin)
        for name in (latents.MIX, *theirs.tracks, *(latents.TWIN,) * bool(theirs.twin)):
            limited = np.clip(theirs.read(name).astype(np.float32), -25.4, 25.4)
            assert np.abs(ours.read(name).astype(np.float32) - limited).max() <= 0.101  # half of a step
        assert np.array_equal(ours.read(latents.NOTES), theirs.read(latents.NOTES))
    made = stage_trainer("l")(tmp_path / "w", encoded)
    assert made.step == made.warm_from == 2 and [step for step, _, _ in made.run()] == [3, 4]
    (tmp_path / "state" / "l-1.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="the state is not whole"):
        warm.warm_start(tmp_path / "other", tmp_path / "state")
    assert not list((tmp_path / "other").glob("*.pt"))  # so that the whole state can be given next
    (tmp_path / "state" / "latents-1.zip").write_bytes(b"cut")
    with pytest.raises(UserError, match="the state is not whole"):
        warm.restore_latents(tmp_path / "state", tmp_path / "third")


def test_a_state_of_the_vocoder_alone_goes_on_where_it_stopped(tmp_path, encoded):
    """On another machine, in the middle of the phase; the optimiser begins gently."""
    stopped = vocoder_trainer(tmp_path / "a", encoded)
    assert [step for step, _, _ in islice(stopped.run(), 2)] == [1, 2]
    stopped.save()
    size = warm.keep_state(tmp_path / "a", tmp_path / "state")
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"state.json", "vocoder-1.safetensors"}
    assert size < 2.3 * sum(value.numel() for value in stopped.vae.state_dict().values()) + 60_000
    (tmp_path / "b").mkdir()
    warm.warm_start(tmp_path / "b", tmp_path / "state")
    resumed = vocoder_trainer(tmp_path / "b", encoded)
    for name, value in resumed.vae.state_dict().items():
        close(value, stopped.vae.state_dict()[name], 1e-3)
    assert [step for step, _, _ in islice(resumed.run(), 1)] == [3] and resumed.warm_from == 2
    rates = {group["lr"] for optimiser in resumed.optimisers for group in optimiser.param_groups}
    assert rates == {vocoder.LEARNING_RATE * (1 / 100)}
    resumed.save()
    again = vocoder_trainer(tmp_path / "b", encoded)  # stopped once more: its warm start is not begun anew
    assert (again.step, again.warm_from) == (3, 2) and [step for step, _, _ in again.run()] == [4]


@pytest.mark.parametrize(
    "about, message",
    [
        ({"{outside}/mine": {"numbers": {"step": 1}, "files": []}}, "is no phase of a training"),
        ({"../mine": {"numbers": {"step": 1}, "files": []}}, "'../mine' is no phase of a training"),
        ({"vocoder": {}}, "'vocoder' is no phase of a training with its numbers and files"),
        ({"vocoder": [1]}, "'vocoder' is no phase of a training with its numbers and files"),
        ({"vocoder": {"numbers": {"step": 1}, "files": ["../x.safetensors"]}}, "is no phase of a training"),
        ({"vocoder": {"numbers": {"step": "1"}, "files": []}}, "is no phase of a training"),
        ({"text": {"numbers": {"step": 1, "kept": [10**9]}, "files": []}}, "'text' is no phase of a training"),
        ({"text": {"numbers": {"step": 1}, "files": []}}, "text has no trained; the state is not whole"),
        ({"planner": {"numbers": {"step": 1}, "files": []}}, "planner has no network, tokenizer; the state is not"),
    ],
)
def test_a_state_of_something_else_writes_nothing(about, message, tmp_path):
    state, work, outside = (tmp_path / name for name in ("state", "work", "outside"))
    for folder in (state, work, outside):
        folder.mkdir()
    about = {phase.replace("{outside}", str(outside)): one for phase, one in about.items()}
    (state / "state.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=re.escape(message)):
        warm.warm_start(work, state)
    assert not list(work.iterdir()) and not list(outside.iterdir()) and not (tmp_path / "mine.pt").exists()


@pytest.mark.parametrize("phase", ["vocoder", "decoder"])
def test_weights_of_other_networks_are_told_as_such(phase, tmp_path, encoded, monkeypatch):
    vocoder_trainer(tmp_path, encoded).save()
    monkeypatch.setitem(vocoder.CONFIG, "decoder_channels", 6)
    with pytest.raises(UserError, match=r"vocoder\.pt: has weights of other networks than the recipe trains now"):
        TRAINERS[phase](tmp_path, encoded)


@pytest.mark.slow
def test_a_family_is_trained_in_a_given_time(tmp_path, monkeypatch):
    """Every phase for its share, and a state is kept on the way."""
    monkeypatch.setattr(recipe, "STATE_EVERY_S", 0.0)
    command = ["train", "tiny", "--work", str(tmp_path / "w"), "--out", str(tmp_path / "tiny"), "-q"]
    command += ["--songs", "2", "--threads", "1", "--time-budget", "0.05", *WITHOUT_PLANNER]
    assert cli.main([part for part in command if part != "-q"]) == 0
    assert all(checkpointing.load_state(tmp_path / "w" / f"{phase}.pt")["step"] >= 1 for phase in ("text", *"lms"))
    assert (tmp_path / "tiny" / "state" / "state.json").exists() and (tmp_path / "tiny" / "l").is_dir()


# ---- the command -----------------------------------------------------------------------------------------------------


def test_help_is_answered_without_torch(tmp_path):
    watch = (
        "import sys; from acestep_core.cli.parser import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", watch, "train", "tiny", "--help"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and all(phase in done.stdout for phase in PHASES) and not list(tmp_path.iterdir())


MISTAKES = [
    (["--steps", "x=3"], "--steps: got 'x=3', expected PHASE=N with PHASE one of vocoder, text,"),
    (["--steps", "vocoder"], "--steps: got 'vocoder', expected PHASE=N"),
    (["--steps", "l=0"], "--steps: got 'l=0', expected PHASE=N"),
    (["--steps", "l=²"], "--steps: got 'l=²', expected PHASE=N"),
    (["--threads", "0"], "--threads: got 0, expected 1 to 1024"),
    (["--threads", "9999999999999"], "--threads: got 9999999999999, expected 1 to 1024"),
    (["--steps", "clips=5"], "--steps: got 'clips=5', expected PHASE=N"),
    (["--steps", "l=" + 5000 * "9"], "expected PHASE=N with PHASE"),
    (["--work", __file__], "test_recipe.py is a file, expected a folder"),
    (["--out", __file__], "test_recipe.py is a file, expected a folder"),
    (["--clips", "0"], "--clips: got 0, expected more than 0"),
    (["--device", "toaster"], "device: got 'toaster', expected auto, cpu"),
    (["--time-budget", "0"], "--time-budget: got 0, expected more than 0"),
    (["--only", "codes"], "the phase latents comes first; run it with --only latents"),
    (["--only", "dancing"], "argument --only: invalid choice: 'dancing'"),
    (["--warm", "nowhere"], "nowhere"),
    (["--only", "vocoder"], "songs is empty: the phase songs comes first; run it with --only songs"),
    (["--only", "decoder"], "vocoder.pt is missing: the phase vocoder comes first"),
    (["--only", "latents"], "vocoder.pt is missing: the phase vocoder comes first"),
    (["--only", "export"], "vocoder.pt is missing: the phase vocoder comes first"),
    (["--only", "s"], "text.pt is missing: the phase text comes first; run it with --only text"),
]


@pytest.mark.parametrize("arguments, message", MISTAKES, ids=lambda value: "".join(value))
def test_a_mistake_is_one_line_and_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "tiny", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and message in said.err

"""The recipe of the tiny family, run in miniature: trainings go on where they stopped, and a family comes out."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.band import Sketch, song_of, voices
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import TEXT, VOCODER, Cascade
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.spec import LatentSpec
from acestep_pack.acestep_core.tiny_recipe import (
    checkpointing,
    clips,
    export,
    flow,
    language,
    latents,
    recipe,
    vocoder,
    words,
)
from acestep_pack.acestep_core.tiny_recipe import warm_start as warm
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 48_000
PHASES = ("vocoder", "text", "latents", "l", "m", "s", "decoder", "export")


@pytest.fixture(autouse=True, scope="module")
def miniature():
    """The whole recipe at the smallest size that is still the recipe."""
    known, listener = words.words_of_the_band, flow._encoder(32, 48, 1)
    slots = {
        "l": flow.Slot("l", "xl", (0.75, 1.0), flow._geometry(48, 64, 2, 2, 1, 16, 32), listener, 2),
        "m": flow.Slot("m", "2b", (0.4, 0.85), flow._geometry(32, 48, 2, 1, 1, 16), listener, 2),
        "s": flow.Slot("s", "2b", (0.0, 0.5), flow._geometry(32, 48, 2, 1, 1, 8), listener, 2, 2e-3, 0.8),
    }
    numbers = {
        vocoder: dict(CLIPS=2, CLIP_SECONDS=0.5, BATCH=2, CROP_FRAMES=20, SAVE_EVERY_STEPS=2),
        language: dict(BATCH=4),
        words: dict(words_of_the_band=lambda: known(60)),
        latents: dict(SETS=((100_000, 2, 1.0), (200_000, 1, 1.5)), VARIANTS=16),
        flow: dict(CROPS=((0.5, 4, 0.5), (1.2, 4, 0.5)), TIMBRE_FRAMES=60, SAVE_EVERY_STEPS=2, SLOTS=slots),
        export: dict(SILENCE_SECONDS=0.5),
        voices: dict(LONGEST_NOTE_S=1.0),
        clips: dict(ProcessPoolExecutor=ThreadPoolExecutor),  # a new process would not know the pack by this name
    }
    voices._tone.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for module, values in numbers.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        for name, value in dict(decoder_channels=4, channel_multiples=[1, 1, 1, 2]).items():
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


def vocoder_trainer(folder):
    return vocoder.Trainer(folder, 4, decoder_only=False)


def decoder_trainer(folder):
    if not (folder / "vocoder.pt").exists():
        vocoder_trainer(folder).save()
    return vocoder.Trainer(folder, 4, decoder_only=True)


def text_trainer(folder):
    return language.Trainer(folder, 4)


def stage_trainer(slot):
    def make(folder):
        ids = torch.arange(1, 13)
        seeds = [100_000, 100_001, 200_000]
        library = latents.Library(
            {seed: drawn(8, 300, seed=seed).half() for seed in seeds},
            {12: [(seed, ids) for seed in seeds * 4]},
            torch.arange(5),
        )
        text = language.new_encoder(20).requires_grad_(False).eval()
        return flow.Trainer(flow.SLOTS[slot], folder, library, text, 0.1 * drawn(1, 8, 30), 4)

    return make


TRAINERS = {"vocoder": vocoder_trainer, "decoder": decoder_trainer, "text": text_trainer}
TRAINERS |= {"l": stage_trainer("l"), "s": stage_trainer("s")}


@pytest.mark.slow
@pytest.mark.parametrize("phase", TRAINERS)
def test_a_resumed_training_is_an_unbroken_one_to_the_bit(phase, tmp_path):
    make = TRAINERS[phase]
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


def test_the_second_phase_trains_the_decoder_alone(tmp_path):
    trainer = decoder_trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.vae.state_dict().items()}
    list(trainer.run())
    changed = {name for name, value in trainer.vae.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert (tmp_path / "vocoder.pt").exists() and (tmp_path / "vocoder_decoder.pt").exists()


def test_what_was_learnt_is_saved_however_a_training_ends():
    class Trainer:
        saved_at, step = None, 0

        def run(self):
            while True:
                if self.step == 1:
                    signal.raise_signal(signal.SIGINT)  # Ctrl-C in the middle of the second step
                self.step += 1
                yield self.step

        def save(self):
            self.saved_at = self.step

    stopped, closed = Trainer(), Trainer()
    with pytest.raises(KeyboardInterrupt):
        list(recipe._saved_at_the_end(stopped))
    steps = recipe._saved_at_the_end(closed)
    next(steps)
    steps.close()
    assert stopped.saved_at == 2 and closed.saved_at == 1


# ---- what is learnt from ---------------------------------------------------------------------------------------------


def test_a_clip_is_played_once(tmp_path, monkeypatch):
    path = next(clips.play_each(tmp_path / "clips", [3], 0.2))
    sound = clips.load(path)
    assert sound.shape == (2, 9_600) and sound.dtype == np.int16 and 3_000 < np.abs(sound.astype(int)).max() <= 32_767
    monkeypatch.setattr(clips, "play", None)
    assert clips.play_into(tmp_path / "clips", 3, 0.2) == path and list(clips.play_each(path.parent, [3], 0.2)) == [
        path
    ]
    assert [file.name for file in path.parent.iterdir()] == ["3_0.2s.npy"]


def test_a_batch_is_the_steps_own_and_leans_to_the_slots_stretch(tmp_path):
    trainer = stage_trainer("l")(tmp_path)
    kept, told_nothing = [], []
    for trainer.step in range(60):
        batch = trainer.batch()
        items, channels, frames = batch["music"].shape
        assert channels == 8 and frames in (100, 240) and batch["timbre"].shape[1:] == (8, 60)
        # Silence comes first and is there once; every other clip is heard by one item.
        assert sorted(set(batch["chosen"].tolist()) | {0}) == list(range(len(batch["timbre"])))
        assert batch["chosen"].shape == (items,)
        assert batch["notes"].shape == (items, -(-frames // 16), 24) and 0 < batch["notes"].mean() < 0.5
        assert batch["ids"].shape == (items, 12) and batch["window"].shape == (items, 1, frames)
        assert ((batch["t"] >= 0) & (batch["t"] <= 1)).all() and (batch["window"][..., -1] == 1).all()
        kept += (batch["window"][:, 0, 0] == 0).tolist()
        told_nothing += batch["dropped"].tolist()
    assert same(batch, trainer.batch())
    trainer.step = 0
    assert not same(batch, trainer.batch())
    assert 0.1 < np.mean(kept) < 0.3 and 0.05 < np.mean(told_nothing) < 0.2


def test_every_parameter_has_one_optimiser():
    networks = flow.Networks(flow.SLOTS["m"])
    held = [
        p for optimiser in flow.optimisers(networks, 1e-3) for group in optimiser.param_groups for p in group["params"]
    ]
    assert sorted(map(id, held)) == sorted(map(id, networks.parameters()))


def test_silence_is_as_long_as_asked():
    silence = drawn(1, 8, 30)
    assert torch.equal(flow.silent(silence, 20), silence[..., :20])
    assert torch.equal(flow.silent(silence, 33)[..., 30:], silence[..., -1:].expand(-1, -1, 3))


def test_a_library_without_enough_says_so(tmp_path):
    with pytest.raises(UserError, match="the phase latents comes first"):
        latents.Library.open(tmp_path, None)
    library = latents.Library({100_000: drawn(8, 300)}, {3: [(100_000, torch.arange(3))] * 8}, torch.arange(5))
    seeds, ids = library.draw(np.random.default_rng(0), 6, 0.5)
    assert seeds == [100_000] * 6 and ids.shape == (6, 3)
    with pytest.raises(UserError, match="too few of 1.2 s or more"):
        library.draw(np.random.default_rng(0), 6, 1.2)


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
        prompt, answers, code = language.request(seed, 0)
        assert (answers["tonic"] == 12) == (answers["minor"] == 2) and answers["metre"] < 4
        assert (answers["bpm"] == 121) == (not code.any())
        assert set(answers) == {question.name for question in language.QUESTIONS}
        assert all(0 <= answers[question.name] < question.answers for question in language.QUESTIONS)
        if answers["bpm"] != 121:
            assert str(answers["bpm"] + 60) in prompt
    far = [np.linalg.norm(language.tempo_code(120) - language.tempo_code(bpm)) for bpm in (120, 121, 122, 124, 180)]
    assert far == sorted(far)


# ---- the family that comes out ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(work folder, family, command): the whole recipe through the command line, two steps a phase."""
    folder = tmp_path_factory.mktemp("recipe")
    command = ["train", "tiny", "--work", str(folder / "work"), "--out", str(folder / "tiny"), "-q"]
    for phase in ("vocoder", "text", "l", "m", "s", "decoder"):
        command += ["--steps", f"{phase}=2"]
    assert cli.main(command) == 0
    return folder / "work", folder / "tiny", command


@pytest.mark.slow
@torch.no_grad()
def test_the_recipe_writes_a_cascade_that_plays(trained):
    work, family, _ = trained
    cascade = Cascade.load(family, device="cpu", dtype="fp32")
    assert cascade.latents == LatentSpec(8, 240, RATE_HZ)
    assert [cascade.pool[where].family for where in cascade.stages] == ["xl", "2b", "2b"]
    assert [one.cascade_steps for one in cascade.defaults] == [export.CASCADE_STEPS] * 3
    assert {one.guidance_kind for one in cascade.defaults} == {export.GUIDANCE_KIND}
    song = Song("happy house with drums", bpm=120, seconds=10)
    made = cascade.generate(song, seed=1, steps=(1, 1, 1)).samples
    assert made.shape == (1, 2, 480_000) and torch.isfinite(made).all() and made.abs().max() > 0.1
    assert not torch.equal(cascade.generate(song, seed=2, steps=(1, 1, 1)).samples, made)


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
    assert cascade.pool[TEXT].tokenizer("happy house").input_ids == words.new_tokenizer()("happy house").input_ids
    vae, scale = export.load_vocoder(work), export.latent_scale(export.load_vocoder(work), work)
    wave = torch.from_numpy(clips.load(work / "clips" / "0_0.5s.npy") / np.float32(32_767))[None]
    close(cascade.pool[VOCODER].encode(Waveform(wave, RATE_HZ)), scale * vae.encode(wave).latent_dist.mean, 0.02)
    assert cascade.pool[cascade.stages[0]].silence.shape == (1, 8, 100)


def test_latents_have_a_deviation_of_one_and_their_clips_are_gone(trained):
    work, _, _ = trained
    files = sorted((work / "latents").glob("*.npy"))
    assert [file.stem for file in files] == ["100000", "100001", "200000"]
    assert [np.load(file).shape for file in files] == [(8, 200), (8, 200), (8, 300)]
    assert all(0.3 < np.load(file).astype(np.float32).std() < 3 for file in files)
    assert sorted(file.name for file in (work / "clips").iterdir()) == ["0_0.5s.npy", "1_0.5s.npy"]


def test_the_same_command_has_nothing_left_to_do(trained, monkeypatch, capsys):
    work, family, command = trained
    kept = {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()}
    weights = {file: file.read_bytes() for file in family.rglob("*.safetensors")}
    monkeypatch.setattr(clips, "play", None)
    for phase in ("vocoder", "text", "latents", "l", "export"):
        command = [*command, "--only", phase]
    assert cli.main([part for part in command if part != "-q"]) == 0
    assert {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()} == kept
    assert {file: file.read_bytes() for file in family.rglob("*.safetensors")} == weights
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == ["latents", "export"] and f"MB in {family}" in told[-1]


def test_a_family_can_be_trained_further(trained, tmp_path):
    _, family, _ = trained
    warm.warm_start(tmp_path, family)
    export.export(tmp_path, tmp_path / "again")
    for file in family.rglob("*.safetensors"):
        assert (tmp_path / "again" / file.relative_to(family)).read_bytes() == file.read_bytes(), file
    made = stage_trainer("l")(tmp_path)
    assert made.step == 0 and [step for step, _, _ in made.run()] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="already holds a training"):
        warm.warm_start(tmp_path, family)


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
    (["--threads", "0"], "--threads: got 0, expected at least 1"),
    (["--device", "toaster"], "device: got 'toaster', expected auto, cpu"),
    (["--only", "dancing"], "argument --only: invalid choice: 'dancing'"),
    (["--warm", "nowhere"], "nowhere"),
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

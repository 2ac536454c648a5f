"""The measurements: right where the answer is known, every figure in the card, a miniature family measured whole."""

import dataclasses
import json
import math
import shutil

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.band import voices
from acestep_pack.acestep_core.band.mix import stems
from acestep_pack.acestep_core.cli import bench_tiny as measure
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.console import Console
from acestep_pack.acestep_core.errors import AceStepError
from acestep_pack.acestep_core.evaluation import edit_figures, song_figures, truths, verdict, vocoder_figures
from acestep_pack.acestep_core.evaluation import embedded_family as family_figures
from acestep_pack.acestep_core.evaluation import listening as listen
from acestep_pack.acestep_core.generation.cascade import VOCODER, Cascade
from acestep_pack.acestep_core.spec import LatentSpec
from acestep_pack.acestep_core.tiny_recipe.songs import FIRST_HELD_OUT_SEED
from safetensors.torch import load_file, save_file

SECONDS = 1.5


@pytest.fixture(scope="module")
def family(tiny_family, tmp_path_factory):
    """The small random family at 48 kHz, 100 frames a second, its vocoder made loud enough to hear notes in."""
    folder = tmp_path_factory.mktemp("family_figures") / "family"
    shutil.copytree(tiny_family, folder)
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sampling_rate": 48_000}))
    weights = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    weights["decoder.conv2.weight_g"] *= 100
    save_file(weights, folder / "vae" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def cascade(family):
    return Cascade.load(family, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def held_out():
    """Three held-out clips, their notes kept short: most of the time goes into long ones."""
    voices._tone.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices, "LONGEST_NOTE_S", 1.0)
        made = [truths.truth(FIRST_HELD_OUT_SEED + number, SECONDS) for number in range(3)]
        for one in made:
            assert one.takes and one.other_melody  # played while notes are short
        yield made
    voices._tone.cache_clear()


@pytest.fixture
def told_ears(held_out, monkeypatch):
    """A listener that is told what plays in the clips of the band, and hears nothing in others."""

    def asked(wave):
        return next((truth for truth in held_out if torch.equal(truth.wave, wave)), None)

    def instruments(wave):
        known = asked(wave)
        return {role: known is not None and role in known.sketch.voices for role in listen.ROLES}

    monkeypatch.setattr(listen, "tempo_bpm", lambda wave: asked(wave).sketch.bpm if asked(wave) else 1.0)
    monkeypatch.setattr(listen, "instruments", instruments)


def sampled(truth):
    """The truth, with what a soundfont would play."""
    found = dataclasses.replace(truth)
    vars(found).update(wave=truth.wave, sampled=truth.wave.flip(0))
    return found


def noise(seed, seconds=1.5, level=0.1):
    return level * torch.randn(2, int(48_000 * seconds), generator=torch.Generator().manual_seed(seed))


# ---- figures whose answer is known -----------------------------------------------------------------------------------


def test_a_truth_is_a_clip_and_its_request(held_out):
    for number, truth in enumerate(held_out):
        assert truth.sketch.seed == 1_000_000 + number and truth.wave.shape == (2, 72_000)
        assert truth.song.bpm == truth.sketch.bpm and truth.song.key == truth.sketch.key
        assert truth.named <= set(truth.sketch.voices) and not truth.forbidden & set(truth.sketch.voices)


def test_the_frechet_distance_is_zero_for_the_same_and_grows_with_the_difference():
    quiet, loud, louder = ([noise(seed, level=level) for seed in (0, 1)] for level in (0.05, 0.1, 0.2))
    assert song_figures.frechet(quiet, quiet) == pytest.approx(0, abs=1e-3)
    near, far = song_figures.frechet(quiet, loud), song_figures.frechet(quiet, louder)
    assert song_figures.frechet(loud, quiet) == pytest.approx(near, rel=1e-3)
    assert far > 3 * near and near == pytest.approx(40 * (20 * math.log10(2) / 10) ** 2, rel=0.05)


def test_the_listener_is_right_where_it_is_told(held_out, told_ears):
    figures = song_figures.ceiling(held_out)
    assert figures["listener on real clips: tempo"] == figures["listener on real clips: instruments"] == 1
    assert figures["listener on real clips: voice"] == 1
    wrong = song_figures.song_figures(held_out, [noise(number) for number in range(3)], 50.0)
    assert all(math.isfinite(value) for value in wrong.values()) and len(wrong) == 8
    unsung = sum(not truth.sketch.sung for truth in held_out)
    assert wrong["songs: a voice where there are lyrics, none where not"] == pytest.approx(unsung / 3)
    assert wrong["songs: log-mel to the band's own, above another melody's (dB)"] > 3
    named = sum(len(truth.named) for truth in held_out)
    denied = sum(len(truth.forbidden) for truth in held_out)
    assert wrong["songs: instruments named found, forbidden not"] == pytest.approx(denied / (named + denied))
    assert wrong["songs: tempo within 4 % of the asked"] == 0


def test_tempo_counts_only_where_drums_are_named(held_out, told_ears):
    silent = [truth for truth in held_out if "drums" not in truth.named]
    assert math.isnan(song_figures.ceiling(silent)["listener on real clips: tempo"])


def test_a_perfect_vocoder_has_perfect_figures(cascade, held_out, monkeypatch):
    class Perfect:
        def encode(self, wave):
            return wave

        latents = LatentSpec(2, 480, 48_000)

        def decode(self, wave):
            return wave

    monkeypatch.setattr(vocoder_figures, "seam", lambda vocoder, truth: 0.0)
    figures = vocoder_figures.vocoder_figures(Perfect(), [sampled(one) for one in held_out[:2]])
    assert figures["vocoder: log-mel distance (dB)"] == figures["vocoder: worst clip (dB)"] == 0
    assert figures["vocoder: same key found"] == 1
    assert figures["vocoder: log-mel distance, sampled instruments (dB)"] == 0
    for name in ("vocoder: semitone image correlation", "vocoder: loudness contour correlation"):
        assert figures[name] == pytest.approx(1)


def test_a_real_vocoder_is_measured_and_its_tiles_leave_no_seam(cascade, held_out):
    figures = vocoder_figures.vocoder_figures(cascade.pool[VOCODER], held_out[:1])
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["vocoder: log-mel distance (dB)"] == figures["vocoder: worst clip (dB)"] > 1
    assert figures["vocoder: tiled against untiled (largest sample)"] < 1e-4  # of samples up to 10


def test_a_model_that_knows_the_music_loses_nothing(cascade, held_out, monkeypatch):
    from acestep_pack.acestep_core.flow.stages import noise as start

    music = cascade.pool[VOCODER].encode(Waveform(held_out[0].wave[None], 48_000))
    velocity = start([0], *music.shape[1:]) - music
    monkeypatch.setattr(verdict, "prepare", lambda network, condition: lambda x, t: velocity)
    figures = verdict.losses(cascade, held_out[:1])
    own = [f"{stage.times[0]:.3g} to {stage.times[-1]:.3g}" for _, stage in cascade.plan()]
    names = [f"flow-matching loss: {model}, t from {stretch}" for model in "LMS" for stretch in own]
    assert list(figures) == names and set(figures.values()) == {0.0}


def test_losses_are_those_of_the_times_that_the_cascade_plays(cascade, held_out, monkeypatch):
    own = dataclasses.replace(cascade.defaults[0], boundaries=(0.6, 0.2), cascade_steps=None)
    monkeypatch.setattr(cascade, "defaults", (own, *cascade.defaults[1:]))
    asked = []
    monkeypatch.setattr(verdict, "prepare", lambda network, condition: lambda x, t: asked.append(t) or x)
    assert list(verdict.losses(cascade, held_out[:1]))[:3] == [
        f"flow-matching loss: L, t from {stretch}" for stretch in ("1 to 0.6", "0.6 to 0.2", "0.2 to 0")
    ]
    assert asked[:12] == pytest.approx([0.65, 0.75, 0.85, 0.95, 0.25, 0.35, 0.45, 0.55, 0.025, 0.075, 0.125, 0.175])


def test_losses_of_real_networks_are_finite(cascade, held_out):
    figures = verdict.losses(cascade, held_out[:1])
    assert len(figures) == 9 and all(0 < value < 100 for value in figures.values())


def test_the_same_seed_is_the_same_song(cascade, held_out):
    first = truths.make(cascade, held_out[0], 0, steps=(1, 1, 1))
    figures = song_figures.determinism(cascade, held_out[0], first, {"steps": (1, 1, 1)})
    assert figures["same seed, largest difference"] == 0 < figures["other seed, log-mel distance (dB)"]


def test_the_bands_own_song_lies_below_another_melody(held_out):
    for truth in held_out:
        assert truth.nearest(truth.wave) == 0 >= song_figures.above_the_band(truth, truth.wave)
        assert song_figures.above_the_band(truth, truth.other_melody[0]) == pytest.approx(0, abs=1e-4)
    # A song of drums and chords alone has no melody that could be another one.
    assert min(song_figures.above_the_band(truth, truth.wave) for truth in held_out) < 0


def test_each_model_alone_gets_as_much_arithmetic(cascade, held_out, told_ears):
    told = []
    console = Console(quiet=True)
    console.note = told.append
    figures = verdict.verdict(cascade, held_out[:1], {"steps": (2, 1, 1)}, console)
    systems = {name.split(", ")[1].split(":")[0] for name in figures if name.startswith("its own steps, ")}
    assert systems - {name for name in systems if name.startswith("cascade less")} == {
        "L→M→S (2+1+1 steps)",
        *(f"{letter} alone (4 steps)" for letter in "LMS"),  # of equal size here
    }
    assert "half of the steps, L→M→S (1+1+1 steps): tempo" in figures
    alone = [f"{letter} alone measured" for letter in "LMS"]
    assert told == [note for about in verdict.COSTS for note in (f"{about}: the cascade measured", *alone)]


def test_the_interval_of_a_mean_holds_it_and_narrows_with_their_number():
    few, many = (torch.randn(n, generator=torch.Generator().manual_seed(1)).double().numpy() + 1 for n in (16, 1600))
    assert verdict.interval(few)[0] < few.mean() < verdict.interval(few)[1]
    wide, narrow = (high - low for low, high in map(verdict.interval, (few, many)))
    assert narrow == pytest.approx(2 * 1.645 / 1600**0.5, rel=0.15) and wide > 5 * narrow


# ---- edits -----------------------------------------------------------------------------------------------------------


class Editor:
    """A cascade that edits perfectly, or not at all."""

    def __init__(self, perfect):
        self.perfect = perfect

    def extract(self, wave, track, song, **given):
        return Waveform(self.perfect[track][None] if self.perfect else wave.samples, 48_000)

    def cover(self, wave, song, **given):
        return wave


def test_a_stem_is_as_much_nearer_as_it_is(held_out):
    truth = next(one for one in held_out if len(one.sketch.voices) > 2)
    tracks = {name: torch.from_numpy(sound) for name, sound in stems(truth.sketch).items()}
    figures = [
        edit_figures.extract_figures(Editor(made), [truth], {}, Console(quiet=True))[edit_figures.NEARER]
        for made in (None, tracks)
    ]
    assert figures[0] == pytest.approx(0, abs=1e-6) and figures[1] > 1


def test_a_cover_is_judged_by_the_sources_notes_and_the_captions_instruments(held_out, told_ears):
    figures = edit_figures.cover_figures(Editor(None), held_out[:2], "cover", {}, Console(quiet=True))
    assert figures["cover: chroma correlation with the source"] == pytest.approx(1)
    assert 0 <= figures["cover: instruments as asked"] <= 1
    other = edit_figures.with_other_players(held_out[0])
    assert other.sketch.bpm == held_out[0].sketch.bpm and other.sketch.key == held_out[0].sketch.key
    assert other.song.caption != held_out[0].song.caption and not other.sketch.sung


# ---- long songs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_long_songs_are_measured(cascade, told_ears, monkeypatch):
    monkeypatch.setattr(song_figures, "LONG_SECONDS", (34.0,))
    figures = song_figures.long_figures(cascade, 0, 1, {"steps": (1, 1, 1)}, Console(quiet=True))
    assert list(figures) == [
        "songs of 34 s: beat drift, median of the largest (ms)",
        "songs of 34 s: over half of it comes back",
        "songs of 34 s: last 20 ms against the song (dB)",
    ]


# ---- the whole -------------------------------------------------------------------------------------------------------


def test_a_card_shows_every_figure():
    text = family_figures.card({"one: figure": 0.123456, "another": 12.0, "none found": float("nan")})
    rows = {"| one: figure | 0.1235 |", "| another | 12 |", "| none found | nan |"}
    assert rows <= set(text.splitlines())
    assert "{" not in text and text.startswith("# ")


@pytest.mark.slow
def test_a_family_is_measured_whole(family, held_out, told_ears, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "SECONDS", SECONDS)
    card = tmp_path / "card.md"
    command = ["bench", "tiny", "--models", str(family), "--songs", "2", "--steps", "1,1,1", "--card", str(card)]
    command += [word for group in ("vocoder", "songs", "cascade") for word in ("--only", group)]
    assert cli.main([*command, "--json"]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    numbers = {name: value for name, value in figures.items() if not isinstance(value, str)}
    assert len(numbers) == 1 + 4 + 7 + 8 + 2 + 9 + 2 * 16 and all(map(math.isfinite, numbers.values()))
    assert len(figures) - len(numbers) == 6
    text = card.read_text(encoding="utf-8")
    assert all(f"| {name} | {value:.4g} |" in text for name, value in numbers.items())
    assert "2 held-out clips played" in said.err and "measured in" in said.err


def test_a_card_that_cannot_be_written_loses_no_figures(tmp_path, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(family_figures, "evaluate", lambda *wishes: measured.append(wishes) or {"held-out captions": 2})
    assert cli.main(["bench", "tiny", "--card", str(tmp_path / "nowhere" / "card.md")]) == 2
    assert "nowhere: is not a folder" in capsys.readouterr().err and not measured

    def full(path, data):
        raise AceStepError(f"{path}: could not be written")

    monkeypatch.setattr(measure, "write_whole", full)
    assert cli.main(["bench", "tiny", "--json", "--card", str(tmp_path / "card.md")]) != 0
    assert json.loads(capsys.readouterr().out) == {"held-out captions": 2}


def test_a_part_can_be_measured_alone(family, held_out, told_ears, monkeypatch, capsys):
    monkeypatch.setattr(measure, "SECONDS", SECONDS)
    assert cli.main(["bench", "tiny", "--models", str(family), "--songs", "1", "--only", "vocoder", "-q"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and len(said.out.splitlines()) == 12
    assert all(
        line.startswith(("held-out captions", "listener on real clips", "vocoder")) for line in said.out.splitlines()
    )


def test_the_card_says_which_gates_are_met():
    text = family_figures.card({"vocoder: log-mel distance (dB)": 2.9, "songs: key as asked, or its relative": 0.5})
    assert "- vocoder: log-mel distance (dB): 2.9, required at most 3: **met**" in text
    assert "- songs: key as asked, or its relative: 0.5, required at least 0.9: **not met**" in text
    assert "at the same cost: not measured" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--songs", "0"], "--songs: got 0, expected at least 1"),
        (["--songs", "many"], "argument --songs: invalid int value: 'many'"),
        (["--steps", "8,x"], "argument --steps: got '8,x', expected numbers such as 8,8,8"),
        (["--guidance", "much"], "argument --guidance: invalid float value: 'much'"),
        (["--only", "text"], "argument --only: invalid choice: 'text'"),
        (["--models", "nonsense"], "nonsense is neither a file or folder nor a known stage model"),
    ],
    ids=lambda value: " ".join(value) if type(value) is list else "",
)
def test_a_mistake_is_one_line_and_code_2(arguments, message, capsys):
    assert cli.main(["bench", "tiny", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and message in said.err


@pytest.mark.parametrize(
    "found, said",
    [
        ("-0.2 (-0.3 to -0.1)", "the cascade is nearer"),
        ("0.2 (0.1 to 0.3)", "the cascade is **not** nearer"),
        ("0.01 (-0.1 to 0.1)", "no difference is seen"),
    ],
)
def test_the_card_says_whether_the_cascade_is_worth_it(found, said):
    about = "its own steps, cascade less L alone (16 steps)"
    text = family_figures.card({f"{about}{verdict.NEARER}": found, f"{about}: key": "0 (0 to 0)"})
    assert f"- {about}: {found} dB of log-mel distance: {said}\n" in text

"""What a training of an adapter learns, keeps and says; stopped and gone on with, it is an unbroken one to the bit."""

import dataclasses
import json
import shutil
import sys
import types
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_vocoder
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS as VARIANTS_OF_MODELS
from acestep_pack.acestep_core.console import Clock
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.lora import adapter as adapters
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training.bars import Bars
from acestep_pack.acestep_core.training.folders import folders
from acestep_pack.acestep_core.training.lora import Trainer, adapted
from acestep_pack.acestep_core.training.loss_log import LossLog
from acestep_pack.acestep_core.training.loss_plot import loss_plot_of, picture
from acestep_pack.acestep_core.training.memory_needs import crops_together
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.preview import OtherStages, StagePlayer
from acestep_pack.acestep_core.training.settings import KINDS, Intervals, LoraSettings, preset
from core_tests.out_of_memory import runs_out
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SETTINGS = LoraSettings(rank=2, steps=4, accumulate=2, warm_up=1, learning_rate=1e-2, crop_seconds=1.0)
INTERVALS = Intervals(save=2, measure=2)


@pytest.fixture
def trainer(tiny_family, tmp_path):
    """Trainers on five clips drawn at random, in one work folder unless told another."""
    model, vocoder = load_stage_model(tiny_family / "s"), load_vocoder(tiny_family / "vae")

    def make(folder="work", settings=SETTINGS, intervals=INTERVALS, facts=None, count=5, frames=60, **changed):
        draw = torch.Generator().manual_seed(1)
        with torch.inference_mode(False):  # as a Preparation makes them
            examples = [
                Example(Path(f"{i}.wav"), Song("x"), torch.randn(1, 8, frames, generator=draw),
                      torch.randn(1, 6, 32, generator=draw), str(i))
                for i in range(count)
            ]  # fmt: skip
        settings = dataclasses.replace(settings, **changed)
        return Trainer(model, examples, vocoder, tmp_path / folder, settings, intervals, facts)

    return make


def weights(trainer):
    return {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


VARIANTS = [
    {},
    {"kind": "dora", "dropout": 0.2, "targets": ("self", "cross", "mlp"), "gradient_checkpointing": True},
    {"kind": "lokr", "dropout": 0.2, "gradient_checkpointing": True},
]


@pytest.mark.parametrize("changed", VARIANTS, ids=["lora", "dora", "lokr"])
def test_a_resumed_training_is_an_unbroken_one_to_the_bit(trainer, changed):
    unbroken = trainer("a", **changed)
    told = [(it.step, it.loss, it.learning_rate, it.held_out) for it in unbroken.run()]
    stopped = trainer("b", **changed)
    first = [(it.step, it.loss, it.learning_rate, it.held_out) for it in islice(stopped.run(), 3)]
    torch.manual_seed(123)  # nobody else's random numbers matter
    resumed = trainer("b", **changed)
    assert resumed.step == 2  # where the last checkpoint is
    rest = [(it.step, it.loss, it.learning_rate, it.held_out) for it in resumed.run()]
    assert first[:2] + rest == told and [step for step, *_ in told] == [1, 2, 3, 4]
    assert same(weights(resumed), weights(unbroken)) and resumed.best == unbroken.best
    assert resumed.losses.read() == told
    files = [load_file(it.work / "step-000004" / "state.safetensors") for it in (unbroken, resumed)]
    assert same(*files)


def test_a_line_cut_short_by_a_crash_is_forgotten(tmp_path):
    losses = LossLog(tmp_path / "losses.csv", 0)
    for step in (1, 2, 3):
        losses.add(step, 0.1 * step, 1e-4, None)
    with open(losses.file, "a") as file:
        file.write("4,0.")
    assert LossLog(losses.file, 3).read() == [(1, 0.1, 1e-4, None), (2, 0.2, 1e-4, None), (3, 0.1 * 3, 1e-4, None)]
    assert LossLog(losses.file, 2).read()[-1][0] == 2 and LossLog(losses.file, 0).read() == []


def test_lines_of_a_loss_log_that_are_junk_are_removed_with_a_warning(tmp_path, caplog):
    file = tmp_path / "losses.csv"
    lines = [b"step,loss,learning_rate,held_out", b"1,0.5,0.1,", b"2,\xff\xfe,0.1,", b"2,0.25,0.1,0.75", b"two,1,1,1"]
    lines += [b"", b"1,0.5,0.1,", b"3,1e400,0.1,", b"3,nan,0.1,", b"3,0.125,0.1", b"-3,0.1,0.1,", b"3,0.125,0.1,inf"]
    file.write_bytes(b"\n".join(lines))
    rows = LossLog(file, 3).read()
    assert rows == [(1, 0.5, 0.1, None), (2, 0.25, 0.1, 0.75), (3, 0.125, 0.1, float("inf"))]
    assert caplog.messages == [f"{file}: 8 lines cannot be read and were removed"]
    plot = loss_plot_of(rows)
    assert [step for step, *_ in plot.points] == [1, 2, 3] and plot.held_out == ((2, 0.75),)
    assert picture(plot, 3).size == (1024, 512)


def test_it_learns_and_the_base_stays(trainer):
    one = trainer(steps=40, hold_out=0.0, intervals=Intervals(save=0, measure=0), count=1, frames=30)
    before = {name: value.clone() for name, value in one.model.transformer.state_dict().items()}
    losses = [it.loss for it in one.run()]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert same(before, one.model.transformer.state_dict())


def cards(folder):
    return folder / "made" / "README.md", folder / "made.md"


@pytest.mark.parametrize("changed", VARIANTS, ids=["lora", "dora", "lokr"])
def test_the_saved_adapter_worn_is_what_was_taught(trainer, tmp_path, changed):
    one = trainer(facts={"trigger words": "zzt"}, alpha=4.0, **changed)
    list(one.run())
    peft = adapters.read_adapter(one.finish(tmp_path / "made"))
    comfyui = adapters.read_adapter(one.finish(tmp_path / "made.safetensors"))
    assert all("| trigger words, which a caption begins with | zzt |" in card.read_text() for card in cards(tmp_path))
    example = one.train_set[0]
    condition = example.condition(one.model, 60)
    with torch.no_grad():
        taught = prepare(one.network.eval(), condition)(example.latents, 0.5)
        base = prepare(one.model.transformer, condition)(example.latents, 0.5)
        for read in (peft, comfyui):
            assert read.scales == (2.0,) and read.ranks == (2,)
            worn = prepare(apply_adapter(one.model, read)[0].transformer, condition)(example.latents, 0.5)
            torch.testing.assert_close(worn, taught, rtol=0, atol=1e-5 * float(taught.abs().max()))
    assert float((taught - base).abs().max()) > 1e-3
    assert peft.facts["trigger words"] == "zzt" and peft.facts["base"] == one.model.name
    assert peft.facts["base hash"] == one.base_hash and peft.facts["steps"] == "4" and peft.facts["songs"] == "4"
    assert json.loads(peft.facts["settings"])["rank"] == 2


def test_a_loss_that_is_no_number_stops_with_advice_and_spoils_nothing(trainer):
    one = trainer()
    steps = one.run()
    list(islice(steps, 2))
    kept = weights(one)
    for example in one.train_set:
        example.latents.fill_(torch.nan)
    with pytest.raises(AceStepError, match="step 3: the loss is not finite .* lower learning rate than 0.01"):
        next(steps)
    assert same(weights(one), kept) and one.step == 2
    assert [it.name for it in sorted(one.work.glob("step-*"))] == ["step-000002"]


def test_crops_in_one_forward_pass_are_trained_as_one_by_one(trainer):
    """Crops of several lengths and texts of several lengths: the same draws, losses and weights up to rounding."""
    alone, together = trainer("a", accumulate=5), trainer("b", accumulate=5)
    assert together.together == 5
    alone.together = 1
    for one in (alone, together):
        for number, example in enumerate(one.train_set):
            object.__setattr__(example, "states", example.states[:, : 2 + number])
            object.__setattr__(example, "latents", example.latents[..., : 60 - 40 * (number % 2)])
    sizes = [len(batch) for batch in together._batches(0)]
    assert sum(sizes) == 5 and max(sizes) > 1 and len(sizes) > 1
    losses = [[step.loss for step in one.run()] for one in (alone, together)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert all(torch.allclose(weights(alone)[name], value, atol=1e-5) for name, value in weights(together).items())


def test_crops_that_do_not_fit_together_run_one_by_one(trainer, caplog, monkeypatch):
    whole, short = trainer("a"), trainer("b")
    fits = short._batch_loss

    def batch_loss(batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("full")
        return fits(batch)

    monkeypatch.setattr(short, "_batch_loss", batch_loss)
    losses = [[step.loss for step in one.run()] for one in (whole, short)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and short.together == 1
    assert caplog.text.count("out of memory with 2 crops at once") == 1


def test_as_many_crops_go_together_as_fit(trainer):
    one = trainer()
    needs = partial(crops_together, one.model.transformer, SETTINGS, 32)
    assert (needs(0), needs(1e9)) == (1, SETTINGS.accumulate)
    assert all(trainer(str(changed), **changed).together == 1 for changed in ({"dropout": 0.1}, {"kind": "lokr"}))


def test_out_of_memory_keeps_what_was_learnt(trainer, monkeypatch):
    stored = {"gradient_checkpointing": False}
    one = trainer(intervals=Intervals(save=0, measure=0), **stored)
    steps = one.run()
    list(islice(steps, 3))

    def full(item):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(one, "_add_gradients", full)
    with pytest.raises(AceStepError, match="out of memory after 3 steps, which are saved in .* begin .*checkpointing"):
        next(steps)
    assert trainer(**stored).step == 3
    new = trainer("other")
    monkeypatch.setattr(new, "_add_gradients", full)
    with pytest.raises(AceStepError, match="out of memory after 0 steps"):
        new.measure_step_seconds(Clock)
    assert not new.work.exists()  # so that the same place takes other settings
    sparing = trainer("sparing", gradient_checkpointing=True)
    monkeypatch.setattr(sparing, "_add_gradients", full)
    with pytest.raises(AceStepError, match="begin a new training with a shorter --crop or a lower --rank$"):
        sparing.measure_step_seconds(Clock)


def test_a_preview_without_memory_is_left_out(trainer, monkeypatch, caplog):
    one = trainer(intervals=Intervals(save=0, measure=0, preview=2))
    runs_out(monkeypatch, one.vocoder, "decode", lambda *_: True)
    assert [it.preview for it in one.run()] == [None] * 4
    assert caplog.messages == [f"step {n}: out of memory for the preview, continued without it" for n in (2, 4)]


def test_a_preview_without_memory_leaves_no_other_stage_on_the_device(trainer, tiny_family, monkeypatch):
    one = trainer(intervals=Intervals(save=0, measure=0, preview=4))
    other = load_stage_model(tiny_family / "l")
    moves, move = [], other.transformer.to
    monkeypatch.setattr(other.transformer, "to", lambda device: moves.append(device) or move(device))
    one.other_stages = OtherStages((StagePlayer(other, torch.randn(1, 6, 32)),))
    monkeypatch.setattr("acestep_pack.acestep_core.training.preview.run", _out_of_memory)
    assert [it.preview for it in one.run()] == [None] * 4
    assert len(moves) == 2  # to the device, and back


def _out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("full")


def test_what_a_user_keeps_beside_checkpoints_is_nobodys(trainer):
    one = trainer(intervals=Intervals(save=1, measure=1, keep=1))
    list(islice(one.run(), 2))
    own = [one.work / name for name in ("step-000009-good", "step-mine", "best-mine")]
    for folder in own:
        shutil.copytree(one.work / "step-000002", folder)
    list(trainer(intervals=one.intervals).run())
    assert all(folder.is_dir() for folder in own)
    assert [it.name for it in folders(one.work, "step")] == ["step-000004"]
    (one.work / "step-1000000").mkdir()
    (one.work / "step-999999").mkdir()
    assert [it.name for it in folders(one.work, "step")] == ["step-000004", "step-999999", "step-1000000"]


def test_the_last_checkpoints_the_best_and_previews_are_kept(trainer):
    one = trainer(intervals=Intervals(save=1, measure=1, preview=2, keep=2))
    told = list(one.run())
    best = min((it for it in told), key=lambda it: it.held_out)
    assert sorted(it.name for it in one.work.iterdir()) == [
        f"best-{best.step:06}", "losses.csv", "previews", "step-000003", "step-000004",
    ]  # fmt: skip
    previews = [it.preview for it in told if it.preview]
    assert [it.name for it in previews] == ["step-000002.flac", "step-000004.flac"]
    assert sorted(it.name for it in previews[0].parent.iterdir()) == [*(it.name for it in previews), "without.flac"]
    wave = audio.read(previews[0])
    assert wave.seconds == pytest.approx(1.0, abs=0.1) and wave.samples.abs().max() > 0.5
    assert adapters.read_adapter(one.work / f"best-{best.step:06}").facts["steps"] == str(best.step)
    assert adapters.read_adapter(told[-1].saved).ranks == (2,)


def test_previews_of_a_training_that_kept_nothing_go_when_another_begins(trainer):
    often = Intervals(save=0, measure=0, preview=1)
    one = trainer(intervals=often)
    list(islice(one.run(), 2))
    previews = one.work / "previews"
    own = shutil.copyfile(previews / "step-000002.flac", previews / "step-000002-good.flac")
    assert trainer(intervals=often, seed=5).step == 0
    assert list(previews.iterdir()) == [own]
    list(trainer(intervals=often).run())  # to the end, which is kept
    assert trainer(intervals=often).step == 4 and len(list(previews.iterdir())) == 6


def test_a_preview_and_a_measured_loss_change_nothing_of_what_is_learnt(trainer):
    silent, telling = trainer("a", intervals=Intervals(0, 0)), trainer("b", intervals=Intervals(1, 1, 1))
    assert [it.loss for it in silent.run()] == [it.loss for it in telling.run()]


def test_gradient_checkpointing_changes_no_loss(trainer):
    plain, checkpointed = trainer("a"), trainer("b", gradient_checkpointing=True)
    assert [it.loss for it in checkpointed.run()] == pytest.approx([it.loss for it in plain.run()], rel=1e-5)


def test_a_base_at_float16_is_refused_and_one_at_bfloat16_learns(trainer):
    one = trainer("b")
    losses = [it.loss for it in one.run()]
    one.model.to(dtype=torch.bfloat16)
    low = trainer("low")
    assert all(parameter.dtype == torch.float32 for parameter in low.parameters.values())
    assert [it.loss for it in low.run()] == pytest.approx(losses, rel=0.05)
    one.model.to(dtype=torch.float16)
    with pytest.raises(UserError, match="s: is loaded as float16, expected bfloat16 or float32; pass --dtype bf16"):
        trainer("c")


class EightBits(torch.optim.Optimizer):
    """Keeps its state as bitsandbytes does: a number of steps, and moments under names and dtypes of its own."""

    def __init__(self, parameters, lr, weight_decay):
        super().__init__(parameters, {"lr": lr})
        self.qmap = torch.linspace(-1, 1, 256)

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state.setdefault("step", 0)
            state["qmap1"] = self.qmap  # one for all
            assert isinstance(state["step"], int)
            state["step"] += 1
            state["state1"] = (state.get("state1", torch.zeros_like(parameter)) * 0.9 + parameter.grad).to(torch.uint8)
            parameter -= self.param_groups[0]["lr"] / state["step"] * (parameter.grad.sign() + state["state1"])


def test_moments_at_eight_bits_are_bitsandbytes_own(trainer, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="adamw8bit is bitsandbytes' own, .* pip install bitsandbytes, or choose adamw"):
        trainer(optimiser="adamw8bit")
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", types.SimpleNamespace(AdamW8bit=EightBits))
    unbroken = trainer("a", optimiser="adamw8bit")
    list(unbroken.run())
    list(islice(trainer("b", optimiser="adamw8bit").run(), 3))
    resumed = trainer("b", optimiser="adamw8bit")
    assert resumed.step == 2 and {state["step"] for state in resumed.optimiser.state.values()} == {2}
    list(resumed.run())
    assert same(weights(resumed), weights(unbroken))
    with pytest.raises(UserError, match="holds a training with other optimiser"):
        trainer("b")


def test_a_turbo_model_learns_at_its_own_times_or_at_all_it_knows(trainer):
    turbo = VARIANTS_OF_MODELS["turbo"]
    one, other = trainer("a"), trainer("b", all_times=True)
    for it, count in ((one, 8), (other, 20)):
        it.model = dataclasses.replace(it.model, defaults=turbo)
        assert len(it.flow_times().table) == count


def test_a_host_in_inference_mode_changes_nothing(trainer):
    expected = [it.loss for it in trainer("a").run()]
    with torch.inference_mode():
        one = trainer("b", intervals=Intervals(save=2, measure=1, preview=2))
        assert [it.loss for it in one.run()] == expected
        assert trainer("b").step == 4


def test_every_piece_is_drawn_as_often_as_there_are_crops_in_it(trainer):
    one = trainer(frames=60, crop_seconds=1.0, hold_out=0.0)  # 34 frames a crop
    drawn = [one._example_at(i).path.stem for i in range(20)]
    assert sorted(drawn[:10]) == sorted("01234" * 2) == sorted(drawn[10:]) and drawn[:10] != drawn[10:]


def test_a_step_learns_whole_bars(trainer, monkeypatch):
    one = trainer(frames=100, hold_out=0.0)
    one._pool = [dataclasses.replace(example, bars=Bars(15.5, 3.0)) for example in one._pool]
    crops = []
    loss = one._loss
    monkeypatch.setattr(
        one, "_loss", lambda condition, music, *rest: crops.append(music) or loss(condition, music, *rest)
    )
    next(one.run())
    for crop in crops:
        places = [round(3 + n * 15.5) for n in range(5)]
        found = [(p, i) for p in one._pool for i in places if torch.equal(p.latents[..., i : i + 31], crop)]
        assert crop.shape[-1] == 31 and found


def test_another_training_in_the_same_folder_is_refused_by_what_differs(trainer):
    list(trainer().run())
    with pytest.raises(UserError, match="holds a training with other learning rate, rank; resume it with the same"):
        trainer(rank=4, learning_rate=1e-3)
    with pytest.raises(UserError, match="with other clips"):
        trainer(count=6)
    longer = trainer(steps=5)
    assert longer.step == 4 and [it.step for it in longer.run()] == [5]


def _cut_off(file):
    file.write_bytes(file.read_bytes()[:100])


def _of_other_shapes(file):
    with safe_open(file, framework="pt") as stored:
        tensors, metadata = {key: stored.get_tensor(key) for key in stored.keys()}, stored.metadata()  # noqa: SIM118
    save_file({key: value[:1] for key, value in tensors.items()}, file, metadata)


def _not_finite(file):
    with safe_open(file, framework="pt") as stored:
        tensors, metadata = {key: stored.get_tensor(key) for key in stored.keys()}, stored.metadata()  # noqa: SIM118
    save_file({key: value * torch.nan for key, value in tensors.items()}, file, metadata)


def _without_metadata(file):
    save_file(load_file(file), file)


def _of_nested_metadata(file):
    save_file(load_file(file), file, {"training": "[" * 100_000})


def _removed(file):
    file.unlink()


DAMAGES = [_cut_off, _of_other_shapes, _not_finite, _without_metadata, _of_nested_metadata, _removed]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_left_out_for_the_one_before(trainer, damage, caplog):
    unbroken = trainer("a")
    losses = [it.loss for it in unbroken.run()]
    one = trainer("b")
    list(one.run())
    damage(one.work / "step-000004" / "state.safetensors")
    resumed = trainer("b")
    assert resumed.step == 2 and len(resumed.losses.read()) == 2
    assert "step-000004: is damaged" in caplog.text
    assert [it.loss for it in resumed.run()] == losses[2:] and same(weights(resumed), weights(unbroken))
    assert [it.name for it in folders(one.work, "step")] == ["step-000002", "step-000004"]
    assert trainer("b").step == 4 and (one.work / "damaged-step-000004").is_dir()


def test_a_folder_of_damaged_checkpoints_alone_is_not_begun_anew_by_itself(trainer):
    one = trainer()
    list(one.run())
    for folder in folders(one.work, "step"):
        _cut_off(folder / "state.safetensors")
    with pytest.raises(UserError, match="work: none of its checkpoints can be read; delete the folder to begin anew"):
        trainer()
    assert len(folders(one.work, "step")) == 2


def test_the_tree_that_learns_is_its_own(tiny_family):
    model = load_stage_model(tiny_family / "s")
    names = set(dict(model.transformer.named_modules()))
    network = adapted(model.transformer, LoraSettings(rank=2, targets=("mlp",)))
    taught = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert len(taught) == 2 * 3 * 2 and all(".mlp." in name for name in taught)
    assert set(dict(model.transformer.named_modules())) == names


def test_every_kind_begins_as_its_base_at_half_precision(tiny_family):
    model = load_stage_model(tiny_family / "s").to(dtype=torch.bfloat16)
    draw = torch.Generator().manual_seed(1)
    condition = Condition(*(torch.randn(shape, generator=draw) for shape in ((1, 6, 32), (1, 1, 32), (1, 16, 30))))
    latents = torch.randn(1, 8, 30, generator=draw)
    with torch.no_grad():
        base = prepare(model.transformer, condition)(latents, 0.5)
        for kind in KINDS:
            network = adapted(model.transformer, LoraSettings(rank=2, kind=kind)).eval()
            assert torch.equal(prepare(network, condition)(latents, 0.5), base)


def test_the_rate_warms_up_and_cools_down():
    settings = LoraSettings(steps=100, warm_up=10)
    shares = [settings.learning_rate_factor(step) for step in range(100)]
    assert shares[0] == 0.1 and shares[9] == shares[10] == 1.0 and 0 < shares[-1] < 0.001
    assert sorted(shares[10:], reverse=True) == shares[10:]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"rank": 10**9}, "rank: got 1000000000, expected at most 4096"),
        ({"rank": 0}, "rank: got 0, expected a whole number of at least 1"),
        ({"learning_rate": float("nan")}, "learning rate: got nan, expected a number above 0"),
        ({"dropout": 1.0}, "dropout: got 1.0, expected 0 or more, below 1"),
        ({"targets": ("ears",)}, "targets: got 'ears', expected some of self, cross, mlp"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        LoraSettings(**wrong)


def test_a_preset_is_the_largest_that_fits_and_is_overridden():
    assert preset(11).rank == 16 and preset(80).rank == 128 and preset(24, rank=8).rank == 8
    with pytest.raises(UserError, match="vram: got 6 GB, expected at least 8"):
        preset(6)

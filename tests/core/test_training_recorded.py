"""Recorded passes of a training, with a CPU's stand-in for a GPU's recordings: a replay runs the pass again on the same
tensors. They train what launched passes train, and every obstacle leads back to those.
"""

import dataclasses
from itertools import islice
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_vocoder
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training import lora as training
from acestep_pack.acestep_core.training import optimisers, recorded_passes
from acestep_pack.acestep_core.training.crops import crops_of
from acestep_pack.acestep_core.training.items import Drawn
from acestep_pack.acestep_core.training.lora import Trainer, adapted
from acestep_pack.acestep_core.training.objective import TrainableVelocity, flow_loss, padded_pass
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.settings import Intervals, LoraSettings
from safetensors import safe_open

CPU = torch.device("cpu")
SETTINGS = LoraSettings(rank=2, steps=4, accumulate=5, warm_up=1, learning_rate=1e-2, crop_seconds=1.0, hold_out=0.0)


class Again:
    """Records on a CPU. `full`: there is no memory for it. `error`: what recording a pass fails with."""

    def __init__(self, full=False, error=None):
        self.full, self.error = full, error
        self.recorded = self.replays = 0
        self.sizes = []  # that room was asked for

    def has_room(self, size):
        self.sizes.append(size)
        return not self.full

    def launch(self, run):
        return run()

    def record(self, run):
        if self.error:
            raise self.error
        self.recorded += 1
        loss = torch.empty(())

        def replay():
            self.replays += 1
            loss.copy_(run())

        return replay, loss


@pytest.fixture
def trainer(tiny_family, tmp_path, monkeypatch):
    """Trainers on five clips of two lengths and five lengths of text; recorded where `graphs` are given."""
    model, vocoder = load_stage_model(tiny_family / "s"), load_vocoder(tiny_family / "vae")

    def make(folder, graphs=None, **changed):
        draw = torch.Generator().manual_seed(1)
        examples = [
            Example(Path(f"{i}.wav"), Song("x"), torch.randn(1, 8, 60 - 40 * (i % 2), generator=draw),
                    torch.randn(1, 2 + i, 32, generator=draw), str(i))
            for i in range(5)
        ]  # fmt: skip
        monkeypatch.setattr(training, "graphs_for", lambda device, network: graphs)
        settings = dataclasses.replace(SETTINGS, **changed)
        one = Trainer(model, examples, vocoder, tmp_path / folder, settings, Intervals(save=2, measure=0))
        one.together = 2 if one.together > 1 else 1  # a step's last batch is a smaller one
        return one

    return make


def trained(one, steps=None):
    """(losses, weights) of a training."""
    losses = [step.loss for step in islice(one.run(), steps)]
    return losses, {name: parameter.detach().clone() for name, parameter in one.parameters.items()}


def near(one, other):
    (losses, weights), (others, expected) = one, other
    assert losses == pytest.approx(others, abs=1e-6)
    return all(torch.allclose(weights[name], value, atol=1e-5) for name, value in expected.items())


def equal(one, other):
    return one[0] == other[0] and all(torch.equal(one[1][name], value) for name, value in other[1].items())


@pytest.mark.parametrize("changed", [{}, {"kind": "dora"}, {"gradient_checkpointing": True}], ids=str)
def test_padded_texts_change_neither_losses_nor_gradients(tiny_family, changed):
    model, settings = load_stage_model(tiny_family / "s"), LoraSettings(rank=2, **changed)
    network, draw = adapted(model.transformer, settings), torch.Generator().manual_seed(0)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    null = torch.randn(1, 1, 32, generator=draw)
    texts = [torch.randn(1, count, 32, generator=draw) for count in (7, 3)]
    context, music, noise = (torch.randn(3, channels, 30, generator=draw) for channels in (16, 8, 8))
    items = [
        Drawn(0, Condition(states, null, context[i : i + 1]), music[i : i + 1], noise[i : i + 1], t)
        for i, (states, t) in enumerate(zip((*texts, null), (0.2, 0.9, 0.5)))
    ]

    def gradients(run):
        network.zero_grad()
        return float(run()), [parameter.grad.clone() for parameter in parameters]

    def one_by_one():
        losses = []
        for item in items:
            velocity = TrainableVelocity(network, item.condition, torch.float32)
            losses.append(flow_loss(velocity, item.music, item.noise, torch.tensor([item.t])).mean() / 3)
            losses[-1].backward()
        return sum(losses).detach()

    crops = crops_of(items, 32, CPU, torch.float32)
    assert crops.states.shape == (3, 32, 32) and (crops.mask == 0).sum(-1).flatten().tolist() == [7, 3, 1]
    loss, made = gradients(padded_pass(network, crops, torch.float32, 3, bool(settings.gradient_checkpointing)))
    right, expected = gradients(one_by_one)
    assert loss == pytest.approx(right, abs=1e-6)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-6) for one, other in zip(made, expected))
    assert sum(float(one.abs().max()) > 1e-4 for one in expected) > len(expected) / 2


def test_recorded_steps_train_as_launched_ones(trainer):
    graphs = Again()
    plain, recorded = trained(trainer("plain")), trainer("recorded", graphs)
    losses, shapes, counts = [], set(), []
    for step in recorded.run():
        losses.append(step.loss)
        shapes.update(recorded.passes._seen)
        counts.append(recorded.passes.count)
    assert near((losses, recorded.parameters), plain)
    assert {count for count, *_ in shapes} == {1, 2} and len({length for *_, length in shapes}) == 2
    assert graphs.replays > graphs.recorded == counts[-1] >= 2 and graphs.sizes[0] > 0
    assert recorded.passes.count == 0  # when the training ends, others have the memory
    gradients = recorded.passes._gradients
    assert all(one.grad is own and not own.any() for one, own in zip(recorded.parameters.values(), gradients))


@pytest.mark.parametrize("changed", [{}, {"gradient_checkpointing": True}], ids=str)
def test_a_resumed_recorded_training_is_an_unbroken_one_to_the_bit(trainer, changed):
    unbroken, (first, _) = trained(trainer("a", Again(), **changed)), trained(trainer("b", Again(), **changed), 3)
    resumed = trainer("b", Again(), **changed)
    assert resumed.step == 2
    losses, weights = trained(resumed)
    assert equal((first[:2] + losses, weights), unbroken)


def test_the_time_of_a_step_is_measured_without_training_on_it(trainer):
    class Clock:
        seconds = 3.0

    graphs, expected = Again(), trained(trainer("a", Again()))
    one = trainer("b", graphs)
    assert one.measure_step_seconds(Clock) == 3.0 * 5 / 2 and graphs.replays == 2
    assert equal(trained(one), expected)


@pytest.mark.parametrize(
    "graphs, said",
    [
        (Again(full=True), ""),
        (Again(error=RuntimeError("operation not permitted when stream is capturing")), "operation not permitted"),
        (Again(error=torch.OutOfMemoryError("full")), "not recorded from now on, which may be slower: out of memory"),
    ],
    ids=["full", "refused", "out of memory"],
)
def test_what_cannot_be_recorded_is_launched(trainer, graphs, said, caplog):
    expected = trained(trainer("a", Again()))
    one = trainer("b", graphs)
    assert equal(trained(one), expected)
    assert one.passes.count == graphs.recorded == 0
    assert said in caplog.text and len(caplog.messages) == bool(said)


def test_recordings_are_given_up_first_where_memory_runs_out(trainer, caplog, monkeypatch):
    expected = trained(trainer("a", Again()))
    one = trainer("b", Again())
    add = one._add_gradients

    def add_gradients(batch):
        made = add(batch)
        if one.passes.count == 2:  # after gradients were added, which count for nothing then
            raise torch.OutOfMemoryError("full")
        return made

    monkeypatch.setattr(one, "_add_gradients", add_gradients)
    assert equal(trained(one), expected)
    assert one.together == 2 and not one.passes._records and "out of memory" in caplog.text


def test_weights_that_were_moved_are_recorded_anew(trainer):
    expected, graphs = trained(trainer("a", Again())), Again()
    one = trainer("b", graphs)
    steps = one.run()
    losses = [step.loss for step in islice(steps, 2)]
    before = graphs.recorded
    weight = one.network.layers[0].mlp.down_proj.weight
    weight.data = weight.data.clone()
    losses += [step.loss for step in steps]
    assert losses == expected[0] and graphs.recorded > before > 0


def test_few_shapes_are_recorded(trainer, monkeypatch):
    monkeypatch.setattr(recorded_passes, "MOST_RECORDINGS", 1)
    graphs = Again()
    expected = trained(trainer("a", Again()))
    assert equal(trained(trainer("b", graphs)), expected) and graphs.recorded == 1 and graphs.replays


@pytest.mark.parametrize("changed", [{"dropout": 0.1}, {"kind": "lokr"}], ids=str)
def test_what_draws_numbers_of_its_own_is_not_recorded(trainer, changed):
    assert trainer("a", Again(), **changed).passes is None and trainer("b", Again()).passes is not None
    assert recorded_passes.graphs_for(CPU, torch.nn.Linear(1, 1)) is None


def test_a_checkpoint_of_the_fused_optimiser_resumes_in_the_other_and_back(trainer, monkeypatch):
    expected = trained(trainer("a"))
    for folder, first, then in (("b", True, False), ("c", False, True)):
        monkeypatch.setattr(optimisers, "has_fused", lambda device: first)  # noqa: B023  called at once
        one = trainer(folder)
        assert bool(one.optimiser.defaults.get("fused")) is first
        losses, _ = trained(one, 2)
        monkeypatch.setattr(optimisers, "has_fused", lambda device: then)  # noqa: B023
        other = trainer(folder)
        assert bool(other.optimiser.defaults.get("fused")) is then and other.step == 2
        more, weights = trained(other)
        assert near((losses + more, weights), expected)
    names = []
    for folder in ("a", "b"):
        with safe_open(trainer(folder).work / "step-000004" / "state.safetensors", framework="pt") as file:
            names.append(sorted(file.keys()))
    assert names[0] == names[1]


# ---- gradient checkpointing, by memory -------------------------------------------------------------------------------


def test_memory_decides_on_gradient_checkpointing_unless_it_was_given(trainer, monkeypatch):
    monkeypatch.setattr(training, "total_bytes", lambda device: 1e3)
    small, forced = trainer("a"), trainer("b", gradient_checkpointing=False)
    assert small.settings.gradient_checkpointing is True and forced.settings.gradient_checkpointing is False
    losses, _ = trained(small, 2)
    monkeypatch.undo()
    large = trainer("a")  # the same training, on a larger device
    assert large.step == 2 and large.settings.gradient_checkpointing is False and large.identity == small.identity
    expected = trained(trainer("c"))
    more, weights = trained(large)
    assert near((losses + more, weights), expected)


def test_gradient_checkpointing_begins_where_memory_runs_out(trainer, caplog, monkeypatch):
    expected, one = trained(trainer("a")), trainer("b")
    loss = one._batch_loss

    def batch_loss(batch):
        if not one.settings.gradient_checkpointing:
            raise torch.OutOfMemoryError("full")
        return loss(batch)

    monkeypatch.setattr(one, "_batch_loss", batch_loss)
    assert near(trained(one), expected)
    assert [message.split(";")[1] for message in caplog.messages] == [
        " from now on they run one by one", " from now on with gradient checkpointing",
    ]  # fmt: skip
    assert trainer("b").step == 4  # and it is no other training for that

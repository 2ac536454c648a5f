"""The run: exact hand-overs, seeds, what is kept, and what is told."""

import weakref
from dataclasses import replace

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.schedule import TURBO_TIMES, split, times
from acestep_pack.acestep_core.flow.stages import Stage, enter, item_seeds, noise, renoise, run
from acestep_pack.acestep_core.models.condition import context, encode_condition
from acestep_pack.acestep_core.models.kept import Kept
from acestep_pack.acestep_core.models.text_encoder import TextStates

CHANNELS, FRAMES = 8, 50


@pytest.fixture(scope="module")
def models(tiny_family):
    return [load_stage_model(tiny_family / slot) for slot in "lms"]


@pytest.fixture(scope="module")
def conditions(models):
    draw = torch.Generator().manual_seed(0)
    text = TextStates(torch.randn(1, 5, 24, generator=draw), torch.randn(1, 9, 24, generator=draw))
    return [encode_condition(model, text, FRAMES) for model in models]


def turbo(model):
    return replace(model, defaults=replace(model.defaults, valid_times=TURBO_TIMES))


def latents_of(steps):
    return list(steps)[-1].latents


# ---- one song, however it is cut -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("told_by", ["times", "start and end"])
def test_three_stages_of_one_model_are_one_stage_to_the_bit(models, conditions, solver, told_by):
    model, condition, start = models[0], conditions[0], noise([3, 4], CHANNELS, FRAMES)
    table = times(8, 3.0)
    whole = run([Stage(model, steps=8, shift=3.0, solver=solver)], start, [condition], [3, 4])
    parts = []
    for high, low, part in split(table, (3, 3, 2)):
        place = {"times": part} if told_by == "times" else {"start": high, "end": low, "steps": len(part) - 1}
        parts.append(Stage(model, **place, shift=3.0, solver=solver))
    cut = list(run(parts, start, [condition] * 3, [3, 4]))
    for one, other in zip(whole, cut, strict=True):
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.x0, other.x0)
    assert [step.stage for step in cut] == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
def test_stages_run_one_by_one_are_the_run(models, conditions, solver):
    stages = [Stage(m, times=part, solver=solver) for m, (_, _, part) in zip(models, split(times(6, 3.0), (2, 2, 2)))]
    together = latents_of(run(stages, noise([5], CHANNELS, FRAMES), conditions, [5]))
    latents = noise([5], CHANNELS, FRAMES)
    for stage, condition in zip(stages, conditions):
        latents = latents_of(run([stage], latents, [condition], [5], at=stage.start))
    assert torch.equal(latents, together)


@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
@pytest.mark.parametrize("kind", ["none", "apg", "adg"])
def test_an_item_of_a_batch_is_the_single_run(models, conditions, solver, kind):
    stages = [Stage(models[0], steps=4, solver=solver, guidance=Guidance(kind, 4.0))]
    seeds = item_seeds(7, 3)
    assert seeds == (7, 8, 9)
    batch = latents_of(run(stages, noise(seeds, CHANNELS, FRAMES), conditions[:1], seeds))
    for i, seed in enumerate(seeds):
        single = latents_of(run(stages, noise([seed], CHANNELS, FRAMES), conditions[:1], [seed]))
        assert torch.allclose(single, batch[i : i + 1], atol=2e-4)


def test_momentum_begins_afresh_in_each_stage(models, conditions):
    guidance = Guidance("apg", 5.0)
    table, start = times(4, 3.0), noise([1], CHANNELS, FRAMES)
    whole = Stage(models[0], times=table, guidance=guidance)
    parts = [Stage(models[0], times=part, guidance=guidance) for _, _, part in split(table, (2, 2))]
    one = list(run([whole], start, conditions[:1], [1]))
    two = list(run(parts, start, conditions[:1] * 2, [1]))
    assert torch.equal(one[1].latents, two[1].latents)
    alone = list(run(parts[1:], one[1].latents, conditions[:1], [1]))
    assert torch.equal(two[-1].latents, alone[-1].latents)
    assert not torch.equal(one[-1].latents, two[-1].latents)


def test_steps_tell_where_they_are(models, conditions):
    stages = [Stage(models[0], times=(1.0, 0.8, 0.5)), Stage(models[1], times=(0.5, 0.0))]
    steps = list(run(stages, noise([1], CHANNELS, FRAMES), conditions[:2], [1]))
    assert [(s.stage, s.step, s.of, s.t, s.t_next) for s in steps] == [
        (0, 1, 2, 1.0, 0.8),
        (0, 2, 2, 0.8, 0.5),
        (1, 1, 1, 0.5, 0.0),
    ]
    velocity = (noise([1], CHANNELS, FRAMES) - steps[0].latents) / 0.2
    assert torch.allclose(steps[0].x0, noise([1], CHANNELS, FRAMES) - velocity, atol=1e-4)  # straight on to t = 0
    assert torch.equal(steps[-1].x0, steps[-1].latents)
    assert all(step.latents.dtype == torch.float32 and not step.latents.requires_grad for step in steps)


# ---- noise and seeds -------------------------------------------------------------------------------------------------


def test_noise_is_drawn_item_by_item_with_time_first():
    batch = noise([11, 12], CHANNELS, FRAMES)
    assert batch.shape == (2, CHANNELS, FRAMES) and batch.is_contiguous()
    for i, seed in enumerate((11, 12)):
        drawn = torch.randn((1, FRAMES, CHANNELS), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(batch[i], drawn[0].T)
        assert torch.equal(noise([seed], CHANNELS, FRAMES)[0], batch[i])


def test_renoise():
    music = torch.randn(2, CHANNELS, 4000, generator=torch.Generator().manual_seed(0))
    noised = renoise(music, 0.6, [1, 2])
    assert torch.equal(noised, renoise(music, 0.6, [1, 2]))
    assert torch.equal(noised[1:], renoise(music[1:], 0.6, [2]))
    added = (noised - 0.4 * music) / 0.6
    assert float(added.std()) == pytest.approx(1, abs=0.02)
    # A noise of its own for each seed, each time, and apart from the one that songs begin with.
    others = [(renoise(music, 0.6, [3, 4]) - 0.4 * music) / 0.6, 2 * renoise(music, 0.5, [1, 2]) - music]
    for other in (*others, noise([1, 2], CHANNELS, 4000)):
        assert abs(float(torch.corrcoef(torch.stack([added.flatten(), other.flatten()]))[0, 1])) < 0.03


def test_the_random_solver_draws_its_own_noise_from_the_seed_and_the_stage(models, conditions):
    stage = Stage(models[0], steps=3, solver="sde")
    start = noise([1, 1], CHANNELS, FRAMES)
    one, same = latents_of(run([stage], start, conditions[:1], [1, 1]))
    assert torch.equal(one, same)
    other = latents_of(run([stage], start, conditions[:1], [1, 2]))
    assert torch.equal(other[0], one) and not torch.equal(other[1], one)


# ---- entering a stage ------------------------------------------------------------------------------------------------


def test_latents_at_their_own_time_go_on():
    latents = torch.ones(1, CHANNELS, FRAMES)
    assert enter(latents, 0.5, 0.5, [1]) is latents
    assert enter(latents, 0.50004, 0.5, [1]) is latents


def test_empty_latents_become_the_seeds_noise():
    assert torch.equal(enter(torch.zeros(2, CHANNELS, FRAMES), 0.0, 1.0, [1, 2]), noise([1, 2], CHANNELS, FRAMES))


def test_finished_latents_are_noised_to_the_start():
    music = torch.randn(1, CHANNELS, FRAMES)
    assert torch.equal(enter(music, 0.0, 0.5, [1]), renoise(music, 0.5, [1]))


def test_a_stage_refines_any_finished_music(models, conditions):
    music = noise([2], CHANNELS, FRAMES) * 0.1
    stage = Stage(models[2], start=0.5, steps=2)
    first = next(run([stage], music, conditions[2:], [1], at=0.0))
    assert torch.equal(first.latents, next(run([stage], renoise(music, 0.5, [1]), conditions[2:], [1])).latents)


@pytest.mark.parametrize(
    ("latents", "at", "said"),
    [
        (torch.ones(1, 2, 3), 0.8, "latents at t = 0.8 for a stage that begins at t = 0.5"),
        (torch.zeros(1, 2, 3), 0.0, "t = 1 "),
    ],
    ids=["two times", "an empty latent in the middle"],
)
def test_any_other_time_is_an_error(latents, at, said):
    with pytest.raises(UserError, match=said):
        enter(latents, at, 0.5, [1])


def test_stages_that_do_not_meet(models, conditions):
    stages = [Stage(models[0], end=0.8, steps=2), Stage(models[1], start=0.5, steps=2)]
    with pytest.raises(UserError, match=r"stage 1 \(l\) ends at t = 0.8 and stage 2 \(m\) begins at t = 0.5"):
        next(run(stages, noise([1], CHANNELS, FRAMES), conditions[:2], [1]))


# ---- what a run needs ------------------------------------------------------------------------------------------------


def test_mistakes_are_told_before_the_first_step(models, conditions):
    stage, start = Stage(models[0], steps=2), noise([1], CHANNELS, FRAMES)
    with pytest.raises(UserError, match="got 1 with 2 conditions"):
        next(run([stage], start, conditions[:2], [1]))
    with pytest.raises(UserError, match="seeds: got 2 for a batch of 1"):
        next(run([stage], start, conditions[:1], [1, 2]))
    with pytest.raises(UserError, match="makes latents of 8 channels, got 3"):
        next(run([stage], start[:, :3], conditions[:1], [1]))
    with pytest.raises(UserError, match="solver: got 'magic', expected one of euler, heun, sde"):
        Stage(models[0], solver="magic")


def test_what_is_not_said_comes_from_the_checkpoint(models):
    defaults = replace(models[0].defaults, steps=5, shift=2.0, guidance=6.0, guidance_kind="apg")
    stage = Stage(replace(models[0], defaults=defaults))
    assert stage.times == times(5, 2.0)
    assert stage.guidance == Guidance("apg", 6.0)
    told = Stage(replace(models[0], defaults=defaults), times=(0.9, 0.4), guidance=Guidance())
    assert (told.start, told.end, told.steps, told.guidance.kind) == (0.9, 0.4, 1, "none")


def test_conditions_are_asked_for_one_at_a_time_and_let_go(models, conditions):
    """With a maker for each stage, only one stage's condition need be in memory."""
    alive, order = [], []

    def maker(i):
        def make():
            order.append(i)
            assert all(reference() is None for reference in alive)
            made = replace(conditions[i], states=conditions[i].states.clone())
            alive.append(weakref.ref(made.states))
            return made

        return make

    stages = [Stage(m, times=part) for m, (_, _, part) in zip(models, split(times(6, 3.0), (2, 2, 2)))]
    steps = run(stages, noise([5], CHANNELS, FRAMES), [maker(i) for i in range(3)], [5])
    next(steps)
    assert order == [0]
    made = list(steps)
    assert order == [0, 1, 2]
    assert torch.equal(made[-1].latents, latents_of(run(stages, noise([5], CHANNELS, FRAMES), conditions, [5])))


def test_to_stop_iterating_is_to_cancel(models, conditions):
    asked = []
    stages = [Stage(models[0], times=(1.0, 0.5)), Stage(models[1], times=(0.5, 0.0))]
    makers = [lambda i=i: asked.append(i) or conditions[i] for i in range(2)]
    steps = run(stages, noise([5], CHANNELS, FRAMES), makers, [5])
    next(steps)
    steps.close()
    assert asked == [0]
    assert torch.is_grad_enabled()


def test_gradients_stay_on_for_the_caller_between_steps(models, conditions):
    for _ in run([Stage(models[0], steps=2)], noise([5], CHANNELS, FRAMES), conditions[:1], [5]):
        assert torch.is_grad_enabled()


# ---- turbo models ----------------------------------------------------------------------------------------------------


def test_turbo_models_say_when_they_are_asked_at_times_they_were_not_taught(models):
    assert Stage(turbo(models[0]), steps=8, shift=3.0).notes() == ()
    assert Stage(turbo(models[0]), end=0.8333, steps=3, shift=3.0).end == times(8, 3.0)[3]
    (note,) = Stage(turbo(models[0]), steps=3, shift=3.0).notes()
    assert "l is a turbo model" in note and "t = 0.8571" not in note and "0.6" in note
    (note,) = Stage(turbo(models[0]), steps=8, shift=3.0, guidance=Guidance("apg", 7.0)).notes()
    assert "without guidance; apg 7" in note
    assert Stage(models[0], steps=3, shift=3.0, guidance=Guidance("apg", 7.0)).notes() == ()


# ---- keeping a part --------------------------------------------------------------------------------------------------


@pytest.fixture
def kept():
    clean = torch.randn(1, CHANNELS, FRAMES, generator=torch.Generator().manual_seed(9))
    return Kept(clean, (torch.arange(FRAMES) >= 20)[None], injection_ratio=0.5, blend_frames=4)


def kept_condition(condition, model, kept):
    return replace(condition, context=context(model.silent(FRAMES), kept))


def test_kept_frames_are_held_over_the_first_steps_of_the_whole_run(models, conditions, kept):
    start = noise([1, 2], CHANNELS, FRAMES)
    stages = [Stage(m, times=part) for m, (_, _, part) in zip(models, split(times(8, 3.0), (3, 3, 2)))]
    steps = list(
        run(stages, start, [kept_condition(c, m, kept) for c, m in zip(conditions, models)], [1, 2], kept=kept)
    )
    for index, step in enumerate(steps[:-1], start=1):
        path = step.t_next * start + (1 - step.t_next) * kept.clean
        held = torch.equal(step.latents[..., :20], path[..., :20])
        assert held == (index <= 4)
    music = steps[-1].latents
    assert torch.equal(music[..., :16], kept.clean[..., :16].expand(2, -1, -1))
    assert not torch.allclose(music[..., 18:20], kept.clean[..., 18:20].expand(2, -1, -1), atol=1e-3)
    assert all(torch.equal(step.x0[..., :16], music[..., :16]) for step in steps)


def test_stage_by_stage_keeps_the_same(models, conditions, kept):
    kept = replace(kept, injection_ratio=1.0)
    stages = [Stage(m, times=part) for m, (_, _, part) in zip(models, split(times(6, 3.0), (2, 2, 2)))]
    with_kept = [kept_condition(c, m, kept) for c, m in zip(conditions, models)]
    together = latents_of(run(stages, noise([1], CHANNELS, FRAMES), with_kept, [1], kept=kept))
    latents = noise([1], CHANNELS, FRAMES)
    for stage, condition in zip(stages, with_kept):
        latents = latents_of(run([stage], latents, [condition], [1], kept=kept))
    assert torch.equal(latents, together)


def test_turbo_models_finish_by_themselves(models, conditions, kept):
    kept = replace(kept, injection_ratio=1.0, blend_frames=10)
    start, table = noise([1], CHANNELS, FRAMES), times(8, 3.0)
    condition = kept_condition(conditions[0], models[0], kept)

    def ramp(model):
        music = latents_of(run([Stage(model, times=table)], start, [condition], [1], kept=kept))
        return (music - kept.clean)[..., 10:20].abs().amax()

    assert float(ramp(models[0])) < 1e-6  # held at t = 0 as well, so there is nothing left to blend
    assert float(ramp(turbo(models[0]))) > 1e-3

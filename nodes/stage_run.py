"""The run of one stage node: its latents, text and reference -> latents at the stage's last time."""

import dataclasses
from collections.abc import Callable, Iterator

import torch

from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.checkpoints.layouts import AUDIO_TOKENS
from ..acestep_core.errors import UserError
from ..acestep_core.flow.song_run import RunState, SongRun, StagePart
from ..acestep_core.flow.stage_plan import StagePlan
from ..acestep_core.flow.stages import Stage, Step, enter, item_seeds, run
from ..acestep_core.memory.geometry import FULL
from ..acestep_core.memory.needs import hint_needs
from ..acestep_core.models.condition import Condition, encode_condition
from ..acestep_core.models.reference import Reference
from ..acestep_core.models.source import CODES, EditSource
from .edits import check_edit
from .host import devices
from .latents import Latents
from .plans import check_plan, plan_of
from .types import ModelHandle

Play = Callable[[Condition, int | None], Iterator[Step]]  # of a condition, and how many items pass a model at once


def play(handle: ModelHandle, stage: Stage, latents: Latents, text, reference, seed: int, report) -> tuple:
    """Latents at the stage's last time, and its estimate of the finished music."""
    _check_channels(handle, latents)
    _check_family(handle, reference)
    check_edit(handle, text, reference, latents.samples.shape[-1])
    check_plan(handle, text, reference, latents.samples.shape[-1])
    seeds = item_seeds(seed, len(latents.samples))
    made_from = latents.seeds if latents.t and latents.seeds else seeds  # of the stage that began the song
    whole = _song_run(handle, stage, latents, reference, made_from) if _has_edit(reference) else None
    if whole is None:
        passes, steps = len(seeds), _song(stage, latents, reference, seeds)
    else:
        passes, steps = whole.passes, _edit(whole, stage, latents, seeds)
    step = _last_step(handle, text, reference, latents, passes * stage.guidance.forward_passes, steps, report)
    models = tuple(dict.fromkeys((*latents.models, *([handle.model.name] if step else []))))
    state = whole.state if whole and isinstance(reference.source, EditSource) else None
    edited = plan_of(reference) is None  # finished music of an edit is put together with its source
    made = (step.latents, step.x0) if step else (whole.latents(), _music(whole))
    return tuple(
        Latents(samples.cpu(), t or None, latents.seconds, made_from, models, state if t or edited else None)
        for samples, t in zip(made, (stage.end, 0.0))
    )


def _last_step(handle, text, reference, latents: Latents, passes: int, steps: Play | None, report) -> Step | None:
    """Runs the steps of a stage; None where it has none."""
    if steps is None:
        return None
    room, frames = devices.NodeOomFallback(passes), latents.samples.shape[-1]

    def made() -> Iterator[Step]:
        condition, at_once = _condition(handle, text, frames, reference), 1 if room.plan.splits else None
        handle.load_transformer(handle.activation_bytes(frames, at_once or passes))
        yield from steps(condition, at_once)

    for step in room.steps_with_fallback(made):
        report(step)
    return step


# ---- songs and edits -------------------------------------------------------------------------------------------------


def _has_edit(reference: Reference | None) -> bool:
    return bool(reference and (isinstance(reference.source, EditSource) or reference.variation))


def _song(stage: Stage, latents: Latents, reference: Reference | None, seeds) -> Play:
    """The steps of a song that is no edit."""
    kept = reference.source.kept(latents.samples.shape[-1]) if reference and reference.source else None

    def steps(condition: Condition, at_once: int | None) -> Iterator[Step]:
        given = {"kept": kept, "at": latents.t or 0.0, "at_once": at_once}
        return run([stage], latents.samples, [condition], seeds, **given)

    return steps


def _song_run(handle: ModelHandle, stage: Stage, latents: Latents, reference: Reference, seeds) -> SongRun:
    """A stage as a part of the run that its latents began."""
    begun = None if latents.empty else latents.t or stage.start
    state = latents.run or RunState(handle.model.defaults.shift, begun)
    plan = StagePlan(stage.times, stage.solver, stage.guidance)
    channels, frames = latents.samples.shape[1:]
    return SongRun([plan], reference, seeds, channels, frames, state.shift, state.start, state.draws)


def _edit(whole: SongRun, stage: Stage, latents: Latents, seeds) -> Play | None:
    """The steps of an edit; None where its closeness lets a later stage begin."""
    if not whole.parts:
        return None
    (part,) = whole.parts
    own, begun = dataclasses.replace(stage, times=part.plan.times), _entered(whole, part, latents, seeds)
    return lambda condition, at_once: whole.play(part, own, begun, condition, at_once, seeds)


def _entered(whole: SongRun, part: StagePart, latents: Latents, seeds) -> torch.Tensor:
    """The run's own beginning, latents that are at this stage's first time, or finished music, which is noised to it.
    Raises UserError for a stage that does not begin where its latents are.
    """
    if whole.started is None:
        if not whole.source.closeness:
            enter(latents.samples, 1.0, part.plan.times[0], seeds)
        return whole.latents()
    if whole.source.morph and latents.finished:
        raise UserError("morph: the latent is finished music; connect `latent` of Morph to the first stage")
    return enter(latents.samples, latents.t or 0.0, part.plan.times[0], seeds)


def _music(whole: SongRun) -> torch.Tensor:
    return whole.source.music(whole.frames).expand(len(whole.seeds), -1, -1)


# ---- conditions ------------------------------------------------------------------------------------------------------


def _condition(handle: ModelHandle, text, frames: int, reference: Reference | None) -> Condition:
    def encode() -> Condition:
        hints = _hints(handle, reference and reference.source)
        handle.condition_encoder.load(handle.encoding_bytes)
        return encode_condition(handle.model, text, frames, reference, hints)

    return handle.conditions.get((text, frames, reference), encode)


def _hints(handle: ModelHandle, source) -> torch.Tensor | None:
    """A source through the model's own codes, where it needs them; their networks are held only meanwhile."""
    if not isinstance(source, EditSource) or source.shows != CODES:
        return None
    from ..acestep_core.checkpoints.load import load_stage_model

    with devices.weights_for_all():
        model = load_stage_model(handle.place, dtype=torch.float32, only=AUDIO_TOKENS)
    networks = [devices.manage(one, "stage") for one in (model.audio_tokenizer, model.audio_token_detokenizer)]
    devices.load_together(networks, hint_needs(read_checkpoint(handle.place)).one_pass(source.frames, FULL))
    return source.hints(model).cpu()


# ---- what fits together ----------------------------------------------------------------------------------------------


def _check_channels(handle: ModelHandle, latents: Latents) -> None:
    wanted, given = handle.model.latents_channels, latents.samples.shape[1]
    if wanted != given:
        raise UserError(
            f"{handle.model.name} makes latents of {wanted} channels, got {given}; make empty latents with ACE-Step's "
            "Empty Latent and the vocoder of the model's own family"
        )


def _check_family(handle: ModelHandle, reference: Reference | None) -> None:
    source = reference and reference.source
    clips = (*reference.timbre, *([source.latents] if source else [])) if reference else ()
    wanted, given = handle.model.latents_channels, {latents.shape[1] for latents in clips}
    if given - {wanted}:
        raise UserError(
            f"reference: {handle.model.name} takes latents of {wanted} channels, got {max(given - {wanted})}; encode "
            "the clip with the vocoder of the model's own family"
        )

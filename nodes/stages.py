"""The three stages: one class of node, at three places of the cascade."""

from collections.abc import Callable

from comfy_api.latest import io

from ..acestep_core.errors import is_out_of_memory
from ..acestep_core.flow.guidance import GUIDANCE, Guidance
from ..acestep_core.flow.solvers import SOLVERS
from ..acestep_core.flow.stages import Stage, Step
from ..acestep_core.spec import MAX_SEED
from .host import messages, widgets
from .latents import Latents, of_latent, to_latent
from .stage_run import play
from .stage_times import AS_AUTO, MOST_SHIFT, MOST_STEPS, SLOTS, StageTimes
from .types import Model, ModelHandle, ReferenceSocket, Text

AUTO, CUSTOM = "auto", "custom"
TIMES, GUIDANCES = (AUTO, CUSTOM), (AUTO, *GUIDANCE)
PREVIEW_SECONDS = 3.0


# ---- the stage -------------------------------------------------------------------------------------------------------


def plan(handle: ModelHandle, slot: int, latents: Latents, settings: dict) -> tuple[Stage, tuple[str, ...]]:
    """The Stage of a node's widgets and latents, and warnings about it. Raises UserError."""
    chosen = widgets.chosen("stretch", settings["stretch"], TIMES)
    wanted = StageTimes(
        slot,
        at=1.0 if latents.empty else latents.t,
        finished=latents.finished,
        start=chosen.get("start"),
        end=chosen.get("end"),
        steps=settings["steps"],
        shift=settings["shift"],
    )
    times = wanted.times(handle.model.defaults)
    stage = Stage(handle.model, times=times, solver=settings["solver"], guidance=_guidance(settings["guidance"]))
    return stage, (*wanted.notes(times), *stage.notes())


def _guidance(choice: dict) -> Guidance | None:
    kind = widgets.chosen("guidance", choice, GUIDANCES)["guidance"]
    return None if kind == AUTO else Guidance(kind, choice.get("scale", 1.0))


# ---- progress and pictures -------------------------------------------------------------------------------------------


def reporter(handle: ModelHandle, slot: int, stage: Stage, node_id: str) -> Callable[[Step], None]:
    """Shows on a node after each step how far the stage is, and how the song begins."""
    progress = messages.Progress(node_id, stage.steps)

    def report(step: Step) -> None:
        picture = (lambda: _picture(handle, step)) if handle.preview and handle.preview.network.is_in_place else None
        progress.report(step.step, f"{SLOTS[slot]} {step.step}/{step.of} · t {step.t_next:.2f}", picture)

    return report


def _picture(handle: ModelHandle, step: Step):
    """A spectrogram of the first seconds of the first song, decoded where the vocoder's weights rest; None where there
    is no memory for it.
    """
    from ..acestep_core.audio.spectrogram import picture

    vocoder = handle.preview.vocoder
    frames = vocoder.latents.frames(PREVIEW_SECONDS)
    try:
        sound = vocoder.decode(step.x0[:1, :, :frames])
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return None
    return picture(sound, width=messages.PREVIEW_PIXELS, height=messages.PREVIEW_PIXELS // 2)


# ---- the nodes -------------------------------------------------------------------------------------------------------


def _guidance_option(kind: str) -> io.DynamicCombo.Option:
    scale = io.Float.Input(
        "scale", default=7.0, min=1.0, max=30.0, step=0.1, tooltip="How strongly the caption is followed. 1 is none."
    )
    return io.DynamicCombo.Option(kind, [] if GUIDANCE[kind] is None else [scale])


def _time(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=AS_AUTO, min=AS_AUTO, max=1.0, step=0.0001, round=0.0001, tooltip=tooltip)


SEED = "Song i of a batch is made from seed + i. The same seed makes the same song."
LATER_SEED = (
    "A song that another stage began keeps that stage's seed: this one counts with the solver sde, with an empty "
    "latent, with finished music and with a clip to continue. Song i of a batch is made from seed + i."
)


class _StageNode(io.ComfyNode):
    SLOT: int
    DISPLAY: str
    DESCRIPTION: str

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=f"AceStepStage{SLOTS[cls.SLOT]}",
            display_name=cls.DISPLAY,
            category="ACE-Step/stages",
            description=cls.DESCRIPTION,
            search_aliases=["ksampler", "sampler", "cascade", "denoise", "ace-step"],
            inputs=[
                Model.Input("model", tooltip="The music transformer of this stage."),
                Text.Input("text", tooltip="The song's text, from Text Encode."),
                io.Latent.Input(
                    "latent",
                    tooltip="An empty latent becomes noise. A latent of a stage continues from its t. Finished "
                    "music is noised to the start of this stage and denoised again from there.",
                ),
                ReferenceSocket.Input(
                    "reference", optional=True, tooltip="Clips from Reference Encode, or the source of an editing node."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=min(MAX_SEED, 2**53 - 1) - 64,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip=SEED if cls.SLOT == 0 else LATER_SEED,
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="Steps of this stage; more takes longer. 0 (auto): as many as the model is made for.",
                ),
                io.DynamicCombo.Input(
                    "stretch",
                    options=[
                        io.DynamicCombo.Option(AUTO, []),
                        io.DynamicCombo.Option(
                            CUSTOM,
                            [
                                _time("start", "Flow time at which the stage begins; 1 is noise. -1: as in auto."),
                                _time("end", "Flow time at which it ends; 0 is finished music. -1: as in auto."),
                            ],
                        ),
                    ],
                    display_name="start and end (t)",
                    tooltip="Flow times between which this stage runs: 1 is noise, 0 is music. auto: from the "
                    "latent's t to the t at which the model's cascade hands over. custom: yours.",
                ),
                io.DynamicCombo.Input(
                    "guidance",
                    options=[io.DynamicCombo.Option(AUTO, []), *map(_guidance_option, GUIDANCE)],
                    tooltip="Follows the caption more closely, at twice the time. auto: as the model is made for; "
                    "turbo models need none.",
                ),
                io.Combo.Input(
                    "solver",
                    options=list(SOLVERS),
                    default="euler",
                    tooltip="euler: one forward pass a step. heun: two, more exact. sde: fresh noise in each step.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=MOST_SHIFT,
                    step=0.1,
                    advanced=True,
                    tooltip="More than 1 spends more of the steps near the noise. 0 (auto): the model's own.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="For the next stage, or Vocode at t = 0."),
                io.Latent.Output("x0", display_name="x0", tooltip="Its present estimate of the finished music."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, *, stretch=None, guidance=None):
        # By keyword, so that ComfyUI checks the inside of both; one that it does not know arrives as None.
        for name, given, options in (("stretch", stretch, TIMES), ("guidance", guidance, GUIDANCES)):
            if wrong := widgets.check_choice(name, given, options):
                return wrong
        return True

    @classmethod
    def execute(cls, model, text, latent, seed, reference=None, **settings) -> io.NodeOutput:
        latents = of_latent(latent)
        with messages.notes_on(cls.hidden.unique_id) as notes:
            stage, warnings = plan(model, cls.SLOT, latents, settings)
            messages.note(warnings, cls.hidden.unique_id)
            report = reporter(model, cls.SLOT, stage, cls.hidden.unique_id)
            made = play(model, stage, latents, text, reference, seed, report)
            return io.NodeOutput(*map(to_latent, made), ui=notes.ui)


class StageL(_StageNode):
    SLOT, DISPLAY = 0, "Stage L"
    DESCRIPTION = "First stage of a cascade: lays out the broad structure of the song."


class StageM(_StageNode):
    SLOT, DISPLAY = 1, "Stage M"
    DESCRIPTION = "Second stage of a cascade: adds harmonic detail."


class StageS(_StageNode):
    SLOT, DISPLAY = 2, "Stage S"
    DESCRIPTION = "Last stage of a cascade: adds fine detail. It can also refine any finished music."

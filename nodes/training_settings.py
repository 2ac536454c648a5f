"""Widgets of a training in the graph, and the settings that they give for a model."""

from dataclasses import replace

from comfy_api.latest import io

from ..acestep_core.checkpoints.registry import KNOWN
from ..acestep_core.training.settings import (
    GRADIENT_CHECKPOINTING,
    KINDS,
    PRESETS,
    TARGETS,
    TINY,
    Intervals,
    LoraSettings,
    preset,
    with_own_times,
)
from .host import devices, widgets
from .types import ModelHandle

AUTO, CUSTOM, TINY_PRESET = "auto", "custom", "tiny"
MEMORIES = (AUTO, TINY_PRESET, *(f"{size} GB" for size in PRESETS), CUSTOM)
STRETCHES = (AUTO, CUSTOM)
CHECKPOINTING_WIDGET = "frugal"  # its name in saved workflows
ATTENTION, EVERYTHING = "attention", "attention and mlp"
TARGETS_OF = {ATTENTION: ("self", "cross"), EVERYTHING: tuple(TARGETS)}


def settings_of(handle: ModelHandle, values: dict) -> LoraSettings:
    """The settings that the widgets' values give for this model; 0 and auto are the preset's. Raises UserError."""
    from ..acestep_core.training.objective import flow_times

    memory = widgets.chosen("memory", values["memory"], MEMORIES)
    stretch = widgets.chosen("stretch", values["stretch"], STRETCHES)
    given = {name: values[name] for name in ("steps", "dropout", "warm_up", "weight_decay", "clip", "hold_out", "seed")}
    given |= {name: values[name] for name in ("learning_rate", "accumulate") if values[name]}
    given |= {"alpha": values["alpha"] or None, "targets": TARGETS_OF[values["targets"]], "kind": values["kind"]}
    given["preserve"] = values.get("preserve", 0.0)
    given |= {name: memory[name] for name in ("rank", "crop_seconds") if name in memory}
    given |= {GRADIENT_CHECKPOINTING: memory[CHECKPOINTING_WIDGET]} if CHECKPOINTING_WIDGET in memory else {}
    settings = _preset(handle, memory["memory"], given)
    if stretch["stretch"] == CUSTOM:
        settings = replace(settings, start=stretch["start"], end=stretch["end"])
    else:
        known = KNOWN.get(handle.model.name)
        settings = with_own_times(settings, known.slot if known else "", handle.model.defaults)
    flow_times(handle.model.defaults, settings.start, settings.end)  # raises UserError before clips are prepared
    return settings


def _preset(handle: ModelHandle, choice: str, given: dict) -> LoraSettings:
    is_tiny = handle.model.defaults.variant == TINY_PRESET
    if choice == TINY_PRESET or (is_tiny and choice in (AUTO, CUSTOM)):
        return LoraSettings(**{**TINY, **given})
    if choice == CUSTOM:
        return LoraSettings(**given)
    size = devices.device_gigabytes() if choice == AUTO else int(choice.split()[0])
    return preset(max(size, min(PRESETS)), **given)


# ---- widgets ---------------------------------------------------------------------------------------------------------


def _whole(name: str, default: int, least: int, most: int, tooltip: str, advanced: bool = False) -> io.Int.Input:
    return io.Int.Input(name, default=default, min=least, max=most, tooltip=tooltip, advanced=advanced)


def _share(name: str, default: float, tooltip: str, optional: bool = False) -> io.Float.Input:
    return io.Float.Input(
        name, default=default, min=0.0, max=0.99, step=0.01, advanced=True, tooltip=tooltip, optional=optional
    )


def _memory_input() -> io.DynamicCombo.Input:
    custom = [
        _whole(
            "rank",
            32,
            1,
            1024,
            "Width of the adapter: a larger one learns more, needs more memory, and overfits sooner.",
        ),
        io.Float.Input(
            "crop_seconds",
            default=60.0,
            min=1.0,
            max=600.0,
            step=1.0,
            tooltip="The longest part of a clip in a step. Memory grows with it.",
        ),
        io.Boolean.Input(
            CHECKPOINTING_WIDGET,
            display_name="gradient checkpointing",
            default=True,
            tooltip="Layers are computed again for the gradients: much less memory, a third more time.",
        ),
    ]
    named = MEMORIES[:-1]
    return io.DynamicCombo.Input(
        "memory",
        options=[*(io.DynamicCombo.Option(name, []) for name in named), io.DynamicCombo.Option(CUSTOM, custom)],
        tooltip="Rank, crop and checkpointing that fit the memory of a GPU. auto: this machine's; for the embedded "
        "models it is tiny, which learns in a minute on a CPU. The figures are computed, not measured on each card.",
    )


def _stretch_input() -> io.DynamicCombo.Input:
    ends = [
        io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.0001, round=0.0001, tooltip=tooltip)
        for name, default, tooltip in (
            ("start", 1.0, "The first flow time to train at; 1 is noise."),
            ("end", 0.0, "The last flow time to train at; 0 is finished music."),
        )
    ]
    return io.DynamicCombo.Input(
        "stretch",
        options=[io.DynamicCombo.Option(AUTO, []), io.DynamicCombo.Option(CUSTOM, ends)],
        tooltip="The flow times to train at. Usually leave it at auto: 1 to 0 for the published models, also for a 2B "
        "alone; for the embedded models the times of their slot in the cascade.",
    )


def how_inputs() -> list[io.Input]:
    own, every = LoraSettings(), Intervals()
    return [
        io.String.Input(
            "name",
            default="my-style",
            tooltip="Of the adapter: its file in the first of ComfyUI's loras folders. The same name resumes the same "
            "training; a file of another training is never replaced.",
        ),
        _whole(
            "steps",
            own.steps,
            1,
            1_000_000,
            "Length of the training. More than before resumes a finished one; fewer need a new name.",
        ),
        _memory_input(),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.00001,
            round=0.0000001,
            tooltip=f"How far a step goes. 0 (auto): {own.learning_rate:g}, for the embedded models "
            f"{TINY['learning_rate']:g}. Too high, and the loss jumps; too low, and it hardly falls.",
        ),
        _whole("preview_every", 250, 0, 1_000_000, "Steps from one preview that can be played to the next. 0: none."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**53 - 1,
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Of all random numbers. The same seed gives the same training.",
        ),
        io.Combo.Input(
            "kind",
            options=list(KINDS),
            default="lora",
            advanced=True,
            tooltip="dora trains magnitudes too: often closer, and slower. lokr is the smallest of the three and "
            "needs a higher learning rate, such as 1e-3.",
        ),
        io.Combo.Input(
            "targets",
            options=list(TARGETS_OF),
            default=ATTENTION,
            advanced=True,
            tooltip="Layers that are adapted. With the MLP it learns more, needs more memory, and overfits sooner.",
        ),
        io.Float.Input(
            "alpha",
            default=0.0,
            min=0.0,
            max=4096.0,
            step=1.0,
            advanced=True,
            tooltip="The adapter's scale times its rank. 0 (auto): the rank, which is scale 1 for every reader.",
        ),
        _share(
            "dropout", own.dropout, "Share of the adapter's inputs that is left out at random: against overfitting."
        ),
        _whole("accumulate", 0, 0, 1024, "Crops in a step. 0 (auto): 4, for the embedded models 2.", advanced=True),
        _whole(
            "warm_up",
            own.warm_up,
            0,
            100_000,
            "Steps in which the learning rate rises from 0; best at most a tenth of `steps`.",
            advanced=True,
        ),
        _share("weight_decay", own.weight_decay, "Pulls the adapter towards no effect."),
        io.Float.Input(
            "clip",
            default=own.clip,
            min=0.01,
            max=1000.0,
            step=0.1,
            advanced=True,
            tooltip="The largest norm of a gradient; larger ones are scaled down to it.",
        ),
        _share(
            "hold_out", own.hold_out, "Share of the clips that is held out, to measure the loss on; from 4 clips on."
        ),
        _stretch_input(),
        _whole("save_every", every.save, 0, 1_000_000, "Steps from one checkpoint to the next.", advanced=True),
        _whole(
            "measure_every", every.measure, 0, 1_000_000, "Steps between losses on the clips held out.", advanced=True
        ),
        _share(
            "preserve",
            own.preserve,
            "Share of the crops from songs that the model made itself, at which the adapter is trained to change "
            "nothing: 0.25 keeps other styles much nearer to what they were.",
            optional=True,  # prompts of older versions lack it
        ),
    ]

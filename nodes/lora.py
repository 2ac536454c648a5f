"""Adapters: applied to a stage model, stacked, and described."""

import dataclasses
from pathlib import Path

from comfy_api.latest import io

from ..acestep_core.checkpoints.locate import state_of
from ..acestep_core.errors import UserError
from ..acestep_core.lora.find import list_adapters, listed_adapter, near_adapter, why_not
from .host import devices, locations, messages
from .types import AdapterSocket, Model, ModelHandle, TrainedAdapter

CATEGORY = "ACE-Step/lora"
NONE = "none"
NOT_CONNECTED = object()  # validation gets None for an input that is connected


# ---- which adapter ---------------------------------------------------------------------------------------------------


def choices() -> list[str]:
    """Names for a list, without opening a file."""
    return [NONE, *list_adapters(locations.adapter_folders(), quick=True)]


def chosen(name: str) -> Path | None:
    """The file or folder of an adapter, None for "none". Raises UserError for a name that is not listed: a workflow
    must not read files anywhere.
    """
    if name == NONE:
        return None
    folders = locations.adapter_folders()
    place = listed_adapter(name, folders)
    if place is None:
        if wrong := why_not(name, folders):
            raise UserError(wrong)
        raise UserError(
            f"{name}: there is no such adapter for ACE-Step 1.5{near_adapter(name, folders)}; put its file into "
            f"{' or '.join(map(str, folders))}"
        )
    return place


def check(name: str | None, trained: object) -> bool | str:
    """True, or why this adapter cannot be applied; a choice beside a connected trained adapter is not checked."""
    if name is None or trained is not NOT_CONNECTED:  # a name through a link is checked when the node runs
        return True
    try:
        chosen(name)
    except UserError as exc:
        return str(exc)
    return True


def fingerprint(name: str | None) -> str:
    """Changes whenever a file of the adapter does."""
    place = None if name is None else listed_adapter(name, locations.adapter_folders())
    return str((name, place and state_of(place)))


def _adapter_input() -> io.Combo.Input:
    return io.Combo.Input(
        "adapter",
        options=choices(),
        default=NONE,
        tooltip="Adapters for ACE-Step 1.5 in ComfyUI's loras folders, of any layout. none: the model as it is.",
    )


def _trained_input() -> AdapterSocket.Input:
    return AdapterSocket.Input(
        "trained", optional=True, tooltip="The adapter of a Train LoRA in this graph. It replaces `adapter`."
    )


# ---- applied and described -------------------------------------------------------------------------------------------


def with_adapter(handle: ModelHandle, place: Path, strength: float) -> tuple[ModelHandle, tuple[str, ...]]:
    """The model with one more adapter applied, and which tensors matched. Raises UserError for another base model's."""
    from torch import nn

    from ..acestep_core.lora.adapter import read_adapter
    from ..acestep_core.lora.apply import AdaptedLayer, apply_adapter

    with devices.weights_for_all():
        model, report = apply_adapter(handle.model, read_adapter(place), strength)
    if model is handle.model:  # strength 0
        return handle, report.lines
    layers = (model.transformer.get_submodule(path) for path in report.matched)
    branches = nn.ModuleList(layer.branches[-1] for layer in layers if isinstance(layer, AdaptedLayer))
    adapters = (*handle.adapters, devices.manage(branches, "stage"))
    return dataclasses.replace(handle, model=model, adapters=adapters), report.lines


class ApplyLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepApplyLora",
            display_name="Apply LoRA",
            category=CATEGORY,
            description="Applies an adapter to a stage model at its true scale. Put several in a row to stack them.",
            search_aliases=["lora", "dora", "lokr", "loha", "adapter", "style", "load lora"],
            inputs=[
                Model.Input("model", tooltip="The model is not changed: other nodes can use it without the adapter."),
                _trained_input(),
                _adapter_input(),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.05,
                    tooltip="1 is as it was trained, whatever its alpha and rank are; 0 is the model as it is.",
                ),
            ],
            outputs=[
                Model.Output(
                    "model", display_name="model", tooltip="For every stage that shall have it, or another Apply LoRA."
                ),
                io.String.Output("report", display_name="report", tooltip="The layers that matched, and the scale."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, adapter, trained=NOT_CONNECTED):
        return check(adapter, trained)

    @classmethod
    def fingerprint_inputs(cls, model, adapter, strength, trained=None):
        return fingerprint(adapter)

    @classmethod
    def execute(cls, model: ModelHandle, adapter, strength, trained: TrainedAdapter | None = None) -> io.NodeOutput:
        place = trained.place if trained else chosen(adapter)
        if place is None:
            return io.NodeOutput(model, "no adapter", ui=messages.Notes(cls.hidden.unique_id).ui)
        with messages.notes_on(cls.hidden.unique_id) as notes:
            adapted, lines = with_adapter(model, place, strength)
            notes.add(lines)
            return io.NodeOutput(adapted, "\n".join(lines), ui=notes.ui)


class LoraInfo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLoraInfo",
            display_name="LoRA Info",
            category=CATEGORY,
            description="Facts about an adapter: layout, base model, rank, alpha, true scale, trigger words, training.",
            search_aliases=["lora metadata", "trigger words", "show lora"],
            inputs=[_trained_input(), _adapter_input()],
            outputs=[io.String.Output("info", display_name="info", tooltip="One fact a line, for Preview as Text.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, adapter, trained=NOT_CONNECTED):
        return check(adapter, trained)

    @classmethod
    def fingerprint_inputs(cls, adapter, trained=None):
        return fingerprint(adapter)

    @classmethod
    def execute(cls, adapter, trained: TrainedAdapter | None = None) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            lines = describe(trained.place if trained else chosen(adapter))
            notes.add(lines)
            return io.NodeOutput("\n".join(lines), ui=notes.ui)


def describe(place: Path | None) -> tuple[str, ...]:
    """Facts about an adapter, one a line."""
    from ..acestep_core.lora.adapter import read_adapter
    from ..acestep_core.lora.describe import lines_of

    return ("no adapter",) if place is None else tuple(lines_of(read_adapter(place)))

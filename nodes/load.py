"""Loaders: a name from a list -> a model, text encoder or vocoder under ComfyUI's memory management."""

import dataclasses

from comfy_api.latest import io

from ..acestep_core.checkpoints.cascade_models import CascadeModels, find_cascade
from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.checkpoints.locate import LocalModel
from ..acestep_core.checkpoints.registry import STAGE, TEXT, VOCODER
from ..acestep_core.errors import CheckpointError
from ..acestep_core.memory.needs import LONG_SECONDS, Needs, cascade_needs, lone_needs
from ..acestep_core.memory.plan import ALL, NETWORKS
from ..acestep_core.nn.quantise import OF_STAGES
from ..acestep_core.spec import DTYPE_NAMES, VOCODER_DTYPE_NAMES
from .host import devices, locations, messages
from .host.workflow import song_seconds
from .model_choice import (
    AUTO,
    auto_fingerprint,
    check,
    choices,
    fetched,
    find_parts,
    fingerprint,
    reference_to,
    slot_choices,
)
from .types import Encoder, EncoderHandle, Model, ModelHandle, VocoderHandle, VocoderSocket

CATEGORY = "ACE-Step/loaders"
DTYPES = (AUTO, *DTYPE_NAMES)
NONE = "none"
VOCODER_DTYPES = (AUTO, *VOCODER_DTYPE_NAMES)


def load_model(
    local: LocalModel, dtype: str, quantised: str = NONE, preview: VocoderHandle | None = None
) -> ModelHandle:
    """Raises UserError where torchao is wanted and is not here."""
    import torch

    from ..acestep_core.checkpoints.load import load_stage_model
    from ..acestep_core.nn.quantise import check_quantise, quantise

    kind = None if quantised == NONE else quantised
    parameters = read_checkpoint(local.path).part("transformer").parameters
    chosen = devices.stage_dtype(dtype, parameters)
    check_quantise(kind, devices.stage_device(), chosen, OF_STAGES)
    folders = locations.models_shelf().all_folders
    with devices.weights_for_all():
        model = load_stage_model(local.path, dtype=chosen, folders=folders)
        if kind:
            quantise(model.transformer, kind, torch.device("cpu"))
    model = dataclasses.replace(model, name=local.name)
    parts = (devices.manage(network, "stage") for network in (model.transformer, model.condition_encoder))
    return ModelHandle(model, *parts, preview, place=local.path)


def load_encoder(local: LocalModel, dtype: str) -> EncoderHandle:
    from ..acestep_core.checkpoints.load import load_text_encoder
    from ..acestep_core.checkpoints.text_cache import text_cache

    checkpoint, folders = read_checkpoint(local.path), locations.models_shelf().all_folders
    dtype = devices.stage_dtype(dtype, checkpoint.part("text_encoder").parameters)
    with devices.weights_for_all():
        encoder = load_text_encoder(local.path, dtype=dtype, folders=folders)
    network = devices.manage(encoder.model, "text")
    return EncoderHandle(encoder, network, text_cache(checkpoint, network.patcher.load_device, dtype))


def load_vocoder(local: LocalModel, dtype: str = AUTO) -> VocoderHandle:
    from ..acestep_core.checkpoints.load import load_vocoder as load

    with devices.weights_for_all():
        vocoder = load(local.path, dtype=devices.vocoder_dtype(dtype))
    return VocoderHandle(vocoder, devices.manage(vocoder.network, "vocoder"))


# ---- memory ----------------------------------------------------------------------------------------------------------


def show_memory(needs: Needs, prompt: dict | None, node_id: str) -> None:
    """The memory that the longest song of a node takes (or any long one), as text on it before anything is loaded."""
    seconds = max(song_seconds(prompt, node_id), default=LONG_SECONDS)
    sizes = {holds: f"{size / 1e9:.1f} GB" for holds, size in needs.sizes(seconds).items()}
    least = f"{sizes[NETWORKS]} for a song of {seconds:g} s, one network at a time"
    messages.keep([f"{least}; {sizes[ALL]} where all of them stay"], node_id)


def _needs_alone(local: LocalModel, dtype: str, quantised: bool) -> Needs:
    """Needs of one model that makes songs alone, with the text encoder and the vocoder of its family."""
    each = _each(dtype, local)
    try:
        found = find_cascade(reference_to(local), folders=locations.models_shelf().all_folders)
    except CheckpointError:  # its family's text encoder or vocoder is not here
        return lone_needs(read_checkpoint(local.path), each, quantised)
    return cascade_needs(found, each, False, quantised)


def _each(dtype: str, local: LocalModel) -> int | None:
    """Bytes of a number of a model's weights at a widget's dtype, None where the file decides."""
    chosen = devices.stage_dtype(dtype, read_checkpoint(local.path).part("transformer").parameters)
    return chosen and chosen.itemsize


def load_cascade(found: CascadeModels, dtype: str, vocoder_dtype: str, quantised: str) -> tuple:
    """(L, M, S, text encoder, vocoder); a model that stands in several slots is loaded once."""
    vocoder, loaded = load_vocoder(found.vocoder, vocoder_dtype), {}
    for local in found.stages:
        if local.path not in loaded:
            loaded[local.path] = load_model(local, dtype, quantised, vocoder)
    return (*(loaded[local.path] for local in found.stages), load_encoder(found.text, dtype), vocoder)


def _model_input(name: str, default: str, role: str, options: list[str]) -> io.Combo.Input:
    return io.Combo.Input(
        name,
        options=options,
        default=default,
        tooltip=f"The model {role}. The list has the models that are here, then known models, which are downloaded "
        "when you choose them and press Run.",
    )


def _part_input(name: str, kind: str, default: str, tooltip: str, *first: str) -> io.Combo.Input:
    return io.Combo.Input(name, options=[*first, *choices(kind)], default=default, tooltip=tooltip)


def _dtype_input() -> io.Combo.Input:
    return io.Combo.Input(
        "dtype",
        options=list(DTYPES),
        default=AUTO,
        advanced=True,
        tooltip="Number format of the weights. auto: suits this machine; on a CPU the file's own, or "
        "fp32 where the CPU has no instructions for bf16 and there is memory enough. bf16 halves the memory of fp32 "
        "at the cost of a slightly different song.",
    )


def _vocoder_dtype_input(name: str) -> io.Combo.Input:
    return io.Combo.Input(
        name,
        options=list(VOCODER_DTYPES),
        default=AUTO,
        optional=True,  # prompts of older versions lack it
        advanced=True,
        tooltip="Number format of the vocoder's weights. auto: fp32, unless ComfyUI was started with --bf16-vae. bf16 "
        "is faster and takes half the memory; its noise is about 40 to 45 dB below the music.",
    )


def _quantise_input() -> io.Combo.Input:
    return io.Combo.Input(
        "quantise",
        options=[NONE, *OF_STAGES],
        default=NONE,
        optional=True,
        advanced=True,
        tooltip="Weights of the transformer's layers in 8 bits: half the memory of bf16, a slightly different song. "
        "fp8-matmul multiplies in 8 bits too, on NVIDIA GPUs since the RTX 40 series, with bf16. Needs torchao in "
        "ComfyUI's Python. none: the weights keep their dtype.",
    )


class LoadCascade(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        with_l = "auto: the one that comes with the model in L, else a published one that is here."
        stages = slot_choices()
        return io.Schema(
            node_id="AceStepLoadCascade",
            display_name="Load Cascade",
            category=CATEGORY,
            description="All parts of a cascade at once: the models of its three stages, text encoder and vocoder.",
            search_aliases=["ace-step", "music model", "load ace step", "tiny", "song", "checkpoint"],
            inputs=[
                _model_input("l", "tiny-l", "that lays out the broad structure", stages),
                _model_input("m", "tiny-m", "that adds harmonic detail", stages),
                _model_input("s", "tiny-s", "that polishes", stages),
                _part_input("text_encoder", TEXT, AUTO, f"Reads caption and lyrics. {with_l}", AUTO),
                _part_input("vocoder", VOCODER, AUTO, f"Makes sound of latents. {with_l}", AUTO),
                _dtype_input(),
                _vocoder_dtype_input("vocoder_dtype"),
                _quantise_input(),
            ],
            outputs=[
                Model.Output("L", display_name="L", tooltip="The model of stage L."),
                Model.Output("M", display_name="M", tooltip="The model of stage M."),
                Model.Output("S", display_name="S", tooltip="The model of stage S."),
                Encoder.Output("text_encoder", display_name="text encoder", tooltip="For Text Encode."),
                VocoderSocket.Output("vocoder", display_name="vocoder", tooltip="For Vocode and Reference Encode."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, l, m, s, text_encoder, vocoder):  # noqa: E741
        # They are named so that ComfyUI does not compare them with its lists, where a saved name may have a mark or
        # lack it. They are checked when the node runs: ComfyUI would show an error from here on each of the five.
        return True

    @classmethod
    def fingerprint_inputs(cls, l, m, s, text_encoder, vocoder, **form):  # noqa: E741
        named = fingerprint(STAGE, l, m, s), fingerprint(TEXT, text_encoder), fingerprint(VOCODER, vocoder)
        return *named, auto_fingerprint((l, m, s), text_encoder, vocoder)

    @classmethod
    def execute(cls, l, m, s, text_encoder, vocoder, dtype, vocoder_dtype=AUTO, quantise=NONE) -> io.NodeOutput:  # noqa: E741
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            found = find_parts((l, m, s), text_encoder, vocoder, node_id)
            vocoder_each = devices.vocoder_dtype(vocoder_dtype).itemsize
            needs = cascade_needs(found, _each(dtype, found.stages[0]), False, quantise != NONE, vocoder_each)
            show_memory(needs, cls.hidden.prompt, node_id)
            return io.NodeOutput(*load_cascade(found, dtype, vocoder_dtype, quantise), ui=notes.ui)


class LoadStageModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLoadStageModel",
            display_name="Load Stage Model",
            category=CATEGORY,
            description="One music transformer, with its own condition encoder, for a stage of a cascade.",
            search_aliases=["ace-step model", "diffusion model", "unet", "music transformer"],
            inputs=[_model_input("model", "tiny-l", "of a stage", choices(STAGE)), _dtype_input(), _quantise_input()],
            outputs=[Model.Output("model", display_name="model", tooltip="For a stage.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, model):
        return check(STAGE, model)

    @classmethod
    def fingerprint_inputs(cls, model, **form):
        return fingerprint(STAGE, model)

    @classmethod
    def execute(cls, model, dtype, quantise=NONE) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            local = fetched(model, STAGE, node_id)
            show_memory(_needs_alone(local, dtype, quantise != NONE), cls.hidden.prompt, node_id)
            return io.NodeOutput(load_model(local, dtype, quantise), ui=notes.ui)


class LoadTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLoadTextEncoder",
            display_name="Load Text Encoder",
            category=CATEGORY,
            description="The network that reads caption and lyrics.",
            search_aliases=["ace-step clip", "qwen3 embedding", "text encoder"],
            inputs=[_part_input("text_encoder", TEXT, "tiny-text", "Of the models' own family."), _dtype_input()],
            outputs=[Encoder.Output("text_encoder", display_name="text encoder", tooltip="For Text Encode.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, text_encoder):
        return check(TEXT, text_encoder)

    @classmethod
    def fingerprint_inputs(cls, text_encoder, dtype):
        return fingerprint(TEXT, text_encoder)

    @classmethod
    def execute(cls, text_encoder, dtype) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            encoder = load_encoder(fetched(text_encoder, TEXT, cls.hidden.unique_id), dtype)
            return io.NodeOutput(encoder, ui=notes.ui)


class LoadVocoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLoadVocoder",
            display_name="Load Vocoder",
            category=CATEGORY,
            description="The network that turns latents into sound, and sound into latents.",
            search_aliases=["ace-step vae", "audio vae", "oobleck"],
            inputs=[
                _part_input("vocoder", VOCODER, "tiny-vocoder", "Of the same family as the models."),
                _vocoder_dtype_input("dtype"),
            ],
            outputs=[VocoderSocket.Output("vocoder", display_name="vocoder", tooltip="For Vocode and the like.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, vocoder):
        return check(VOCODER, vocoder)

    @classmethod
    def fingerprint_inputs(cls, vocoder, dtype=AUTO):
        return fingerprint(VOCODER, vocoder)

    @classmethod
    def execute(cls, vocoder, dtype=AUTO) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            made = load_vocoder(fetched(vocoder, VOCODER, cls.hidden.unique_id), dtype)
            return io.NodeOutput(made, ui=notes.ui)

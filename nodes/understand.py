"""Understand Audio: music -> its audio codes -> the song that a planner reads from them."""

from functools import partial

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..acestep_core.errors import UserError
from ..acestep_core.memory.geometry import FULL
from ..acestep_core.memory.needs import hint_needs
from ..acestep_core.planner.audio_codes import TOKENIZER, check_music, codes_of_latents, latents_of_audio
from ..acestep_core.planner.planned_song import codebook_of
from ..acestep_core.spec import MAX_SECONDS
from .host import devices, messages
from .planner_widgets import CATEGORY, asked, outputs, planner_input, sampling_inputs, text_of
from .sound import waveform_of
from .types import Model, ModelHandle, VocoderHandle, VocoderSocket


def question_of(model: ModelHandle, vocoder: VocoderHandle, wave: Waveform, node_id: str, name: str = "audio"):
    """What a planner is asked about a clip: its audio codes, by the audio tokenizer of a stage model, whose network is
    held only meanwhile. An UnderstandAudio.

    Raises UserError for music that is too long or silent, and CheckpointError where the model has no tokenizer.
    """
    from ..acestep_core.planner.requests import UnderstandAudio as Question

    checkpoint = tokenizer_of(model)
    check_music(wave, name)
    latents = devices.NodeOomFallback().with_fallback(partial(_latents, vocoder, wave, node_id, name))
    return Question(_codes(checkpoint, latents), codebook_of(checkpoint))


def tokenizer_of(model: ModelHandle) -> Checkpoint:
    """The files of a stage model that has an audio tokenizer. Raises UserError, CheckpointError."""
    if model.place is None:
        raise UserError(f"model: {model.model.name} was not loaded from a file; connect one from a loader")
    checkpoint = read_checkpoint(model.place)
    checkpoint.part(TOKENIZER)
    return checkpoint


def _latents(handle: VocoderHandle, wave: Waveform, node_id: str, name: str) -> torch.Tensor:
    handle.network.load(handle.activation_bytes)
    return latents_of_audio(wave, handle.vocoder, name, messages.report_seconds(node_id, wave.seconds))


def _codes(checkpoint: Checkpoint, latents: torch.Tensor) -> tuple[int, ...]:
    from ..acestep_core.checkpoints.networks import build

    with devices.weights_for_all():
        tokenizer = build(TOKENIZER, checkpoint.part(TOKENIZER), "cpu", torch.float32)
    devices.manage(tokenizer, "stage").load(hint_needs(checkpoint).one_pass(latents.shape[-1], FULL))
    return codes_of_latents(latents, tokenizer, checkpoint)


def music_inputs() -> list:
    return [
        planner_input(),
        Model.Input("model", tooltip="A stage's model with an audio tokenizer, such as acestep-v15-turbo."),
        VocoderSocket.Input("vocoder", tooltip="Of the model's own family."),
    ]


class UnderstandAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepUnderstandAudio",
            display_name="Understand Audio",
            category=CATEGORY,
            description="Describes music: caption, lyrics, tempo, key, metre and language, as a song.",
            search_aliases=["caption audio", "transcribe", "describe music", "audio to text", "label", "bpm", "key"],
            inputs=[
                *music_inputs(),
                io.Audio.Input("audio", tooltip=f"One clip of {MAX_SECONDS:g} s at most."),
                *sampling_inputs(0.3),
            ],
            outputs=outputs("The song that the music is, such as for Cover or Repaint."),
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, planner, model, vocoder, audio, **settings) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            plan = asked(planner, question_of(model, vocoder, waveform_of(audio), node_id), node_id, **settings)
            return io.NodeOutput(plan.song, text_of(plan), ui=notes.ui)

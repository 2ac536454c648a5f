"""Label Clips: a planner describes the clips of a folder, in text files beside them, for LoRA Dataset."""

from collections.abc import Iterator
from pathlib import Path

from comfy_api.latest import io

from ..acestep_core import audio
from ..acestep_core.errors import AceStepError, UserError
from ..acestep_core.spec import MAX_SECONDS
from ..acestep_core.training.labelling import unlabelled, write_label
from .dataset import folder_input, folder_state
from .host import locations, messages
from .planner_widgets import CATEGORY, asked, sampling_inputs
from .understand import music_inputs, question_of, tokenizer_of


def labelled(folder: Path, node_id: str, planner, model, vocoder, **settings) -> Iterator[str]:
    """Labels the clips that have no labels; a line on each. Raises UserError for a folder without clips."""
    folder_state(folder)
    tokenizer_of(model)
    clips = unlabelled(folder)
    progress = messages.Progress(node_id, max(1, len(clips)))
    for number, clip in enumerate(clips):
        name = clip.relative_to(folder).as_posix()
        progress.report(number, f"{name}, {number + 1} of {len(clips)}")
        yield f"{name}: {_label(clip, name, node_id, planner, model, vocoder, settings)}"
    if not clips:
        yield "every clip has labels already"


def _label(clip: Path, name: str, node_id: str, planner, model, vocoder, settings: dict) -> str:
    """The caption that a clip got, or why it got none: one clip that cannot be read never ends the others."""
    try:
        question = question_of(model, vocoder, audio.read(clip, MAX_SECONDS), node_id, name)
        song = asked(planner, question, node_id, **settings).song
        write_label(clip, song)
    except UserError as exc:
        return f"not labelled: {str(exc).removeprefix(f'{name}: ')}"
    return song.caption


class LabelClips(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLabelClips",
            display_name="Label Clips",
            category=CATEGORY,
            description="Describes the clips of a folder that have no labels yet: caption, lyrics, tempo and key in a "
            "text file beside each, to be read over before training.",
            search_aliases=["auto caption", "auto label", "training data", "captions", "transcribe folder", "dataset"],
            inputs=[*music_inputs(), folder_input(), *sampling_inputs(0.3)],
            outputs=[
                io.String.Output("report", display_name="report", tooltip="A line on each clip: its new caption."),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, **others):
        try:
            return str(folder_state(locations.clips_folder(folder or "")))
        except AceStepError as exc:
            return str(exc)

    @classmethod
    def execute(cls, planner, model, vocoder, folder, **settings) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            place = locations.clips_folder(folder)
            report = tuple(labelled(place, node_id, planner, model, vocoder, **settings))
            messages.keep(report, node_id)
            return io.NodeOutput("\n".join(report), ui=notes.ui)

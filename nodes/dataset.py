"""A folder of clips with labels, to train on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io

from ..acestep_core.checkpoints.locate import state_of
from ..acestep_core.errors import UserError
from ..acestep_core.training.dataset import Dataset, clip_paths, read_clip_regions, read_dataset
from ..acestep_core.training.sound_check import clip_seconds
from .host import locations, messages, widgets
from .lora import CATEGORY
from .types import DatasetSocket, LabelledDataset

DEMO, FOLDER = SOURCES = "demo clips", "folder"
DEMO_FOLDER, DEMO_GENRE, DEMO_SECONDS = "acestep-demo-clips", "chiptune", 12.0
DEMO_SEEDS = range(2_000_000, 2_000_008)
FILES_MOST = 20_000  # in a folder of clips


@dataclass
class _Demo:
    """Whether the demo clips were made since they were last missing, and how often they were missing."""

    played: bool = False
    times_gone: int = 0


_demo = _Demo()


def demo_state() -> str:
    """A text that changes when demo clips are missing that were made before, so that they are made again."""
    if _demo.played and len(list(locations.clips_folder(DEMO_FOLDER).glob("*.flac"))) < len(DEMO_SEEDS):
        _demo.played, _demo.times_gone = False, _demo.times_gone + 1
    return f"{DEMO} {_demo.times_gone}"


def demo_clips(node_id: str) -> Path:
    """The folder of demo clips, in a style that the embedded models were not trained on; missing clips are made."""
    from ..acestep_core.band.folder import write_clips

    folder = locations.clips_folder(DEMO_FOLDER)
    progress = messages.Progress(node_id, len(DEMO_SEEDS))
    for number, _ in enumerate(write_clips(folder, DEMO_SEEDS, DEMO_SECONDS, DEMO_GENRE), start=1):
        progress.report(number, f"the band plays clip {number} of {len(DEMO_SEEDS)}")
    _demo.played = True
    return folder


def read_clips(folder: Path, trigger: str | None, regions: str = "") -> Dataset:
    """The clips of a folder. Raises UserError for a folder without clips, or with more than FILES_MOST files."""
    folder_state(folder)
    return read_dataset(folder, trigger, read_clip_regions(regions))


def answer_clips(query: dict) -> dict:
    """The clips of a node's folder, as names in the folder and as files that the editor of regions can ask for.

    Raises UserError for a folder that cannot be read, or that is not below ComfyUI's input folder.
    """
    name = query.get("folder") or ""
    folder = locations.clips_folder(DEMO_FOLDER if query.get("clips") == DEMO else name)
    if not locations.is_input(folder):
        raise UserError(f"folder: {name} is not below ComfyUI's input folder, so its clips are not drawn")
    folder_state(folder)
    files = [(path.relative_to(folder).as_posix(), locations.saved(path)) for path in clip_paths(folder)]
    return {"clips": [{"name": name, **file} for name, file in files]}


def folder_state(folder: Path) -> tuple:
    """Changes whenever a file of a folder of clips does. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; expected one with clips and their captions")
    for number, _ in enumerate(folder.rglob("*")):
        if number >= FILES_MOST:
            raise UserError(f"{folder}: holds more than {FILES_MOST} files; choose the folder of the clips alone")
    return state_of(folder)


def described(dataset: Dataset) -> Iterator[str]:
    """Lines on clips and minutes, clips left out and why, and which files were read as what."""
    seconds = [clip_seconds(clip.path, clip.part) for clip in dataset.clips]
    known = sum(filter(None, seconds)) / 60
    parts = sum(clip.part is not None for clip in dataset.clips)
    yield f"{len(dataset.clips)} clips, {known:.1f} minutes" + f"; {parts} of them are regions of a file" * bool(parts)
    if unknown := seconds.count(None):
        yield f"{unknown} of them have no length in their headers"
    yield from map(str, dataset.left_out)
    yield from dataset.remarks


def folder_input() -> io.String.Input:
    """A widget for a folder of clips."""
    return io.String.Input(
        "folder",
        default="",
        tooltip="A folder below ComfyUI's input folder, or an absolute path such as /home/me/clips. Only sound "
        "files, and the texts and tables beside them, are read. Absolute paths are read only if ComfyUI accepts no "
        "connections from other machines, so that nobody can read its disks over a network.",
    )


class LoraDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        folder = folder_input()
        return io.Schema(
            node_id="AceStepLoraDataset",
            display_name="LoRA Dataset",
            category=CATEGORY,
            description="Clips with labels, to train a LoRA on: song.wav with song.txt (a caption, or lines such as "
            "bpm: 120) or song.json beside it, or one table for all (CSV, JSONL, dataset.json).",
            search_aliases=["training data", "load audio folder", "captions", "train lora"],
            inputs=[
                io.DynamicCombo.Input(
                    "clips",
                    options=[io.DynamicCombo.Option(DEMO, []), io.DynamicCombo.Option(FOLDER, [folder])],
                    tooltip=f"{DEMO}: {len(DEMO_SEEDS)} short chiptunes that this pack's own procedural band plays "
                    f"into the folder {DEMO_FOLDER} of ComfyUI's input folder, free of any licence, to see how "
                    "training goes. folder: yours.",
                ),
                io.String.Input(
                    "trigger",
                    default="",
                    tooltip="A word that every caption begins with, and that gives its style in a prompt later. Empty: "
                    "none, and every clip needs a caption.",
                ),
                io.String.Input(
                    "regions",
                    default="",
                    optional=True,
                    tooltip="The parts of clips to train on, each as a clip of its own: song.wav: 10-20, 40-end | "
                    "other.wav: 5-30. Files that are not named are used as a whole. Crop clips draws them.",
                ),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="For Train LoRA."),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Number of clips, which files were read as what, clips left out and why.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, *, clips=None):
        return widgets.check_choice("clips", clips, SOURCES) or True

    @classmethod
    def fingerprint_inputs(cls, clips, trigger, regions=""):
        if not isinstance(clips, dict) or (clips["clips"] == FOLDER and clips["folder"] is None):
            return FOLDER  # through a link, whose own changes ComfyUI knows
        try:
            return (
                demo_state() if clips["clips"] == DEMO else str(folder_state(locations.clips_folder(clips["folder"])))
            )
        except UserError as exc:
            return str(exc)

    @classmethod
    def execute(cls, clips, trigger, regions="") -> io.NodeOutput:
        trigger, clips = trigger.strip() or None, widgets.chosen("clips", clips, SOURCES)
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            folder = demo_clips(node_id) if clips["clips"] == DEMO else locations.clips_folder(clips["folder"])
            labelled = LabelledDataset(read_clips(folder, trigger, regions), trigger)
            report = tuple(described(labelled.dataset))
            messages.keep(report, node_id)
            return io.NodeOutput(labelled, "\n".join(report), ui=notes.ui)

"""Audio Region: regions of a sound, drawn on its waveform in the node or typed as text."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from comfy_api.latest import io

from ..acestep_core.audio.files import fit, read, write
from ..acestep_core.audio.loudness import limit
from ..acestep_core.audio.peaks import LONGEST_SECONDS
from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.checkpoints.locate import state_of
from ..acestep_core.editing.beats import Beats, beats_of
from ..acestep_core.editing.regions import Region, check_within, is_in_bars, parse_regions, split_regions
from ..acestep_core.errors import UserError
from ..acestep_core.memory.lru import LruCache
from ..acestep_core.spec import MAX_BPM
from .audio import CATEGORY
from .host import locations, messages
from .region_routes import file_beats, known_beats
from .song import AUTO, SIGNATURES
from .sound import to_audio, waveform_of
from .types import Regions

NO_FILE = "none"
RESULT = "acestep_region"  # of a run: the file that the editor draws and plays
FORMAT, BIT_DEPTH = "flac", "16"
REMEMBERED_SOUNDS = 8

_measured = LruCache(REMEMBERED_SOUNDS)


@dataclass(frozen=True)
class Source:
    """Sound as ComfyUI's AUDIO, its first item [1, channels, N], and the file that holds it for the editor.

    `tagged`: whether the file is a user's own, whose tags may know the tempo.
    """

    audio: dict
    wave: Waveform
    file: Path
    tagged: bool = False

    def beats(self, bpm: float, time_signature: str) -> Beats | None:
        """Where beats lie, None where the tempo is not known. Raises UserError."""
        if self.tagged:
            return file_beats(self.file, bpm, time_signature)
        known = known_beats(bpm, time_signature)
        return _measured.get((self.file.name, known), lambda: beats_of(self.wave, *known))


def source_of(audio: dict | None, file: str) -> Source:
    """The sound of a link, or else of a file in ComfyUI's folders. Raises UserError."""
    if audio is None and file not in (NO_FILE, ""):
        path = locations.input_file(file)
        wave = read(path, LONGEST_SECONDS)
        return Source(to_audio(wave), wave, path, tagged=True)
    if audio is None:
        raise UserError("audio: got none; connect something that makes sound, or choose or drop a file on the node")
    wave = waveform_of(audio)[0]
    return Source(audio, wave, playable(wave))


def playable(wave: Waveform) -> Path:
    """A file in the temp folder that browsers can play, named by what it holds, so that the same sound has the same."""
    sound = hashlib.blake2b(wave.samples.contiguous().numpy().tobytes(), digest_size=12)
    path = locations.temp_file(f"acestep_region_{sound.hexdigest()}_{wave.sample_rate_hz}.{FORMAT}")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, limit(fit(wave, FORMAT), 0.0), FORMAT, BIT_DEPTH)
    return path


def regions_of(text: str, source: Source, beats: Beats | None) -> tuple[Region, ...]:
    """The regions of a widget's text, all within the sound. Raises UserError."""
    if beats is None and any(map(is_in_bars, split_regions(text))):
        raise UserError("regions: are in bars, but the tempo is neither known nor could it be measured; set bpm")
    regions = parse_regions(text, beats and beats.bars)
    check_within(regions, source.wave.seconds)
    return regions


def selected(audio: dict, regions: tuple[Region, ...]) -> dict:
    """The sound of the regions, one after another, of each item; all of it where there are none."""
    wave = waveform_of(audio)
    rate_hz, samples = wave.sample_rate_hz, wave.samples
    edges = [(round(start * rate_hz), None if end is None else round(end * rate_hz)) for start, end in regions]
    parts = [samples[..., first:last] for first, last in edges] or [samples]
    return audio | {"waveform": torch.cat(parts, dim=-1)}


class AudioRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepAudioRegion",
            display_name="Audio Region",
            category=CATEGORY,
            description="Regions of a sound, drawn on its waveform or typed, for nodes that edit a part of it.",
            search_aliases=["select audio", "trim", "crop", "cut", "waveform", "range", "repaint", "mask audio"],
            inputs=[
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound; of a batch the first is drawn. Load Audio's is drawn at once, that of other "
                    "nodes after a run. Without it: `file`.",
                ),
                io.String.Input(
                    "regions",
                    default="",
                    tooltip="Seconds such as 10-20, 31.5-40 or 1:05-end, or bars such as bars 8-12. What is drawn on "
                    "the waveform is written here.",
                ),
                io.Float.Input(
                    "bpm",
                    default=0.0,
                    min=0.0,
                    max=MAX_BPM,
                    step=0.01,
                    optional=True,
                    tooltip="The tempo, for bars and for snapping to beats. 0: that of the file's own tags, else it is "
                    "measured.",
                ),
                io.Combo.Input(
                    "time_signature",
                    options=[AUTO, *SIGNATURES],
                    optional=True,
                    advanced=True,
                    tooltip="Beats in a bar. auto: that of the file's own tags, else 4/4.",
                ),
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *locations.input_files()],
                    optional=True,
                    tooltip="A file of ComfyUI's input folder, where nothing is connected to `audio`. Files can be "
                    "dropped on the node.",
                ),
            ],
            outputs=[
                io.Audio.Output("audio", display_name="audio", tooltip="The whole sound, unchanged."),
                Regions.Output("regions", display_name="regions", tooltip="For Repaint and other edits."),
                io.Audio.Output(
                    "selected",
                    display_name="selected",
                    tooltip="The sound of the regions alone, one after another; all of it where there are none.",
                ),
                io.Int.Output("bpm", display_name="bpm", tooltip="The tempo, for Song; 0 where it is not known."),
            ],
            is_output_node=True,  # so that it can be run alone, to see the sound
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file=None):
        try:
            return file in (None, NO_FILE, "") or bool(locations.input_file(file))
        except UserError as exc:
            return str(exc)

    @classmethod
    def fingerprint_inputs(cls, file=NO_FILE, **others):
        try:
            return "" if file in (None, NO_FILE, "") else str(state_of(locations.input_file(file)))
        except UserError as exc:
            return str(exc)

    @classmethod
    def execute(cls, regions, bpm=0.0, time_signature=AUTO, file=NO_FILE, audio=None) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            source = source_of(audio, file)
            beats = source.beats(bpm, time_signature)
            parsed = regions_of(regions, source, beats)
            tempo = round(beats.bpm) if beats else 0
            shown = {RESULT: [locations.saved(source.file)]} | notes.ui
            return io.NodeOutput(source.audio, parsed, selected(source.audio, parsed), tempo, ui=shown)

"""Nodes for finished sound: files, spectrograms, and values for the frames of a video."""

import contextlib
import json

import numpy as np
import torch
from comfy_api.latest import io

from ..acestep_core.audio.envelope import FPS, FRAMES_MOST, MEASURES, envelope
from ..acestep_core.audio.formats import FORMATS, LOSSY
from ..acestep_core.audio.song_tags import ARTIST, SCORES_TAG, TIMED_TAG, song_tags
from ..acestep_core.audio.spectrogram import SIZE_PX, spectrogram
from ..acestep_core.checkpoints.digest import model_digest
from ..acestep_core.checkpoints.registry import STAGE
from ..acestep_core.errors import AceStepError
from ..acestep_core.spec import LOUDNESS_LUFS
from .host import locations, messages, names, widgets
from .host.workflow import workflow_tags
from .song import tags_of_song
from .song_files import AS_IT_IS, LOUDNESSES, TARGET, SongFile, file_settings, save
from .sound import STAMP, waveform_of
from .types import SongSocket

CATEGORY = "ACE-Step/audio"
DEFAULT_FORMAT = "flac"
ROWS = "acestep_sound"  # of a result: seed and loudness of each file, and whether it is still to be kept


# ---- files -----------------------------------------------------------------------------------------------------------


def tags_of(audio: dict, song, title: str, artist: str) -> list[dict[str, str]]:
    """Tags for each item of a batch; seeds and models are known only for sound that comes straight from Vocode."""
    stamp = audio.get(STAMP) or {"seeds": [], "models": []}
    seeds = seeds_of(audio)
    song, more = tags_of_song(song)
    settings = [more if seed is None else {"seed": seed, **more} for seed in seeds]
    about = stamp["models"], title.strip(), artist.strip(), _digests(stamp["models"])
    scores, times = ([*stamp.get(name, ()), *[None] * len(seeds)] for name in ("scores", "lrc"))
    return [
        song_tags(song, own, *about)
        | ({SCORES_TAG: json.dumps(scored)} if scored else {})
        | ({TIMED_TAG: timed} if timed else {})
        for own, scored, timed in zip(settings, scores, times)
    ]


def _digests(models: list[str]) -> dict[str, str]:
    """Digests of stage models by name, of those that are still where they were loaded from."""
    digests = {}
    for name in dict.fromkeys(models):
        with contextlib.suppress(AceStepError, OSError):
            digests[name] = model_digest(locations.models_shelf().find(name, STAGE).path, STAGE)
    return digests


def seeds_of(audio: dict) -> list[int | None]:
    """The seed of each item of a batch, None where it is not known."""
    seeds, items = (audio.get(STAMP) or {"seeds": []})["seeds"], len(audio["waveform"])
    return [*seeds, *[None] * items][:items]


def prefix_of(prefix: str, hidden) -> str:
    """The prefix with its tokens filled in; those that cannot be are noted on the node."""
    prefix, unknown = names.filled(prefix, hidden.prompt, (hidden.extra_pnginfo or {}).get("workflow"))
    unknown = (f"filename_prefix: {token} is not filled in, there is no such node or widget" for token in unknown)
    messages.note(unknown, hidden.unique_id)
    return prefix


def result_of(files: list[SongFile], audio: dict, preview_only: bool) -> dict[str, list[dict]]:
    """Files as the node's result: for core's player, and for the rows of ours."""
    rows = zip(seeds_of(audio), files, strict=True)
    return {
        "audio": [locations.saved(file.path) for file in files],
        ROWS: [{"seed": seed, "lufs": file.lufs, "keep": preview_only} for seed, file in rows],
    }


def _format_option(name: str) -> io.DynamicCombo.Option:
    depths = [depth for depth in FORMATS[name].subtypes if depth != LOSSY]
    chosen = io.Combo.Input(
        "bit_depth",
        options=depths,
        tooltip="Bits of a sample. 24 is more than ears need, 16 is a CD's, 32f (float) for further work.",
    )
    return io.DynamicCombo.Option(name, [chosen] if depths else [])


class SaveAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        lufs = io.Float.Input(
            "lufs",
            default=LOUDNESS_LUFS,
            min=-70.0,
            max=0.0,
            step=0.5,
            tooltip="Integrated loudness in LUFS (ITU-R BS.1770). -14 is the level of streaming services, -23 "
            "that of broadcast. Peaks are held under -1 dBFS.",
        )
        return io.Schema(
            node_id="AceStepSaveAudio",
            display_name="Save Audio",
            category=CATEGORY,
            description="Saves songs to ComfyUI's output folder, with tags for players and with the workflow, which "
            "comes back when a flac, mp3, ogg or opus file is dropped on ComfyUI.",
            search_aliases=["save audio", "export", "flac", "wav", "mp3", "ogg", "opus", "loudness", "lufs", "tags"],
            inputs=[
                io.Audio.Input("audio", tooltip="The sound to save; each song of a batch to a file of its own."),
                SongSocket.Input(
                    "song", optional=True, tooltip="For the tags: title, tempo, key, lyrics, and the song as a whole."
                ),
                io.String.Input(
                    "filename_prefix",
                    default="audio/song",
                    tooltip="Folder below the output folder, and beginning of the file's name; a number follows. "
                    "%date:yyyy-MM-dd%, %Node.widget% (such as %Song.bpm%) and %batch_num% are filled in, as is %year% "
                    "and its like.",
                ),
                io.DynamicCombo.Input(
                    "format",
                    options=[_format_option(name) for name in sorted(FORMATS, key=lambda name: name != DEFAULT_FORMAT)],
                    tooltip="flac and wav are lossless; mp3, ogg and opus are small. A rate that a format cannot hold "
                    "is converted.",
                ),
                io.DynamicCombo.Input(
                    "loudness",
                    options=[io.DynamicCombo.Option(AS_IT_IS, []), io.DynamicCombo.Option(TARGET, [lufs])],
                    tooltip="as it is: unchanged, except that peaks above 0 dBFS are limited. "
                    "target: the integrated loudness that you set.",
                ),
                io.String.Input("title", default="", tooltip="Title in the tags. Empty: the beginning of the caption."),
                io.String.Input(
                    "artist",
                    default="",
                    advanced=True,
                    tooltip=f"Artist in the tags. Empty: {ARTIST}, where a song is connected.",
                ),
                # With a widget of this name and type the front end puts a player on the node.
                io.Custom("AUDIO_UI").Input("audioUI", optional=True),
                # Last, so that the widgets of saved workflows keep their places.
                io.Boolean.Input(
                    "preview_only",
                    default=False,
                    optional=True,
                    display_name="preview only",
                    tooltip="On: the song is only played here, from ComfyUI's temp folder, which is emptied when "
                    "ComfyUI starts; the button on its row keeps it in the output folder. Off: it is saved at once.",
                ),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix, *, format=None, loudness=None):
        # ComfyUI passes a DynamicCombo only if its choice is known. Both are keyword-only, because ComfyUI does not
        # check the widgets inside inputs that are named before the star.
        for name, given, options in (("format", format, FORMATS), ("loudness", loudness, LOUDNESSES)):
            if wrong := widgets.check_choice(name, given, options):
                return wrong
        # A value through a link arrives as None, and is checked when the node runs.
        return True if filename_prefix is None else locations.check_prefix(filename_prefix) or True

    @classmethod
    def execute(
        cls, audio, filename_prefix, format, loudness, title="", artist="", song=None, audioUI=None, preview_only=False
    ) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            wave, workflow = waveform_of(audio), workflow_tags(cls.hidden)
            settings = file_settings(prefix_of(filename_prefix, cls.hidden), format, loudness, preview_only)
            tags = [{**own, **workflow} for own in tags_of(audio, song, title, artist)]
            return io.NodeOutput(ui=result_of(save(wave, tags, settings), audio, preview_only) | notes.ui)


# ---- pictures --------------------------------------------------------------------------------------------------------


class Spectrogram(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        least, most = SIZE_PX
        return io.Schema(
            node_id="AceStepSpectrogram",
            display_name="Spectrogram",
            category=CATEGORY,
            description="A picture of sound: time to the right, pitch upwards (mel scale), level as colour.",
            search_aliases=["mel spectrogram", "waveform", "visualize audio", "fft", "audio to image"],
            inputs=[
                io.Audio.Input("audio", tooltip="Any rate, length and channels; of a batch, a picture for each."),
                io.Int.Input("width", default=1024, min=least, max=most, tooltip="Width of the picture in pixels."),
                io.Int.Input("height", default=512, min=least, max=most, tooltip="Height of the picture in pixels."),
                io.Float.Input(
                    "fmax_hz",
                    default=16000.0,
                    min=200.0,
                    max=96000.0,
                    step=100.0,
                    tooltip="Highest frequency shown, in Hz; never above half the sample rate.",
                ),
                io.Float.Input(
                    "range_db",
                    default=80.0,
                    min=10.0,
                    max=200.0,
                    step=1.0,
                    tooltip="Decibels from the loudest spot down to black. More shows quieter detail, and noise.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="For Preview Image and any image node.")],
        )

    @classmethod
    def execute(cls, audio, width, height, fmax_hz, range_db) -> io.NodeOutput:
        wave = waveform_of(audio)
        pictures = [spectrogram(wave[item], width, height, fmax_hz, range_db) for item in range(len(wave))]
        return io.NodeOutput(torch.from_numpy(np.stack(pictures)).float() / 255)


class Envelope(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepEnvelope",
            display_name="Envelope",
            category=CATEGORY,
            description="Loudness or onsets of a song, as a value from 0 to 1 for each frame of a video. A node that "
            "takes the values runs once for each value.",
            search_aliases=["audio reactive", "beat", "onset", "amplitude", "rms", "schedule", "audio to float"],
            inputs=[
                io.Audio.Input("audio", tooltip="The sound to measure; of a batch, the first song."),
                io.Float.Input(
                    "fps", default=24.0, min=FPS[0], max=FPS[1], step=0.001, tooltip="Frames a second of the video."
                ),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=FRAMES_MOST,
                    tooltip="Number of values. 0: as many as the song has frames. Beyond its end they are 0.",
                ),
                io.Combo.Input(
                    "measure",
                    options=list(MEASURES),
                    tooltip="loudness: the loudest frame is 1, and 40 dB below it is 0. onsets: how "
                    "suddenly sound begins, so that drums and plucked notes flash.",
                ),
                io.Float.Input(
                    "smoothing",
                    default=0.1,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Seconds in which a value falls to 37 %. A rise is never smoothed. 0: no smoothing.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    "values", display_name="values", is_output_list=True, tooltip="One value for each frame."
                ),
                io.Int.Output("frames", display_name="frames", tooltip="Number of values."),
            ],
        )

    @classmethod
    def execute(cls, audio, fps, frames, measure, smoothing) -> io.NodeOutput:
        values = envelope(waveform_of(audio)[0], fps, frames, measure, smoothing).tolist()
        return io.NodeOutput(values, len(values))

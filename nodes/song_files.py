"""Songs -> files, in ComfyUI's output folder, or as previews in its temp folder, from which a user may keep them."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from ..acestep_core import audio as sound_files
from ..acestep_core.audio.formats import FORMATS
from ..acestep_core.audio.song_tags import TIMED_TAG
from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.errors import AceStepError, UserError
from ..acestep_core.generation.song_files import LRC_ENDING
from ..acestep_core.system.files import write_beside
from .host import locations, widgets

AS_IT_IS, TARGET = LOUDNESSES = ("as it is", "target")
KEPT = "acestep_kept"  # beginnings of names in the temp folder; a page from before a restart must not find another song
PREVIEW = f"acestep_preview_{secrets.token_hex(3)}"
REMEMBERED_PREVIEWS = 10_000


@dataclass(frozen=True)
class FileSettings:
    """How a song becomes a file. `lufs`: its loudness, None as it is. `preview_only`: in the temp folder."""

    prefix: str
    format: str
    bit_depth: str | None = None
    lufs: float | None = None
    preview_only: bool = False


def file_settings(prefix: str, format: dict, loudness: dict, preview_only: bool) -> FileSettings:
    """From a node's widgets. Raises UserError."""
    format, loudness = widgets.chosen("format", format, FORMATS), widgets.chosen("loudness", loudness, LOUDNESSES)
    return FileSettings(prefix, format["format"], format.get("bit_depth"), loudness.get("lufs"), preview_only)


@dataclass(frozen=True)
class SongFile:
    """A file that was written, and its loudness, None where that is not defined."""

    path: Path
    lufs: float | None


def save(wave: Waveform, tags: list[dict[str, str]], settings: FileSettings) -> list[SongFile]:
    """One file for each item of a batch. Where that fails, the songs that are not saved are kept in the temp folder,
    and the error names them.
    """
    files = []
    for item in range(len(wave)):
        try:
            files.append(_save_item(wave[item], tags[item], settings, item))
        except (AceStepError, OSError) as exc:
            rest = range(item, len(wave))
            raise AceStepError(f"{exc}. {_keep([wave[i] for i in rest], [tags[i] for i in rest])}") from exc
    return files


def _save_item(wave: Waveform, tags: dict[str, str], settings: FileSettings, item: int) -> SongFile:
    if settings.preview_only:
        locations.check_output(settings.prefix)
        path = locations.temp_path(PREVIEW, settings.format)
    else:
        path = locations.output_path(settings.prefix, settings.format, item)
    mastered = _mastered(wave, settings)
    path = sound_files.write(path, mastered, settings.format, settings.bit_depth, tags, replace=False)
    if settings.preview_only:
        _remember(_Preview(path, settings, item, tags.get(TIMED_TAG, "")))
    else:
        _write_times(path, tags.get(TIMED_TAG, ""))
    return SongFile(path, _loudness(mastered))


def _write_times(sound: Path, timed: str) -> None:
    """Times of lyrics beside a song, for players that read no tags. A file of that name stays as it is."""
    if timed:
        write_beside(sound.with_suffix(LRC_ENDING), f"{timed}\n".encode())


def _mastered(wave: Waveform, settings: FileSettings) -> Waveform:
    fitting = sound_files.fit(wave, settings.format)
    if settings.lufs is not None:
        return sound_files.normalise_loudness(fitting, settings.lufs)
    return sound_files.limit(fitting, 0.0)


def _loudness(wave: Waveform) -> float | None:
    try:
        lufs = sound_files.loudness_lufs(wave)[0]
    except UserError:  # too short, or of too many channels
        return None
    return round(lufs, 1) if lufs > float("-inf") else None


def _keep(waves: list[Waveform], tags: list[dict[str, str]]) -> str:
    """Writes songs that could not be saved to the temp folder; the end of the error message, which names the files."""
    paths = []
    try:
        for wave, own in zip(waves, tags, strict=True):
            # wav with floats holds whatever there is: any rate, any number of channels, any level.
            path = sound_files.write(locations.temp_path(KEPT, "wav"), wave, "wav", "32f", own, replace=False)
            paths.append(str(path))
    except (AceStepError, OSError):
        return "ComfyUI still holds the song: remove the cause and queue again; only the saving is repeated"
    return f"The song is kept as {', '.join(paths)} until ComfyUI ends; or remove the cause and queue again"


# ---- previews --------------------------------------------------------------------------------------------------------


@dataclass
class _Preview:
    """A file in the temp folder, the settings that it was written with, the times of its lyrics as LRC, and the file
    that it was kept as.
    """

    path: Path
    settings: FileSettings
    item: int
    timed: str = ""
    kept: Path | None = None

    def keep(self) -> Path:
        """A copy in the output folder, the same one each time; the preview stays, to be played. Raises AceStepError."""
        if self.kept is None or not self.kept.is_file():
            try:
                target = locations.output_path(self.settings.prefix, self.settings.format, self.item)
                self.kept = write_beside(target, self.path.read_bytes())
                _write_times(self.kept, self.timed)
            except OSError as exc:
                raise AceStepError(f"{self.settings.prefix}: could not be kept ({exc.strerror or exc})") from exc
        return self.kept


_previews: dict[str, _Preview] = {}  # name in the temp folder -> preview: only files of Save Audio can be kept


def _remember(preview: _Preview) -> None:
    _previews[preview.path.name] = preview
    if len(_previews) > REMEMBERED_PREVIEWS:
        del _previews[next(iter(_previews))]


def answer_keep(query: dict) -> dict:
    """Keeps a preview and returns its file in the output folder. Raises UserError for a file that is no preview of a
    Save Audio of this ComfyUI.
    """
    name = query.get("filename")
    preview = _previews.get(name) if isinstance(name, str) else None
    if preview is None or query.get("subfolder") or not preview.path.is_file():
        raise UserError(f"filename: got {name!r}, which is no preview of this ComfyUI; run Save Audio again")
    return locations.saved(preview.keep())

"""Makes the sounds and pictures of a gallery. A sound that is there as asked is kept, so a stopped gallery goes on."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.song_tags import song_tags
from ..band import play
from ..band.mix import RATE_HZ
from ..errors import UserError
from ..generation.making import check_files, digests_of, load_cascade, prepared
from ..generation.settings import GenerationSettings, read_song
from ..generation.song_steps import made_song, stage_steps
from ..system.files import write_whole
from .pieces import FORMAT, Family, Piece

if TYPE_CHECKING:
    from ..generation.cascade import Cascade

PICTURE_PX, PICTURE_QUALITY = (720, 200), 55
PICTURE = "webp"
LENGTH_WITHIN_S = 0.1
EMBEDDED_LORA, ITS_BASE = "tiny-l-chiptune", "tiny-l"


def family_of(settings: GenerationSettings, lora: tuple[str, ...] = ()) -> Family:
    """What the models of these settings can show; the embedded family its own adapter too, where none is named and its
    base is there. Raises CheckpointError, UserError.
    """
    from ..checkpoints.cascade_models import find_cascade

    found = find_cascade(**settings.model_names)
    tasks = frozenset.intersection(*(frozenset(own.tasks) for own in found.defaults))
    names = tuple(stage.name for stage in found.stages)
    own = all(stage.known is not None and stage.known.family == "tiny" for stage in found.stages)
    lora = lora or ((EMBEDDED_LORA,) if own and ITS_BASE in names else ())
    check_files(replace(settings, lora=lora or None))
    return Family(settings, names if len(set(names)) > 1 else (), tasks, own, lora)


class Maker:
    """Makes pieces into a folder; the models of the piece before are kept for the next."""

    def __init__(self, folder: Path, **machine):
        self.folder, self.machine = folder, machine
        self._names: dict | None = None
        self._cascade: Cascade | None = None

    def make(self, pieces: list[Piece]) -> Iterator[tuple[int, int]]:
        """Yields (pieces made so far, number of pieces)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, piece in enumerate(pieces, start=1):
            if not piece.same_as:
                self._make(piece)
            yield number, len(pieces)

    def _make(self, piece: Piece) -> None:
        sound = self.folder / piece.file
        if not self._is_there(piece, sound):
            self._play(piece, sound) if piece.sketch else self._generate(piece, sound)
        draw(sound)

    def _is_there(self, piece: Piece, sound: Path) -> bool:
        """Whether the sound was made as the piece asks, by its models and settings, at its length."""
        import soundfile

        if not sound.exists():
            return False
        try:
            if piece.sketch:
                return abs(soundfile.info(sound).duration - piece.sketch.seconds) < LENGTH_WITHIN_S
            known = read_song(str(sound))
        except (UserError, soundfile.LibsndfileError):
            return False
        asked = _portable(self._settings(piece))
        return known.settings == asked and (piece.edit is not None or known.song.seconds == piece.song.seconds)

    def _play(self, piece: Piece, sound: Path) -> None:
        import torch

        from .. import audio

        wave = audio.Waveform(torch.from_numpy(play(piece.sketch))[None], RATE_HZ)
        audio.write(sound, wave, FORMAT)

    def _generate(self, piece: Piece, sound: Path) -> None:
        from .. import audio

        settings = self._settings(piece)
        cascade = self._models(settings)
        ready = prepared(cascade, piece.song, settings)
        for at in stage_steps(cascade, ready, settings):
            latents = at.step.latents
        made, digests = made_song(cascade, ready, settings, latents), digests_of(cascade.models, settings)
        tags = song_tags(made.words, _portable(settings).given(), made.models, piece.title, digests=digests)
        audio.write(sound, audio.fit(made.wave, FORMAT), FORMAT, tags=tags)

    def _settings(self, piece: Piece) -> GenerationSettings:
        """With the files of the pieces that it is made from, and its edit."""
        settings = piece.settings
        if piece.reference:
            settings = replace(settings, reference=(str(self._file(piece.reference)),))
        if piece.edit:
            settings = replace(settings, source=str(self._file(piece.source)), edit=piece.edit.given())
        return settings

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.{FORMAT}"

    def _models(self, settings: GenerationSettings) -> "Cascade":
        if settings.model_names != self._names:
            self._cascade = None  # before the next is loaded
            self._cascade, self._names = load_cascade(settings, **self.machine), settings.model_names
        return self._cascade


def _portable(settings: GenerationSettings) -> GenerationSettings:
    """With names of the gallery's files in place of paths of this machine, for the tags."""
    source = settings.source and Path(settings.source).name
    return replace(settings, source=source, reference=tuple(Path(one).name for one in settings.reference or ()) or None)


def draw(sound: Path) -> Path:
    """The spectrogram of a sound, beside it; drawn again where the sound is newer."""
    path = sound.with_suffix(f".{PICTURE}")
    if not path.exists() or path.stat().st_mtime < sound.stat().st_mtime:
        write_whole(path, _drawn(sound))
    return path


def _drawn(sound: Path) -> bytes:
    from .. import audio
    from ..audio.spectrogram import bare_picture

    file = BytesIO()
    bare_picture(audio.read(sound), *PICTURE_PX).save(file, PICTURE, quality=PICTURE_QUALITY)
    return file.getvalue()

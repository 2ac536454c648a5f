"""Jobs that listen to a sound: score, times of lyrics, audio codes. A song keeps in its tags what is found."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..audio.formats import FORMATS
from ..audio.song_tags import SCORES_TAG, SONG_TAG, TIMED_TAG
from ..audio.tags import read_tags, with_tags
from ..errors import UserError
from ..generation.making import song_to_time
from ..generation.settings import GenerationSettings, TaggedSong, read_song
from ..planner.metadata import is_instrumental
from ..song import Song
from ..spec import CODES_PER_SECOND, MAX_SECONDS
from ..system.files import write_again
from .jobs import Event, Made, Progress
from .library import SONG_ID

if TYPE_CHECKING:
    from ..generation.cascade import Cascade
    from ..generation.kept_cascade import KeptCascade

SCORE, LYRIC_TIMES, CODES = "score", "lyric_times", "codes"
FIELDS = ("kind", "source", "models", "lyrics")


@dataclass(frozen=True)
class ListenOrder:
    """One question about a sound. `handle` names it for clients, `settings` has the models that listen."""

    kind: str
    source: str
    handle: str
    made: TaggedSong
    settings: GenerationSettings

    @property
    def title(self) -> str:
        return self.made.song.caption[:80] or Path(self.source).name


def order_of(given: Mapping, requests) -> ListenOrder:
    """The order of a request, read by a RequestReader. Raises UserError, CheckpointError."""
    from ..checkpoints.cascade_models import find_cascade

    kind, handle = str(given["kind"]), given.get("source")
    source = requests.clip(handle)
    made = _tagged(source)
    words = str(given.get("lyrics") or made.song.lyrics)
    made = dataclasses.replace(made, song=dataclasses.replace(made.song, lyrics=words))
    if kind == LYRIC_TIMES and is_instrumental(words):
        raise UserError("lyrics: the song has none, so there is nothing to time; give its words")
    asked = requests.asked({"models": given.get("models")})
    own = made.settings if asked.models is None and isinstance(made.models, dict) else asked
    settings = requests.with_defaults(GenerationSettings(**{**_models(own), **_models(asked)}))
    found = find_cascade(**settings.model_names)
    if kind == CODES:
        _check_tokenizer(found)
    return ListenOrder(kind, source, str(handle), made, settings)


def _tagged(source: str) -> TaggedSong:
    return read_song(source) if SONG_TAG in read_tags(source) else TaggedSong(Song(""), GenerationSettings(), [], {})


def _models(settings: GenerationSettings) -> dict:
    names = ("models", "l", "m", "s", "text_encoder", "vocoder", "dtype", "vocoder_dtype", "quantise")
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def _check_tokenizer(found) -> None:
    """Raises CheckpointError where no model of a cascade can write codes."""
    from ..checkpoints.checkpoint import read_checkpoint

    checkpoints = [read_checkpoint(stage.path) for stage in found.stages]
    if not any("audio_tokenizer" in one.parts for one in checkpoints):
        checkpoints[0].part("audio_tokenizer")


def steps_of(order: ListenOrder, kept: "KeptCascade | None", device: str | None) -> Iterator[Event]:
    """Answers an order, with the cascade that a device keeps. Raises what the library raises."""
    yield from _STEPS[order.kind](order, kept, device)


def _score(order: ListenOrder, kept: "KeptCascade", device: str | None) -> Iterator[Event]:
    from .. import audio
    from ..scoring.judges import FinishedSong, judged
    from ..scoring.ranking import Take

    words = None
    if isinstance(order.made.models, dict) and not is_instrumental(order.made.song.lyrics):
        cascade = yield from kept.loaded(order.settings)
        if cascade.follows_lyrics:
            words = _aligned(cascade, order).score
    yield Progress("listening", share=0.5)
    wave = audio.read(order.source, MAX_SECONDS)
    take = Take(order.made.settings.seed, judged(FinishedSong(wave, order.made.song, words)))
    found = {"source": order.handle, "line": take.line(), **take.scores()}
    _keep(order, SCORES_TAG, json.dumps(take.scores(), ensure_ascii=False))
    yield Made(found)


def _lyric_times(order: ListenOrder, kept: "KeptCascade", device: str | None) -> Iterator[Event]:
    from ..scoring.lyric_times import lrc

    cascade = yield from kept.loaded(order.settings)
    yield Progress("listening", share=0.3)
    found = _aligned(cascade, order)
    text = lrc(found.lines)
    _keep(order, TIMED_TAG, text)
    lines = [asdict(line) for line in found.lines]
    yield Made({"source": order.handle, "lrc": text, "lines": lines, **asdict(found.score)})


def _aligned(cascade: "Cascade", order: ListenOrder):
    made = order.made
    clips = [clip for clip in map(Path, made.settings.reference or ()) if clip.is_file()]
    song = song_to_time(made.song, made.settings, order.settings.model_names)
    return cascade.lyric_times(order.source, song, reference=clips)


def _codes(order: ListenOrder, kept: "KeptCascade", device: str | None) -> Iterator[Event]:
    from .. import audio
    from ..checkpoints.cascade_models import find_cascade
    from ..nn.dtypes import pick_device
    from ..planner.audio_codes import codes_of_audio

    yield Progress("writing codes", share=0.2)
    wave = audio.read(order.source, MAX_SECONDS)
    models = find_cascade(**order.settings.model_names)
    codes = codes_of_audio(wave, models, pick_device(device), order.handle)
    yield Made({"source": order.handle, "codes": list(codes), "seconds": len(codes) / CODES_PER_SECOND})


def _keep(order: ListenOrder, tag: str, text: str) -> None:
    """Writes what was found into the tags of a song of the library; an upload stays as it came."""
    path = Path(order.source)
    if SONG_ID.fullmatch(order.handle) and path.suffix[1:].lower() in FORMATS:
        write_again(path, with_tags(path, {tag: text}))


_STEPS = MappingProxyType({SCORE: _score, LYRIC_TIMES: _lyric_times, CODES: _codes})
KINDS = tuple(_STEPS)

"""The tags of a song's file: for players under the names they know, and as JSON to make the song again."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from ..song import INSTRUMENTAL, Song, check_text

ARTIST = "acestep-cascade"
SONG_TAG, SETTINGS_TAG, MODELS_TAG, DIGESTS_TAG = "song", "settings", "models", "digests"
TIMED_TAG = "syncedlyrics"  # lyrics as LRC
SCORES_TAG = "scores"  # of a song that was chosen among takes, by judge
_TIMED_WORD = re.compile(r"<[\d:.]+>")
_TIMED_LINE = re.compile(r"\[(\d+):(\d\d\.\d\d)\](.*)")
TITLE_LENGTH = 80
UNTITLED = "Untitled"


def song_tags(
    song: Song | None,
    settings: Mapping[str, object],
    models: "Mapping[str, str] | Sequence[str]" = (),
    title: str | None = None,
    artist: str | None = None,
    digests: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Tags for `audio.write`. `settings` are the values besides the song that decided the sound, such as "seed".

    `models` are the names of the models that made it, by slot or in order, and `digests` those of their files, by slot
    or name (checkpoints.digest). Sound without a song gets only the title, artist, seed and models that are given.
    """
    for name, text in (("title", title), ("artist", artist)):
        check_text(name, text or "")
    tags = {"title": title, "artist": artist, "seed": settings.get("seed")}
    if song is not None:
        tags |= {
            "title": title or (song.caption.strip() or UNTITLED).splitlines()[0][:TITLE_LENGTH],
            "artist": artist or ARTIST,
            "bpm": song.bpm,
            "key": song.key,
            "lyrics": song.lyrics if song.lyrics.strip() not in ("", INSTRUMENTAL) else None,
            SONG_TAG: song.to_json(),
            SETTINGS_TAG: json.dumps(dict(settings), ensure_ascii=False),
        }
    if models:
        tags[MODELS_TAG] = json.dumps(models, ensure_ascii=False)
    if digests:
        tags[DIGESTS_TAG] = json.dumps(dict(digests), ensure_ascii=False)
    return {name: str(value) for name, value in tags.items() if value not in (None, "")}


def timed_lines(lrc: str) -> Iterator[tuple[float, str]]:
    """(seconds, text) of the lines of LRC, as `scoring.lyric_times.lrc` writes them."""
    for line in lrc.split("\n"):
        if found := _TIMED_LINE.fullmatch(line):
            yield 60 * int(found[1]) + float(found[2]), without_words(found[3])


def without_words(lrc: str) -> str:
    """LRC with the times of its lines alone."""
    return _TIMED_WORD.sub("", lrc)

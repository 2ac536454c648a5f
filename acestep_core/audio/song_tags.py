"""What a song's file says of itself: for players under the names they know, and whole as JSON."""

import json
from collections.abc import Mapping, Sequence

from ..song import INSTRUMENTAL, Song, check_text

ARTIST = "acestep-cascade"
SONG_TAG, SETTINGS_TAG, MODELS_TAG = "song", "settings", "models"
TITLE_LENGTH = 80
UNTITLED = "Untitled"


def song_tags(
    song: Song | None,
    settings: Mapping[str, object],
    models: "Mapping[str, str] | Sequence[str]" = (),
    title: str | None = None,
    artist: str | None = None,
) -> dict[str, str]:
    """Tags for `audio.write`. `settings` is what besides the song decided how it sounds, "seed" foremost.

    `models` is what made it, by slot or in order. Of sound that no song is known of, only what is given is told.
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
    return {name: str(value) for name, value in tags.items() if value not in (None, "")}

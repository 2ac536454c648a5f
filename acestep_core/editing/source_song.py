"""The words of an edit: those of the source, from its tags, and those of the result."""

import contextlib
import dataclasses
from pathlib import Path

from ..audio.song_tags import SONG_TAG
from ..audio.tags import read_tags
from ..errors import UserError
from ..song import Song
from ..spec import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS
from .edit import Edit

_NO_WORDS = ("extract",)  # a caption of the whole would fight the instruction, which names the stem


def source_song(music: object, edit: Edit) -> Song | None:
    """The Song of the source: what `edit` says of it, over what the tags of a file say; None without either."""
    tagged = song_of_file(music) if isinstance(music, str | Path) else None
    if edit.from_caption is None and edit.from_lyrics is None:
        return tagged
    known = tagged or Song(edit.from_caption or "")
    caption = known.caption if edit.from_caption is None else edit.from_caption
    lyrics = known.lyrics if edit.from_lyrics is None else edit.from_lyrics
    return dataclasses.replace(known, caption=caption, lyrics=lyrics)


def song_of_file(path: "str | Path") -> Song | None:
    """The Song in the tags of a file, as `generate` and ComfyUI's Save Audio write it; None where there is none."""
    tags = read_tags(path)
    if SONG_TAG not in tags:
        return None
    try:
        return Song.from_json(tags[SONG_TAG])
    except UserError as exc:
        raise UserError(f"{path}: its tags cannot be read ({exc}); a newer version may have made it") from exc


def tagged_song(path: "str | Path") -> Song:
    """The same; a Song that knows nothing where there is none, or none that can be read."""
    with contextlib.suppress(UserError):
        return song_of_file(path) or Song("")
    return Song("")


def words_of(edit: Edit, source: Song | None) -> Song:
    """The words of the result where no others are given: the source's, if the task has a use for them."""
    known = source or Song("")
    return dataclasses.replace(known, caption="") if edit.task in _NO_WORDS else known


def result_song(edit: Edit, given: "Song | str | None", source: Song | None, seconds: float = DEFAULT_SECONDS) -> Song:
    """The Song of the result, `seconds` long: what was given, else the source's own words. Raises UserError for none.

    A caption alone replaces that of the source. A result that is shorter than any song counts as the shortest.
    """
    song = given if isinstance(given, Song) else words_of(edit, source)
    if isinstance(given, str):
        song = dataclasses.replace(song, caption=given)
    if not song.caption.strip() and edit.task not in _NO_WORDS:
        raise UserError(
            f"{edit.task}: the caption is missing, and the source has no Song in its tags; say what the music sounds "
            "like"
        )
    if edit.task == "morph" and source and (song.caption, song.lyrics) == (source.caption, source.lyrics):
        raise UserError("morph: got the words of the source itself, expected another caption or other lyrics")
    return dataclasses.replace(song, seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS))

"""Times of the lyrics of songs that are made, for their tags and for files beside them."""

from ..console import Console
from ..planner.metadata import is_instrumental


def timed_lyrics(cascade, made, console: Console) -> str | None:
    """The lyrics of a made song as LRC; None, with a note, where there is nothing to time."""
    from ..scoring.lyric_times import lrc

    if is_instrumental(made.words.lyrics):
        console.note("note: --lrc: the song has no words")
        return None
    if made.latents is None:
        console.note("note: --lrc: no times, as the sound does not begin with a whole frame of its latents")
        return None
    console.busy("listening ...")
    return lrc(alignment_of(cascade, made.latents, made.song, made.reference).lines)


def alignment_of(cascade, latents, song, reference):
    """The alignment of a song that was just made. A clip that it continues, or edits, is in its latents already."""
    from ..models.reference import Reference
    from ..planner.planned_song import PlannedSong

    words = song if isinstance(song, PlannedSong) else getattr(song, "song", song)
    timbre = reference.timbre if reference else ()
    return cascade.align_lyrics(latents, words, reference=Reference(timbre=timbre) if timbre else ())

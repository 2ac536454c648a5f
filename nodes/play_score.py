"""A MIDI file played by the band: a guide for Cover, and what it says of a song."""

from pathlib import Path

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.band import EXAMPLE_MELODY, EXAMPLE_SCORE
from ..acestep_core.checkpoints.locate import state_of
from ..acestep_core.errors import UserError
from ..acestep_core.song import Song
from .audio import CATEGORY
from .edits import NO_WORDS, check_plain
from .host import locations, messages
from .sound import to_audio
from .types import SongSocket

EXAMPLE = "example"
EXAMPLES = {EXAMPLE: EXAMPLE_SCORE, "example melody": EXAMPLE_MELODY}
AS_WRITTEN = "as written"


def choices() -> list[str]:
    return [*EXAMPLES, *locations.scores()]


def instruments() -> list[str]:
    from ..acestep_core.band.instruments import VOICES

    return [AS_WRITTEN, *sorted(VOICES)]


def file_of(name: str) -> Path:
    """Raises UserError for a file that is not in ComfyUI's input folder."""
    return EXAMPLES[name] if name in EXAMPLES else locations.score(name)


def played(name: str, instrument: str, song: Song) -> tuple[Waveform, Song]:
    """A score as sound, and its song. Raises UserError."""
    from ..acestep_core.band.midi import read_score
    from ..acestep_core.band.midi_player import RATE_HZ, play_score
    from ..acestep_core.band.midi_song import song_of_score

    if instrument not in instruments():
        raise UserError(f"instrument: got {instrument!r}, expected one of {', '.join(instruments())}")
    path = file_of(name)
    score = read_score(path)
    samples = play_score(score, path.name, voice=None if instrument == AS_WRITTEN else instrument)
    wave = Waveform(torch.from_numpy(samples)[None], RATE_HZ)
    return wave, song_of_score(score, song, wave.seconds)


def described(song: Song) -> str:
    """The song's length, tempo, key and metre, in a line."""
    known = (song.bpm and f"{song.bpm} bpm", song.key, song.time_signature and f"{song.time_signature} beats in a bar")
    return ", ".join((f"{song.seconds:.1f} s", *filter(None, known)))


class PlayScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepPlayScore",
            display_name="Play Score",
            category=CATEGORY,
            description="Plays a MIDI file by the pack's own band, as a guide for Cover: a melody and chords of one's "
            "own. Its tempo, key and length go into the song.",
            search_aliases=["midi", "melody", "chords", "notes", "score", "load midi"],
            inputs=[
                io.Combo.Input(
                    "score",
                    options=choices(),
                    default=EXAMPLE,
                    tooltip="A MIDI file (.mid) in ComfyUI's input folder; the button below uploads one. Press R for "
                    "other files that are new there. "
                    "example: a short tune with chords that comes with the pack. example melody: the tune alone.",
                ),
                io.Combo.Input(
                    "instrument",
                    options=instruments(),
                    default=AS_WRITTEN,
                    tooltip="as written: the instruments that the file names. Another one plays all notes but drums.",
                ),
                SongSocket.Input(
                    "song",
                    optional=True,
                    tooltip="Caption and lyrics of the song. Tempo, key and metre are filled in where it has auto.",
                ),
            ],
            outputs=[
                io.Audio.Output("audio", display_name="audio", tooltip="The score as stereo sound at 48 kHz."),
                SongSocket.Output("song", display_name="song", tooltip="The song with the score's tempo and key."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, score):
        try:
            return bool(score is None or file_of(score))
        except UserError as exc:
            return str(exc)

    @classmethod
    def fingerprint_inputs(cls, score, instrument, song=None):
        try:
            return str((score, instrument, state_of(file_of(score))))
        except (UserError, OSError):
            return score

    @classmethod
    def execute(cls, score, instrument, song=None) -> io.NodeOutput:
        check_plain(song, "Play Score")
        with messages.notes_on(cls.hidden.unique_id) as notes:
            wave, filled = played(score, instrument, song or NO_WORDS)
            messages.keep([described(filled)], cls.hidden.unique_id)
            return io.NodeOutput(to_audio(wave), filled, ui=notes.ui)

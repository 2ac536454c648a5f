"""Standard MIDI files of type 0 and 1 → notes in seconds, with the tempo, metre and key that they name.

A parser of our own: the format is small and has not changed since 1988 (Standard MIDI Files 1.0), a command that
anybody may run needs no further package for it, and files of strangers stay within bounds that are stated here.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..spec import MAX_SECONDS
from ..system.files import user_path

BYTES_MOST, NOTES_MOST = 2 << 20, 50_000
SOUNDING_S_MOST = 36_000.0  # of all notes together
DRUM_CHANNEL = 9
QUARTER_US = 500_000  # until a tempo is set
VOLUME, EXPRESSION = 7, 11
TEMPO, METRE, KEY, END = 0x51, 0x58, 0x59, 0x2F  # meta events, and the bytes of those that are kept
META_BYTES = {TEMPO: 3, METRE: 4, KEY: 2}
SHARPS_MOST = 7
DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
WANTED = "expected a standard MIDI file of type 0 or 1; export it anew"


@dataclass(frozen=True)
class MidiNote:
    channel: int
    program: int  # General MIDI, from 0
    midi: int
    velocity: float  # 0 to 1, the channel's volume in it
    start_s: float
    seconds: float

    @property
    def is_drum(self) -> bool:
        return self.channel == DRUM_CHANNEL


@dataclass(frozen=True)
class MidiScore:
    """The notes of a file by their beginning, and what its events say of it; None where they say nothing. `bpm`: the
    tempo that holds longest. `metre`: beats of a bar and their part of a whole note. `signature`: sharps (flats below
    0) of the key, and whether it is minor.
    """

    notes: list[MidiNote]
    bpm: float | None = None
    metre: tuple[int, int] | None = None
    signature: tuple[int, bool] | None = None


@dataclass(frozen=True)
class _Event:
    tick: int
    status: int  # of a meta event: its kind
    data: bytes


@dataclass
class _Bytes:
    """A reader that never reads past its end."""

    data: bytes
    name: str
    at: int = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise UserError(f"{self.name}: ends in the middle of an event, {WANTED}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        """A variable-length quantity of at most four bytes."""
        value = 0
        for _ in range(4):
            byte = self.take(1)[0]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise UserError(f"{self.name}: holds a number of more than four bytes, {WANTED}")


@dataclass
class _Channel:
    program: int = 0
    volume: int = 100
    expression: int = 127
    held: dict[int, list[tuple[int, float]]] = field(default_factory=dict)  # key → ticks and velocities


def read_midi(path: "str | Path") -> list[MidiNote]:
    """The notes of a file. Raises UserError as `read_score` does."""
    return read_score(path).notes


def read_score(path: "str | Path") -> MidiScore:
    """Raises UserError for a file that is no MIDI file, has no notes, or is longer than the models' longest song."""
    path = user_path(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= BYTES_MOST and path.is_file() else b""
    except OSError as exc:
        raise UserError(f"{path}: could not be read ({exc})") from exc
    if size > BYTES_MOST:
        raise UserError(f"{path}: has {size} bytes, expected a MIDI file of at most {BYTES_MOST}")
    division, tracks = _tracks(_Bytes(data, str(path)))
    clock = _Clock(tracks, division)
    notes = sorted(_notes(tracks, clock, str(path)), key=lambda note: (note.start_s, note.midi))
    if not notes:
        raise UserError(f"{path}: holds no notes")
    _check_size(notes, str(path))
    end = max(note.start_s + note.seconds for note in notes)
    return MidiScore(notes, clock.bpm(end), _metre(tracks), _signature(tracks))


def _first(tracks: list[list[_Event]], kind: int) -> bytes | None:
    """The data of the first event of a kind."""
    found = [(event.tick, event.data) for track in tracks for event in track if event.status == kind]
    return min(found)[1] if found else None


def _metre(tracks: list[list[_Event]]) -> tuple[int, int] | None:
    data = _first(tracks, METRE)
    return (data[0], 1 << min(data[1], 8)) if data else None


def _signature(tracks: list[list[_Event]]) -> tuple[int, bool] | None:
    data = _first(tracks, KEY)
    sharps = int.from_bytes(data[:1], signed=True) if data else 0
    return (sharps, bool(data[1])) if data and abs(sharps) <= SHARPS_MOST else None


def _check_size(notes: list[MidiNote], name: str) -> None:
    end = max(note.start_s + note.seconds for note in notes)
    if end > MAX_SECONDS:
        raise UserError(f"{name}: lasts {end:.0f} s, expected at most {MAX_SECONDS:g}; cut it")
    if (total := sum(note.seconds for note in notes)) > SOUNDING_S_MOST:
        raise UserError(f"{name}: its notes last {total:.0f} s together, expected at most {SOUNDING_S_MOST:.0f}")


def _tracks(file: _Bytes) -> tuple[int, list[list[_Event]]]:
    """The division of time, and the events of every track."""
    if file.data[:4] != b"MThd" or len(file.data) < 14:
        raise UserError(f"{file.name}: is no MIDI file, {WANTED}")
    length, kind, count, division = (int.from_bytes(file.data[a:b]) for a, b in ((4, 8), (8, 10), (10, 12), (12, 14)))
    if kind > 1 or length < 6:
        raise UserError(f"{file.name}: is a MIDI file of type {kind}, {WANTED}")
    if not division & 0x7FFF or (division & 0x8000 and not division & 0xFF):
        raise UserError(f"{file.name}: has no ticks in a beat, {WANTED}")
    file.at, tracks = 8 + length, []
    while file.at < len(file.data) and len(tracks) < count:
        name, size = file.take(4), int.from_bytes(file.take(4))
        content = file.take(min(size, len(file.data) - file.at))  # the last track may have been cut off
        if name == b"MTrk":
            tracks.append(list(_events(_Bytes(content, file.name))))
    return division, tracks


def _events(track: _Bytes) -> Iterator[_Event]:
    tick, status = 0, 0
    while track.at < len(track.data):
        tick += track.number()
        first = track.take(1)[0]
        if first >= 0xF0:
            event = _system(track, first, tick)
            if event and event.status == END:
                return
            if event:
                yield event
            continue
        if first < 0x80:
            track.at -= 1  # running status: the last one's byte is left out
        else:
            status = first
        if not status:
            raise UserError(f"{track.name}: a track begins without a status byte, {WANTED}")
        yield _Event(tick, status, track.take(DATA_BYTES[status & 0xF0]))


def _system(track: _Bytes, first: int, tick: int) -> _Event | None:
    """An event of META_BYTES, the end of the track, or None for others."""
    if first in (0xF0, 0xF7):
        track.take(track.number())
        return None
    if first != 0xFF:
        raise UserError(f"{track.name}: holds a byte {first:#x} that files never have, {WANTED}")
    kind, data = track.take(1)[0], track.take(track.number())
    return _Event(tick, kind, data) if kind == END or META_BYTES.get(kind) == len(data) else None


class _Clock:
    """Seconds of a tick, by the tempi of all tracks."""

    def __init__(self, tracks: list[list[_Event]], division: int):
        self.ticks, self.seconds, self.rates, self.quarters_us = [0], [0.0], [0.0], [0]
        if division & 0x8000:  # frames a second, counted negative, and ticks of a frame: no tempo changes it
            frames = 256 - (division >> 8)
            self.rates[0] = 1 / ((29.97 if frames == 29 else frames) * (division & 0xFF))
            return
        self.rates[0], self.quarters_us[0] = QUARTER_US / 1e6 / division, QUARTER_US
        changes = {e.tick: int.from_bytes(e.data) for track in tracks for e in track if e.status == TEMPO}
        for tick, quarter_us in sorted(changes.items()):
            self.seconds.append(self.at(tick))
            self.ticks.append(tick)
            self.rates.append(max(1, quarter_us) / 1e6 / division)
            self.quarters_us.append(max(1, quarter_us))

    def at(self, tick: int) -> float:
        last = bisect_right(self.ticks, tick) - 1
        return self.seconds[last] + (tick - self.ticks[last]) * self.rates[last]

    def bpm(self, end_s: float) -> float | None:
        """The tempo that holds longest until then; None where time is counted in frames."""
        held = {}
        for start, after, quarter_us in zip(self.seconds, [*self.seconds[1:], end_s], self.quarters_us):
            held[quarter_us] = held.get(quarter_us, 0.0) + max(0.0, min(after, end_s) - start)
        longest = max(held, key=held.get)
        return 60e6 / longest if longest else None


def _notes(tracks: list[list[_Event]], clock: _Clock, name: str) -> list[MidiNote]:
    """All notes; one that is never ended lasts until its track does. Programs hold for a channel across tracks."""
    notes, channels = [], {number: _Channel() for number in range(16)}
    ordered = sorted((e.tick, n, i, e) for n, track in enumerate(tracks) for i, e in enumerate(track))
    last = ordered[-1][0] if ordered else 0
    for tick, _, _, event in ordered:
        if event.status >= 0x80:
            notes += _played(channels[event.status & 0xF], event, clock)
        if len(notes) > NOTES_MOST:
            raise UserError(f"{name}: has more than {NOTES_MOST} notes; play a part of it")
    for number, channel in channels.items():
        for key in list(channel.held):
            while channel.held.get(key):
                notes.append(_ended(channel, number, key, last, clock))
    return [note for note in notes if note.seconds > 0]


def _played(channel: _Channel, event: _Event, clock: _Clock) -> list[MidiNote]:
    kind, number, data = event.status & 0xF0, event.status & 0xF, event.data
    if kind == 0xC0:
        channel.program = data[0] & 0x7F
    elif kind == 0xB0 and data[0] in (VOLUME, EXPRESSION):
        setattr(channel, "volume" if data[0] == VOLUME else "expression", data[1] & 0x7F)
    elif kind == 0x90 and data[1]:
        level = (data[1] & 0x7F) / 127 * channel.volume / 127 * channel.expression / 127
        channel.held.setdefault(data[0] & 0x7F, []).append((event.tick, level))
    elif kind in (0x80, 0x90) and channel.held.get(data[0] & 0x7F):
        return [_ended(channel, number, data[0] & 0x7F, event.tick, clock)]
    return []


def _ended(channel: _Channel, number: int, key: int, tick: int, clock: _Clock) -> MidiNote:
    start, level = channel.held[key].pop(0)
    begin = clock.at(start)
    return MidiNote(number, channel.program, key, level, begin, clock.at(tick) - begin)

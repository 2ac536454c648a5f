"""What can be asked of a planner: plan, write, rewrite and understand, each a request and how it is answered.

A request is data. `run` is a generator of Progress, and returns the SongPlan.
"""

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UserError
from ..song import AUTO, INSTRUMENTAL, Song, check_text
from ..spec import CODES_PER_SECOND, LYRIC_TOKENS_MAX, MAX_SECONDS, MIN_SECONDS
from . import grammar, prompts
from .metadata import Answer, is_instrumental, read_answer, think_block
from .sampling import Sampling
from .session import Progress, Session
from .song_plan import SongPlan, checked_codes, codes_count, filled, given_of, is_open
from .vocabulary import END, THINK_END, Vocabulary

Run = Generator[Progress, None, SongPlan]
CAPTION_TOKENS_MAX = grammar.CAPTION_TOKENS_MAX
MAX_CODES = int(MAX_SECONDS * CODES_PER_SECOND)
_THOUGHTS_ROOM = CAPTION_TOKENS_MAX + 128  # the longest think block, with all its names
_UNDERSTAND_TEMPERATURE = 0.3
OPEN_SONG = Song("", "", seconds=AUTO)


@dataclass(frozen=True)
class PlanSong:
    """Fills in what a song leaves open, and writes its audio codes.

    `negative`: what the codes shall be unlike, with guidance. What the song gives is never changed.
    """

    song: Song
    codes: bool = True
    negative: str = ""
    sampling: ClassVar[Sampling] = Sampling()

    def __post_init__(self):
        check_text("negative", self.negative)

    def run(self, session: Session) -> Run:
        if not self.codes and not is_open(self.song):
            return SongPlan(self.song)
        caption, lyrics = _texts(session, self.song)
        prompt = session.words.encode(prompts.plan_prompt(caption, lyrics))
        block = grammar.thoughts(session.words, grammar.fields(), given_of(self.song), END)
        tokens = yield from session.written("metadata", [prompt], block, _THOUGHTS_ROOM)
        answer = read_answer(session.words.decode(tokens))
        plan = _plan(session, self.song, answer)
        if not self.codes:
            return plan
        codes = yield from self._codes(session, plan, prompts.codes_prompt(caption, lyrics, _thoughts(plan, answer)))
        return dataclasses.replace(plan, codes=codes, codebook=session.words.codes)

    def _codes(self, session: Session, plan: SongPlan, prompt: str) -> Generator[Progress, None, tuple[int, ...]]:
        words, count = session.words, codes_count(plan.song.seconds)
        asked = [words.encode(prompt)]
        if session.sampling.guidance > 1:
            negative = session.cut(self.negative, CAPTION_TOKENS_MAX, "negative prompt")
            asked.append(words.encode(prompts.unconditional_codes_prompt(negative)))
        writer = grammar.codes(words, count, MAX_CODES)
        tokens = yield from session.written("codes", asked, writer, count + 1, count)
        return tuple(token - words.first_code for token in tokens if token in words.code_ids)


@dataclass(frozen=True)
class WriteSong:
    """Writes a song from one line: caption, lyrics and all that `given` leaves open."""

    line: str
    instrumental: bool = False
    given: Song = OPEN_SONG
    sampling: ClassVar[Sampling] = Sampling()

    def __post_init__(self):
        check_text("line", self.line)

    def run(self, session: Session) -> Run:
        line = session.cut(self.line, CAPTION_TOKENS_MAX, "line")
        prompt = session.words.encode(prompts.write_prompt(line, self.instrumental))
        answer = yield from _described(session, prompt, given_of(self.given), sings=not self.instrumental)
        plan = _plan(session, self.given, answer)
        return _with_lyrics(plan, INSTRUMENTAL if self.instrumental else answer.lyrics)


@dataclass(frozen=True)
class RewriteSong:
    """Writes a song's caption and lyrics in better words, and fills in what it leaves open."""

    song: Song
    sampling: ClassVar[Sampling] = Sampling()

    def run(self, session: Session) -> Run:
        caption, lyrics = _texts(session, self.song)
        sings = not is_instrumental(self.song.lyrics)
        prompt = session.words.encode(prompts.rewrite_prompt(caption, lyrics))
        answer = yield from _described(session, prompt, given_of(self.song), sings=sings)
        open_caption = dataclasses.replace(self.song, caption="")
        plan = _plan(session, open_caption, answer)
        if not plan.song.caption:
            plan = dataclasses.replace(plan, song=dataclasses.replace(plan.song, caption=self.song.caption))
        return _with_lyrics(plan, answer.lyrics) if sings and answer.lyrics else plan


@dataclass(frozen=True)
class UnderstandAudio:
    """Describes music by its audio codes at 5 a second. `codebook`: how many codes their tokenizer has, 0: not known.
    Raises UserError for codes that no music has.
    """

    codes: tuple[int, ...]
    codebook: int = 0
    sampling: ClassVar[Sampling] = Sampling(temperature=_UNDERSTAND_TEMPERATURE)

    def __post_init__(self):
        if not 1 <= len(checked_codes(self.codes)) <= MAX_CODES:
            raise UserError(
                f"understand: got {len(self.codes):,} codes, expected 1 to {MAX_CODES:,}, "
                f"which are {MAX_SECONDS:g} s of music"
            )

    def check(self, words: Vocabulary) -> None:
        """Raises UserError for codes that a planner of this vocabulary does not read."""
        known = words.codes
        if max(self.codes) >= known or self.codebook not in (0, known):
            got = f"is in codes of {self.codebook:,} kinds" if self.codebook else f"has codes up to {max(self.codes):,}"
            raise UserError(
                f"understand: the music {got}, and the planner knows {known:,}; take a planner and a music model of "
                "one family"
            )

    def run(self, session: Session) -> Run:
        self.check(session.words)
        seconds = len(self.codes) / CODES_PER_SECOND
        length = Song("", "", seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS))
        prompt = session.words.encode(prompts.understand_prompt(self.codes))
        answer = yield from _described(session, prompt, given_of(length), sings=True)
        plan = _with_lyrics(_plan(session, length, answer), answer.lyrics)
        return dataclasses.replace(plan, codes=self.codes, codebook=session.words.codes)


# ---- what the requests share -----------------------------------------------------------------------------------------


def _texts(session: Session, song: Song) -> tuple[str, str]:
    caption = session.cut(song.caption, CAPTION_TOKENS_MAX, "caption")
    return caption, session.cut(song.lyrics, LYRIC_TOKENS_MAX, "lyrics")


def _described(
    session: Session, prompt: list[int], given: Mapping[str, object], sings: bool
) -> Generator[Progress, None, Answer]:
    """The answer of a text mode: a think block, then lyrics where the music sings."""
    words, room = session.words, _THOUGHTS_ROOM + LYRIC_TOKENS_MAX

    def writer() -> grammar.Writer:
        yield from grammar.thoughts(words, grammar.fields(), given, THINK_END)
        if sings:
            yield from grammar.lyrics(words)

    tokens = yield from session.written("text", [prompt], writer(), room)
    if sings and tokens[-1] != words.end:
        session.note(f"lyrics: the planner did not end within {LYRIC_TOKENS_MAX:,} tokens and was cut; read them over")
    return read_answer(words.decode(tokens))


def _plan(session: Session, song: Song, answer: Answer) -> SongPlan:
    made, decided, notes = filled(song, answer.metadata)
    for note in notes:
        session.note(note)
    return SongPlan(made, decided=decided, description=str(answer.metadata.get("caption", "")))


def _thoughts(plan: SongPlan, answer: Answer) -> str:
    """The think block that the codes follow: what was written, with the song's own length."""
    return think_block({**answer.metadata, **given_of(plan.song)})


def _with_lyrics(plan: SongPlan, lyrics: str) -> SongPlan:
    made = dataclasses.replace(plan.song, lyrics=lyrics or INSTRUMENTAL)
    return dataclasses.replace(plan, song=made, decided={**plan.decided, "lyrics": made.lyrics})

"""Constrained decoding: which tokens may come next, as a table of the think block's fields.

An answer's state is one generator. It yields Allowed and is sent the token that was chosen; for an Allowed that only
asks, it is sent the arg max of the logits there, and nothing is written.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from ..song import LANGUAGES, TIME_SIGNATURES
from ..spec import LYRIC_TOKENS_MAX, MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS
from .vocabulary import THINK, THINK_END, Vocabulary

CAPTION_TOKENS_MAX = 512


@dataclass(frozen=True)
class Allowed:
    """Token ids that may come next: `ids` and those of `rows`, less the forbidden ones.

    `greedy`: the arg max is taken, whatever the temperature. `asks`: the generator only needs to know the arg max.
    """

    ids: tuple[int, ...] = ()
    rows: range = range(0)
    forbidden: frozenset[int] = frozenset()
    greedy: bool = False
    asks: bool = False

    @property
    def forced(self) -> int | None:
        """The only token that may come, if there is one."""
        return self.ids[0] if len(self.ids) == 1 and not self.rows else None


Writer = Generator[Allowed, int, None]


@dataclass(frozen=True)
class Field:
    """A line of the think block: `values` are all that may be written, None is free text.

    `greedy`: the first token of the value is the likeliest, also when sampling.
    """

    name: str
    values: tuple[str, ...] | None
    greedy: bool = False


_KEYS = tuple(
    f"{note}{accidental} {mode}"
    for note in "ABCDEFG"
    for accidental in ("", "#", "b", "♯", "♭")
    for mode in ("major", "minor")
)
BPM = Field("bpm", tuple(map(str, range(MIN_BPM, MAX_BPM + 1))))
CAPTION = Field("caption", None)
KEY = Field("keyscale", _KEYS)
LANGUAGE = Field("language", LANGUAGES, greedy=True)
TIME_SIGNATURE = Field("timesignature", TIME_SIGNATURES)


def duration(most: float = MAX_SECONDS) -> Field:
    """The length in whole seconds, at most `most`."""
    return Field("duration", tuple(map(str, range(int(MIN_SECONDS), max(int(MIN_SECONDS), int(most)) + 1))))


def fields(caption: bool = True, language: bool = True, most_seconds: float = MAX_SECONDS) -> tuple[Field, ...]:
    """The lines of a think block, in the order of training."""
    optional = (CAPTION, caption), (LANGUAGE, language)
    left_out = {field.name for field, wanted in optional if not wanted}
    lines = (BPM, CAPTION, duration(most_seconds), KEY, LANGUAGE, TIME_SIGNATURE)
    return tuple(field for field in lines if field.name not in left_out)


# ---- the answers of a planner ----------------------------------------------------------------------------------------


def thoughts(
    words: Vocabulary, table: Iterable[Field], given: Mapping[str, object] = MappingProxyType({}), last: str = THINK_END
) -> Writer:
    """The think block, with the values that are given written as they are, then the token `last`."""
    yield from forced((words.id_of(THINK), words.newline))
    for field in table:
        yield from literal(words, f"{field.name}:")
        yield from _line(words, field, given.get(field.name))
    yield from forced((words.id_of(last),))


def _line(words: Vocabulary, field: Field, value: object) -> Writer:
    if value is not None:
        yield from forced(words.encode(f" {value}\n"))
    elif field.values is None:
        yield from caption(words)
    else:
        yield from chosen(words, field)


def chosen(words: Vocabulary, field: Field) -> Writer:
    """One of a field's values and the new line after it."""
    tree, path = value_tree(words, field), ()
    while following := tree.get(path):
        path += ((yield Allowed(following, greedy=field.greedy and not path)),)


def caption(words: Vocabulary) -> Writer:
    """Free text of several lines: a line goes on the value if the model would begin it with a space or a tab."""
    free = _prose(words, words.with_backtick)
    for _ in range(CAPTION_TOKENS_MAX):
        token = yield free
        if token in words.with_newline:
            if (yield _asking(words)) not in words.indented:
                return
            free = _continued(words)
        else:
            free = _prose(words, words.with_backtick)
    if token not in words.with_newline:
        yield Allowed((words.newline,))


@lru_cache(8)
def _prose(words: Vocabulary, forbidden: frozenset[int] = frozenset(), also: tuple[int, ...] = ()) -> Allowed:
    return Allowed(also, range(words.first_code), forbidden | frozenset(words.special))


@lru_cache(8)
def _asking(words: Vocabulary) -> Allowed:
    return Allowed(rows=range(words.first_code), asks=True)


@lru_cache(8)
def _continued(words: Vocabulary) -> Allowed:
    """What may begin a line that goes on a value: else a name in it would be read as a field's."""
    fits = words.indented - words.with_backtick - words.with_newline - frozenset(words.special)
    return Allowed(rows=range(words.first_code), forbidden=frozenset(range(words.first_code)) - fits)


def lyrics(words: Vocabulary, most: int = LYRIC_TOKENS_MAX) -> Writer:
    """Free text without audio codes until the end token; at most so many tokens."""
    free = _prose(words, also=(words.end,))
    for _ in range(most):
        if (yield free) == words.end:
            return


def codes(words: Vocabulary, count: int | None, most: int) -> Writer:
    """`count` audio codes and the end token; where the count is None, codes until the end token, at most `most`."""
    ids, end = words.code_ids, words.end
    for _ in range(most if count is None else count):
        if (yield Allowed((end,) if count is None else (), ids)) == end:
            return
    yield Allowed((end,))


# ---- parts -----------------------------------------------------------------------------------------------------------


def forced(tokens: Iterable[int]) -> Writer:
    """Tokens that must come one after another."""
    for token in tokens:
        yield Allowed((token,))


def literal(words: Vocabulary, text: str) -> Writer:
    """A text that must come, always by the longest token that it begins with."""
    while text:
        token, text = words.first_token(text)
        yield Allowed((token,))


@lru_cache(32)
def value_tree(words: Vocabulary, field: Field) -> Mapping[tuple[int, ...], tuple[int, ...]]:
    """Tokens of a value written so far -> those that may follow; the new line ends a value."""
    before = words.encode(f"{field.name}:")
    tree: dict[tuple[int, ...], set[int]] = {}
    for value in field.values:
        tokens = (*words.encode(f"{field.name}: {value}")[len(before) :], words.newline)
        for end in range(len(tokens)):
            tree.setdefault(tokens[:end], set()).add(tokens[end])
    return MappingProxyType({path: tuple(sorted(following)) for path, following in tree.items()})

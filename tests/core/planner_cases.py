"""Golden cases of the planner, and the original's decoding rules, which differ from ours where it was wrong.

The original's rules are another table of writers: they are given to the same decoding in the place of ours.
"""

import json

import torch
from acestep_pack.acestep_core.planner import grammar
from acestep_pack.acestep_core.planner.grammar import Allowed, Field
from acestep_pack.acestep_core.planner.load import read_planner
from acestep_pack.acestep_core.planner.vocabulary import THINK, THINK_END
from core_tests.golden_cases import model_folder


def json_of(case):
    return json.loads((case["root"] / case["json"]).read_text(encoding="utf-8"))


def planner_of(case):
    return read_planner(model_folder(case))


def genres_of(case):
    lines = (model_folder(case) / "genres.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


# ---- the original's rules --------------------------------------------------------------------------------------------

LONGEST_SECONDS = 16  # in these cases


class OriginalRules:
    """The original's decoder as writers: it forbids less, and loses the key after free genres."""

    def __init__(self, words, genres=None):
        self.words, self.genres = words, genres
        codes = frozenset(words.code_ids)
        every = range(max(words.code_ids.stop, 1 + max(words.tokenizer.get_vocab().values())))
        if len(every) == words.code_ids.stop:  # its unusable codes are no tokens of ours
            every = range(words.code_ids.stop + UNUSABLE)
        self.every = Allowed(rows=every)
        self.prose = Allowed(rows=every, forbidden=codes | {words.id_of("`")})
        self.text = Allowed(rows=every, forbidden=codes)
        self.asking = Allowed(rows=every, asks=True)

    def thoughts(self, table, given, last=THINK_END):
        words, names = self.words, [field.name for field in table]
        yield from grammar.forced((words.id_of(THINK), words.newline))
        number, named, left = 0, False, ""
        while number < len(names):
            name, field = names[number], table[number]
            if not named:
                yield from grammar.literal(words, f"{left or name}:")
            named, left = False, ""
            if name == "caption" and given.get(name) is None:
                found = yield from self.caption()
                number = names.index(found) if found in names else number + 1
                named = found in names
                continue
            if given.get(name) is not None:
                yield from grammar.forced(words.encode(f" {given[name]}\n"))
            elif name == "genres":
                left = yield from self.write_genres(names[number + 1])
            else:
                yield from grammar.chosen(words, field)
            number += 1
        yield from grammar.forced((words.id_of(last),))

    def caption(self):
        words = self.words
        for _ in range(grammar.CAPTION_TOKENS_MAX):
            token = yield self.prose
            if token in words.with_newline and (yield self.asking) not in words.indented:
                break
        written = ""
        while ":" not in written:
            written += words.decode([(yield self.every)])
        return written.partition(":")[0].strip()

    def write_genres(self, following):
        if self.genres is None:
            return (yield from self.free_genres(following))
        yield from self.known_genres()
        return ""

    def free_genres(self, following):
        """It leaves the field when the arg max is the new line, which then counts as a letter of the next name."""
        newline = self.words.newline
        allowed = Allowed(rows=self.every.rows, forbidden=frozenset((newline,)))
        while True:
            yield allowed
            if (yield self.asking) == newline:
                break
            allowed = self.every
        yield Allowed((newline,))
        return following[1:]

    def known_genres(self):
        """Letters of the vocabulary's entries in any case, without the space after the colon."""
        written = ""
        while True:
            entries = [entry.lower() for entry in self.genres]
            fits = []
            for number, piece in self.words._pieces.items():
                text = written + self.words.decode([number])
                if text != written and any(entry.startswith(text.lower()) for entry in entries):
                    fits.append(number)
            if written.lower() in entries:
                fits.append(self.words.newline)
            token = yield Allowed(tuple(sorted(fits)))
            if token == self.words.newline:
                return
            written += self.words.decode([token])

    def lyrics(self):
        while (yield self.text) not in (self.words.end, self.words.id_of("<|endoftext|>")):
            pass


UNUSABLE = 8
GENRES = Field("genres", None)


def original_table(params):
    """The fields of a case's think block, in the original's order."""
    text_mode = "infer_type" not in params
    plain = grammar.fields(
        params.get("use_cot_caption", True),
        params.get("use_cot_language", True),
        LONGEST_SECONDS,
    )
    if not text_mode:
        return plain
    names = [field.name for field in plain]
    table = list(plain)
    table.insert(names.index("duration") + 1, GENRES)
    if "language" in params.get("user_metadata", {}):  # the original leaves out a language that is given
        table = [field for field in table if field.name != "language"]
    return tuple(table)


def original_given(params):
    given = {name: value for name, value in params.get("user_metadata", {}).items() if name != "language"}
    if params.get("vocal_language"):
        given["language"] = params["vocal_language"]
    return given


def ids_of(allowed):
    """The ids that an Allowed allows."""
    return set(allowed.ids) | (set(allowed.rows) - allowed.forbidden)


def masked(raw, allowed):
    """Logits [rows, V] with -inf for what is not allowed."""
    out = torch.full_like(raw, float("-inf"))
    ids = torch.tensor(sorted(ids_of(allowed)))
    out[:, ids] = raw[:, ids]
    return out

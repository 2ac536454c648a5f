"""The editing tasks: what each needs of a checkpoint, what its models see, and which settings it takes. No torch.

A task is one row of TASKS. Specification: the original's task types, corrected where they are wrong (stems never see
codes and are never blended with the mix).
"""

from dataclasses import dataclass
from types import MappingProxyType

from ..models.defaults import COVER, MORPH, PLAIN_COVER, REPAINT, TEXT_TO_MUSIC
from ..prompt import INSTRUCTIONS, TRACKS_JOIN

TRACKS = (
    *("woodwinds", "brass", "fx", "synth", "strings", "percussion", "keyboard", "guitar", "bass", "drums"),
    *("backing_vocals", "vocals"),
)
REGIONS = "regions"  # a setting that several tasks take


@dataclass(frozen=True)
class Task:
    """A row of TASKS. `knows`: the task that a checkpoint must know. `takes`: the settings of Edit that count.

    `many_tracks`: all tracks go into one instruction; otherwise there is a song for each.
    """

    name: str
    summary: str
    knows: str
    instruction: str
    takes: tuple[str, ...] = ()
    keeps: bool = False
    is_stem: bool = False
    many_tracks: bool = False


_ROWS = (
    Task("cover", "the source in another style", COVER, "cover", ("structure", "closeness", "codes")),
    Task("repaint", "regions made anew", REPAINT, "repaint", (REGIONS, "strength"), keeps=True),
    Task("extend", "music before and after", REPAINT, "repaint", ("before", "after", "strength"), keeps=True),
    Task("extract", "one stem out of a mix", "extract", "extract", ("tracks",), is_stem=True),
    Task("lego", "a stem for a mix", "lego", "lego", ("tracks", REGIONS, "mix"), is_stem=True),
    Task("complete", "an accompaniment", "complete", "complete", ("tracks",), many_tracks=True),
    Task("retake", "a variation of a song", TEXT_TO_MUSIC, TEXT_TO_MUSIC, ("amount", "retake_seed")),
    Task(
        "morph",
        "other words for the same music",
        MORPH,
        TEXT_TO_MUSIC,
        ("from_caption", "from_lyrics", "morph_begin", "morph_end", "averages"),
    ),
)
TASKS = MappingProxyType({task.name: task for task in _ROWS})


def instruction(task: Task, tracks: tuple[str, ...] = ()) -> str:
    """The instruction that the text encoder reads for a task and its tracks, in the order given."""
    if task.many_tracks:
        named = f" with {TRACKS_JOIN.join(map(str.upper, tracks))}" if tracks else ""
        return INSTRUCTIONS[task.instruction].replace(" with {TRACK_CLASSES}", named)
    named = f" {tracks[0].upper()}" if tracks else ""
    return INSTRUCTIONS[task.instruction].replace(" {TRACK}", named)


def known_as(task: Task, codes: bool) -> str:
    """The task that a checkpoint must know for this one."""
    return PLAIN_COVER if task.knows == COVER and not codes else task.knows

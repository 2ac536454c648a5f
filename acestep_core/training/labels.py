"""Labels of clips under the names that other trainers give them, brought to one set of fields. No torch."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..editing.regions import Region, check_regions, parse_regions
from ..errors import UserError, shown
from ..json_text import parse_json_object
from ..song import INSTRUMENTAL, field_name

FIELDS = ("caption", "lyrics", "bpm", "key", "time_signature", "language")  # of a song
CUSTOM_TAG, TAG_POSITION, GENRE, REPEAT, IS_INSTRUMENTAL, REGIONS = OWN_FIELDS = (
    *("custom_tag", "tag_position", "genre", "repeat"),
    *("instrumental", "regions"),
)
FILE = "file"
# Without "_", "-" and spaces, as in song.FIELD_ALIASES.
_ALIASES = MappingProxyType(
    {
        **dict.fromkeys(("filename", "audio", "audiopath", "audiofile", "path", "filepath"), FILE),
        **dict.fromkeys(("customtag", "triggerword", "triggertag"), CUSTOM_TAG),
        "tagposition": TAG_POSITION,
        **dict.fromkeys(("repeats", "numrepeats"), REPEAT),
    }
)
_UNUSED = frozenset(
    ("seconds", "id", "labeled", "raw_lyrics", "formatted_lyrics")
)  # beside the fields above, redundant
_TAGGED = MappingProxyType(
    {
        "prepend": lambda tag, caption: f"{tag}, {caption}",
        "append": lambda tag, caption: f"{caption}, {tag}",
        "replace": lambda tag, caption: tag,
    }
)
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")
REPEAT_MOST = 1000
NAMES_SHOWN = 8


def label_name(name: str) -> str:
    """The field that goes by a name, in whatever case and spelling; other names in lower case with "_"."""
    field = field_name(str(name))
    return _ALIASES.get(field.replace("_", ""), field)


def by_field(given: Mapping) -> dict[str, object]:
    """Values by field, without empty ones. Of two names of one field, the field's own name counts, else the first."""
    labels: dict[str, object] = {}
    for name, value in given.items():
        field = label_name(name)
        if value not in (None, "", []) and (field not in labels or name == field):
            labels[field] = value
    for field in ("caption", "lyrics"):
        if isinstance(labels.get(field), list):
            labels[field] = ", ".join(map(str, labels[field]))
    return labels


def json_labels(text: str | bytes, place: object) -> dict[str, object]:
    """The labels in a JSON object. Raises UserError, with `place` first."""
    return by_field(parse_json_object(text, place, remedy='expected an object such as {"caption": "..."}'))


def unknown_names(labels: Mapping) -> set[str]:
    return set(labels) - {*FIELDS, *OWN_FIELDS, FILE, *_UNUSED}


def song_fields(labels: Mapping) -> dict[str, object]:
    """The fields of a song, with a clip's own tag in its caption. Raises UserError for values that have no meaning."""
    song = {field: labels[field] for field in FIELDS if field in labels}
    if "bpm" in song:
        song["bpm"] = _whole(song["bpm"])
    if not isinstance(song.get("caption", ""), str):
        raise UserError(f"caption: got {shown(song['caption'])}, expected text")
    if "caption" not in song and isinstance(labels.get(GENRE), str):
        song["caption"] = labels[GENRE]
    if tag := labels.get(CUSTOM_TAG):
        song["caption"] = _with_tag(song.get("caption"), tag, labels.get(TAG_POSITION, "prepend"))
    if _is_true(IS_INSTRUMENTAL, labels.get(IS_INSTRUMENTAL, False)):
        song["lyrics"] = INSTRUMENTAL
    return song


def repeat_of(labels: Mapping) -> int:
    """How often a clip counts. Raises UserError."""
    value = labels.get(REPEAT, 1)
    number = int(value) if str(value).strip().isdecimal() and len(str(value)) < 6 else 0
    if not 1 <= number <= REPEAT_MOST:
        raise UserError(f"repeat: got {shown(value)}, expected a whole number from 1 to {REPEAT_MOST}")
    return number


def regions_of(labels: Mapping) -> tuple[Region, ...]:
    """The parts of a clip that are trained on, as text such as "10-20, 31.5-end" or as a list of pairs; none where all
    of it is. Raises UserError.
    """
    given = labels.get(REGIONS, ())
    return parse_regions(given) if isinstance(given, str) else check_regions(given)


def listed(names: Iterable[str]) -> str:
    """Names as a message lists them: without control characters, the first few of many."""
    names = sorted(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(shown(name)[1:-1] for name in names[:NAMES_SHOWN]) + more


def _with_tag(caption: str | None, tag: object, position: object) -> str:
    if not isinstance(tag, str) or position not in _TAGGED:
        raise UserError(
            f"custom tag: got {shown(tag)} to {shown(position)}, expected text and one of {', '.join(_TAGGED)}"
        )
    is_there = caption is not None and tag.lower() in caption.lower() and position != "replace"
    return caption if is_there else _TAGGED[position](tag, caption) if caption else tag


def _is_true(name: str, value: object) -> bool:
    text = str(value).strip().lower()
    if text not in (*_YES, *_NO):
        raise UserError(f"{name}: got {shown(value)}, expected true or false")
    return text in _YES


def _whole(bpm):
    """Other programs write tempi with decimals; the models read whole numbers."""
    try:
        return round(float(bpm))
    except (TypeError, ValueError, OverflowError):
        return bpm

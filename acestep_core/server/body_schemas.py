"""The bodies of requests as JSON schemas, for the OpenAPI document: the kind, limits and meaning of each field.

Which fields there are, the readers of requests say; kinds and defaults are those of the dataclasses that they make.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Union, get_args, get_origin

from ..audio.formats import FORMATS
from ..editing.edit import AVERAGES_MOST, Edit
from ..editing.tasks import TASKS, TRACKS
from ..generation.settings import GenerationSettings
from ..generation.song_files import SongFile
from ..scoring.take_settings import TakeSettings
from ..song import LANGUAGES, TIME_SIGNATURES, Song
from ..spec import (
    DTYPE_NAMES,
    MAX_BPM,
    MAX_SECONDS,
    MAX_SEED,
    MIN_BPM,
    MIN_SECONDS,
    TRAINING_DTYPE_NAMES,
    VOCODER_DTYPE_NAMES,
)
from ..training.labels import FIELDS as LABELS
from ..training.labels import FILE, OWN_FIELDS, REPEAT_MOST
from ..training.settings import KINDS, OPTIMISERS, PRESETS, TARGETS, Intervals, LoraSettings
from .listening import FIELDS as LISTEN_FIELDS
from .listening import KINDS as LISTEN_KINDS
from .orders import LABEL, PLAN, REWRITE, SONGS, TRAIN_LORA, UNDERSTAND, WRITE
from .requests import ANSWER_FIELDS, COUNT_MOST, FILE_FIELDS, PREVIEW_SECONDS_MOST, SONG_FIELDS, TAKE_FIELDS, TAKES_MOST
from .training_reader import CAPTIONS_MOST, KEEP_MOST, LABEL_FIELDS, SETTINGS_MOST, STEPS_MOST, TRAIN_FIELDS

QUANTISED = ("int8", "fp8", "fp8-matmul")
SOLVERS = ("euler", "heun", "sde")  # flow.solvers.SOLVERS, whose import brings torch
HANDLE = "the handle of an upload (u_...) or of a song (s_...)"
_JSON_KINDS = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    (tuple, list): "array",
    Mapping: "object",
}
_SHARE = {"minimum": 0, "maximum": 1}

# Field -> its meaning, and its limits.
_SONG = {
    "caption": ("genre, instruments, voice, mood", {}),
    "lyrics": ("what is sung, with tags such as [Verse] on lines of their own", {}),
    "bpm": ("tempo", {"minimum": MIN_BPM, "maximum": MAX_BPM}),
    "key": ("such as A minor", {}),
    "time_signature": ("beats in a bar", {"enum": TIME_SIGNATURES}),
    "language": ("of the lyrics", {"enum": LANGUAGES}),
    "seconds": ("length of the whole song, or auto", {"minimum": MIN_SECONDS, "maximum": MAX_SECONDS}),
}
_SETTINGS = {
    "seed": ("the first of the songs' seeds; drawn where there is none", {"minimum": 0, "maximum": MAX_SEED}),
    "models": ("a cascade, such as tiny or published", {}),
    **{slot: (f"the model of stage {slot.upper()}", {}) for slot in ("l", "m", "s")},
    "text_encoder": ("another text encoder than the cascade's", {}),
    "vocoder": ("another vocoder than the cascade's", {}),
    "steps": ("in all, or one number for each stage", {}),
    "boundaries": ("flow times, 1 to 0, at which L hands over to M and M to S", {}),
    "solver": ("", {"enum": SOLVERS}),
    "guidance": ("such as 7 or cfg:7, or one for each stage", {}),
    "dcw": ("wavelet correction of turbo models' steps", {}),
    "reference": (f"sounds like these: each is {HANDLE}", {}),
    "continue_from": (f"begins with this sound: {HANDLE}", {}),
    "lora": ("adapters, such as warm:0.8 or l=warm:0.8", {}),
    "dtype": ("number format of the stages", {"enum": DTYPE_NAMES}),
    "vocoder_dtype": ("number format of the vocoder", {"enum": VOCODER_DTYPE_NAMES}),
    "quantise": ("weights in 8 bits", {"enum": QUANTISED}),
    "loudness": ("LUFS, such as -14; as it comes where there is none", {"minimum": -70, "maximum": 0}),
    "planner_seed": ("the seed of the plan; that of the song where there is none", {"minimum": 0}),
    "codes": ("audio codes, 5 a second, that the song follows", {}),
    "codebook": ("how many codes their planner knows; models of as many follow them", {"minimum": 0}),
    "codes_strength": ("share of the steps that follow the codes", _SHARE),
}
_EDIT = {
    "task": ("what is made of the source", {"enum": tuple(TASKS)}),
    "regions": ('pairs of seconds such as [10, 20], or texts such as "10-20" and "bars 8-12"', {}),
    "strength": ("how far a region may leave the source", _SHARE),
    "before": ("seconds of new music before the source", {"minimum": 0, "maximum": MAX_SECONDS}),
    "after": ("seconds of new music behind the source", {"minimum": 0, "maximum": MAX_SECONDS}),
    "tracks": (f"stems: {', '.join(TRACKS)}", {}),
    "structure": ("share of the steps that follow the source", _SHARE),
    "closeness": ("how much of the source's sound a cover begins with", _SHARE),
    "codes": ("false: a cover by the source's latents, closer to it", {}),
    "mix": ("an added stem together with its source", {}),
    "amount": ("how different a retake is", _SHARE),
    "retake_seed": ("the seed of a retake's noise", {"minimum": 0, "maximum": MAX_SEED}),
    "from_caption": ("what the source of a morph sounds like", {}),
    "from_lyrics": ("the lyrics of a morph's source", {}),
    "morph_begin": ("share of the steps before the morph", _SHARE),
    "morph_end": ("share of the steps after which the morph ends", _SHARE),
    "averages": ("draws of noise in a step of a morph", {"minimum": 1, "maximum": AVERAGES_MOST}),
}
_FILE = {
    "format": ("of the sound file", {"enum": tuple(FORMATS)}),
    "bit_depth": ("16, 24 or 32f, where the format has it", {}),
    "title": ("in the file's tags; the caption where there is none", {}),
    "artist": ("in the file's tags", {}),
    "keep_latents": ("keeps the latents beside the song: edits begin from them", {}),
    "lrc": ("times of the lines of the lyrics", {}),
    "lrc_words": ("times of their words too", {}),
}
_TAKES = {
    "count": ("each song is the best of so many takes", {"minimum": 1, "maximum": TAKES_MOST}),
    "keep": ("so many of the best are kept", {"minimum": 1, "maximum": TAKES_MOST}),
    "retry_below": ("takes are made again while the best scores below it", _SHARE),
    "draft": ("steps that a take joins into one; 1: whole takes", {"minimum": 1, "maximum": 100}),
}
_TRAINING = {
    "steps": ("", {"minimum": 1, "maximum": STEPS_MOST}),
    "learning_rate": ("the highest", {}),
    "warm_up": ("steps in which the learning rate rises", {"minimum": 0}),
    "accumulate": ("crops in a step", {"minimum": 1}),
    "clip": ("the gradient's largest norm", {}),
    "weight_decay": ("", _SHARE),
    "optimiser": ("adamw8bit needs a quarter of the memory, and bitsandbytes", {"enum": OPTIMISERS}),
    "gradient_checkpointing": ("less memory, a third more time", {}),
    "crop_seconds": ("the longest part of a clip in a step, in whole bars", {}),
    "hold_out": ("share of the clips that losses are measured on", _SHARE),
    "start": ("flow times to train at, from ...; those of the model's slot where none are given", _SHARE),
    "end": ("... to", _SHARE),
    "all_times": ("all 20 times of a turbo model, not the 8 of its own schedule", {}),
    "seed": ("", {"minimum": 0}),
    "rank": ("", {"minimum": 1}),
    "alpha": ("the rank where there is none, which is scale 1", {}),
    "dropout": ("", _SHARE),
    "targets": (f"layers that are adapted, of {', '.join(TARGETS)}", {}),
    "kind": ("of adapter", {"enum": tuple(KINDS)}),
    "preserve": ("share of the crops from songs that the base makes itself, so that other styles stay", _SHARE),
}
_SAMPLING = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 10, "description": "0: the likeliest token"},
    "top_p": {"type": "number", **_SHARE, "description": "1 is off"},
    "top_k": {"type": "integer", "minimum": 0, "description": "0 is off"},
    "repetition_penalty": {"type": "number", "minimum": 0.1, "maximum": 10, "description": "1 is none"},
    "guidance": {"type": "number", "minimum": 1, "maximum": 30, "description": "of audio codes; 1 is none"},
    "filters_first": {"type": "boolean", "description": "top-k and top-p before the temperature"},
    "text_temperature": {"type": "number", "minimum": 0, "maximum": 10, "description": "of words alone"},
}
_LABELS = {
    "custom_tag": {"type": "string", "description": "a word for the style"},
    "tag_position": {"type": "string", "enum": ("prepend", "append", "replace"), "description": "of custom_tag"},
    "genre": {"type": "string"},
    "repeat": {"type": "integer", "minimum": 1, "maximum": REPEAT_MOST, "description": "times as often as other clips"},
    "instrumental": {"type": "boolean", "description": "nothing is sung"},
    "regions": {"type": "string", "description": "parts of the clip to train on, such as 10-20, 40-end"},
}


def body_docs(examples: Mapping[str, Mapping], schema: Mapping | None = None) -> dict:
    """The body of a route in the OpenAPI document: an example for each content type, and its fields: those of a schema,
    or as the example has them.
    """
    content = {
        kind: {"schema": dict(schema or _of_example(example)), "example": dict(example)}
        for kind, example in examples.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def _of_example(example: Mapping) -> dict:
    shown = {name: {"type": _json_kind(type(value))} for name, value in example.items()}
    return {**of_object(shown), "additionalProperties": True}


def described(kind: type, said: Mapping[str, tuple[str, Mapping]]) -> dict:
    """The JSON schemas of a dataclass's fields that are named in `said`."""
    columns = {column.name: column for column in dataclasses.fields(kind)}
    return {name: _schema(columns[name], *said[name]) for name in said}


def _schema(column: dataclasses.Field, meaning: str, limits: Mapping) -> dict:
    kinds = list(dict.fromkeys(map(_json_kind, _parts(column.type))))
    usual = None if column.default is dataclasses.MISSING else column.default
    schema = {"type": kinds[0] if len(kinds) == 1 else kinds, **limits}
    schema |= {"default": usual} if usual not in (None, ()) else {}
    return {**schema, "description": meaning} if meaning else schema


def _parts(hint: object) -> Iterable:
    """The types of a union, without None; a type alone is the only one."""
    several = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [get_origin(one) or one for one in several if one is not type(None)]


def _json_kind(kind: type) -> str:
    return next(name for known, name in _JSON_KINDS.items() if issubclass(kind, known))


def of_object(properties: Mapping, required: Iterable[str] = (), title: str = "", description: str = "") -> dict:
    """The schema of an object of these fields."""
    schema: dict = {"type": "object", "properties": dict(properties)}
    named = {"required": list(required), "title": title, "description": description}
    return schema | {name: value for name, value in named.items() if value}


INSTRUMENTAL = {"type": "boolean", "description": "nothing is sung"}
SONG = {**described(Song, _SONG), "instrumental": INSTRUMENTAL}
SETTINGS = described(GenerationSettings, _SETTINGS)
LABELS_OF_A_CLIP = {
    **{name: {key: one for key, one in SONG[name].items() if key != "default"} for name in LABELS},
    **{name: _LABELS[name] for name in OWN_FIELDS},
    FILE: {"type": "string", "description": "a name of your own"},
}
_SOURCE = {"type": "string", "description": HANDLE}
_PLANNER = {"type": "string", "description": "one that is here, where none is named"}
_TOKENIZER = {"type": "string", "default": "published", "description": "models with an audio tokenizer"}
_TAKE_PROPERTIES = described(TakeSettings, _TAKES)

_SONGS_BODY = {
    "kind": {"type": "string", "enum": (SONGS,), "default": SONGS},
    "song": of_object(SONG),
    "settings": of_object(SETTINGS),
    "edit": of_object({"source": _SOURCE, **described(Edit, _EDIT)}, ("task", "source")),
    "again": {"type": "string", "description": "the handle of a song that is made again, with what else is given"},
    "write": {"type": "string", "description": "a line from which a planner writes the song first"},
    "plan": {"type": ["boolean", "string"], "default": False, "description": "a planner, or this one, fills it in"},
    "count": {"type": "integer", "minimum": 1, "maximum": COUNT_MOST, "default": 1, "description": "songs"},
    "preview_seconds": {"type": "number", "minimum": 0, "maximum": PREVIEW_SECONDS_MOST, "default": 0},
    **{name: _TAKE_PROPERTIES[ours] for name, ours in TAKE_FIELDS.items()},
    **described(SongFile, _FILE),
}
_ANSWER_BODY = {
    "kind": {"type": "string", "enum": (PLAN, WRITE, REWRITE, UNDERSTAND)},
    "song": of_object(SONG),
    "line": {"type": "string", "description": "what `write` writes a song from"},
    "instrumental": INSTRUMENTAL,
    "source": {**_SOURCE, "description": f"of `understand`: {HANDLE}"},
    "models": _TOKENIZER,
    "planner": _PLANNER,
    "seed": {"type": "integer", "minimum": 0},
    "sampling": of_object(_SAMPLING),
    "codes": {"type": "boolean", "default": True, "description": "`plan` writes audio codes too"},
}
_LISTEN_BODY = {
    "kind": {"type": "string", "enum": LISTEN_KINDS},
    "source": _SOURCE,
    "models": {"type": "string", "description": "that listen; the song's own where none are named"},
    "lyrics": {"type": "string", "description": "those of its tags where there are none"},
}
_INTERVAL = {"type": "integer", "minimum": 0, "maximum": STEPS_MOST}
_TRAIN_BODY = {
    "kind": {"type": "string", "enum": (TRAIN_LORA,)},
    "dataset": {"type": "string"},
    "name": {"type": "string", "description": "of the adapter: letters, digits, - and _"},
    "model": {"type": "string", "description": "the stage model to adapt, such as tiny-l"},
    "trigger": {"type": "string", "description": "a word that every caption begins with"},
    "vram": {"type": "integer", "minimum": min(PRESETS), "description": "GB of a GPU for which rank and crop fit"},
    "settings": of_object(
        {
            name: {**schema, **({"maximum": SETTINGS_MOST[name]} if name in SETTINGS_MOST else {})}
            for name, schema in described(LoraSettings, _TRAINING).items()
        }
    ),
    "preserve_captions": {
        "type": "array",
        "maxItems": CAPTIONS_MOST,
        "description": "of the songs that the base makes itself: captions or songs; many styles where none are given",
    },
    "save_every": {**_INTERVAL, "minimum": 1, "default": Intervals.save, "description": "steps between checkpoints"},
    "measure_every": {**_INTERVAL, "default": Intervals.measure, "description": "steps between losses held out"},
    "preview_every": {
        **_INTERVAL,
        "default": Intervals.preview,
        "description": "steps between previews: a song with the adapter and without; 0: none",
    },
    "keep": {
        "type": "integer",
        "minimum": 1,
        "maximum": KEEP_MOST,
        "default": Intervals.keep,
        "description": "checkpoints",
    },
    "text_encoder": {"type": "string", "description": "another one than the model's cascade has"},
    "vocoder": {"type": "string", "description": "another one than the model's cascade has"},
    "dtype": {"type": "string", "enum": TRAINING_DTYPE_NAMES, "description": "that which suits the device if none"},
}
LABEL_BODY = {
    "kind": {"type": "string", "enum": (LABEL,)},
    "dataset": {"type": "string"},
    "planner": _PLANNER,
    "models": _TOKENIZER,
    "seed": {"type": "integer", "minimum": 0},
    "all": {"type": "boolean", "default": False, "description": "clips that have a caption too"},
}
JOB = {
    "oneOf": [
        of_object({name: body[name] for name in names}, required, title)
        for title, names, body, required in (
            ("songs", (*SONG_FIELDS, *TAKE_FIELDS, *FILE_FIELDS), _SONGS_BODY, ()),
            ("an answer of a planner", ANSWER_FIELDS, _ANSWER_BODY, ("kind",)),
            ("what is heard in a sound", LISTEN_FIELDS, _LISTEN_BODY, ("kind", "source")),
            ("a training", TRAIN_FIELDS, _TRAIN_BODY, ("kind", "dataset", "name", "model")),
            ("labels of a dataset", LABEL_FIELDS, LABEL_BODY, ("kind", "dataset")),
        )
    ]
}

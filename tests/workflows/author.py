"""Makes workflows/*.json and their pictures with ComfyUI's own front end, from the definitions in this file.

    python tests/workflows/author.py [NAME...]

A definition is a prompt, where its nodes stand, groups and notes. The front end turns prompts into its own format, so
saved values are what it would save itself; widths and heights are its own too. Needs what tests/comfyui needs.
"""

import argparse
import json
import runpy
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMN_GAP, ROW_GAP, TITLE = 60, 50, 30
GROUP_MARGIN, GROUP_TITLE = 20, 60
NOTE_LINE = 24
# Width and height at least; the front end makes them larger where a node's content needs it.
SIZES = {
    "AceStepSong": (380, 420),
    "AceStepTextEncode": (270, 0),
    "AceStepEncodeAudio": (270, 0),
    "AceStepStageL": (320, 0),
    "AceStepStageM": (320, 0),
    "AceStepStageS": (320, 0),
    "AceStepVocode": (420, 160),
    "AceStepSaveAudio": (420, 0),
    "AceStepLoadCascade": (320, 350),  # it grows by what it tells of memory
    "AceStepLoraDataset": (300, 260),
    "AceStepTrainLora": (420, 1020),
    "AceStepApplyLora": (340, 200),
    "PreviewImage": (420, 280),
    "SaveVideo": (420, 400),
}
# Height that a node is left where it needs more than its own: in Nodes 2.0, and by the text, picture and players that a
# run adds.
ROOM = {
    "AceStepLoadStageModel": 110,
    "AceStepLoadTextEncoder": 110,
    "AceStepLoadVocoder": 110,
    "AceStepTextEncode": 110,
    "AceStepEmptyLatent": 110,
    "AceStepEncodeAudio": 150,
    "AceStepReferenceEncode": 190,
    "AceStepStageL": 660,
    "AceStepStageM": 660,
    "AceStepStageS": 660,
    "AceStepSaveAudio": 380,
    "AceStepSpectrogram": 170,
}
CUSTOM_STRETCH, SAVED_ROW = 60, 58  # more: for a stage's start and end, and for each song after the first
COLOURS = {"load": "#3f789e", "song": "#8a8", "stages": "#b58b2a", "sound": "#a1309b", "other": "#88a"}

runpy.run_path(str(ROOT / "tests" / "conftest.py"))  # the names under which tests import

from comfyui_tests import browser as browsers  # noqa: E402
from comfyui_tests import install, material, prompts  # noqa: E402
from comfyui_tests import server as servers  # noqa: E402


@dataclass
class Definition:
    """`columns`: node ids from left to right, each column from top to bottom. `groups`: title -> (colour, node ids).
    `notes`: column -> a note at its foot.
    """

    prompt: dict
    columns: list[list[str]]
    groups: dict[str, tuple[str, list[str]]]
    notes: dict[int, str] = field(default_factory=dict)


# ---- the workflows ---------------------------------------------------------------------------------------------------

DANCE = "Upbeat electronic dance with synth bass, drums, chords and a saw lead"
CHIPTUNE = "happy chiptune with drums, triangle bass, pulse chords, pulse lead and arpeggio"
LOFI = "Calm lo-fi beat with electric piano, warm pad, bass and drums"


def song(caption: str, seconds: float = 30.0, **known) -> dict:
    return prompts.node("AceStepSong", caption=caption, seconds=seconds, **{**prompts.AUTO_SONG, **known})


def cascade() -> dict:
    tiny = {slot: f"tiny-{slot}" for slot in prompts.STAGES}
    return prompts.node("AceStepLoadCascade", **tiny, text_encoder="auto", vocoder="auto", dtype="auto")


def stage(
    letter: str,
    latent: list,
    seed: int,
    prefix: str = "",
    reference: list | None = None,
    model: list | None = None,
    **settings,
) -> dict:
    links = {"model": model or ["cascade", "LMS".index(letter)], "text": [f"{prefix}text", 0], "latent": latent}
    links |= {"reference": reference} if reference else {}
    return prompts.node(f"AceStepStage{letter}", **links, seed=seed, **{**prompts.AUTO_STAGE, **settings})


def told(prefix: str, wish: dict, batch_size: int = 1) -> dict:
    """A song's nodes before its stages."""
    return {
        f"{prefix}song": wish,
        f"{prefix}text": prompts.node("AceStepTextEncode", text_encoder=["cascade", 3], song=[f"{prefix}song", 0]),
        f"{prefix}latent": prompts.node(
            "AceStepEmptyLatent", vocoder=["cascade", 4], song=[f"{prefix}song", 0], batch_size=batch_size
        ),
    }


def stages(seed: int, prefix: str = "", reference: list | None = None) -> dict:
    """The three stages on their own settings."""
    before, made = [f"{prefix}latent", 0], {}
    for letter in "LMS":
        made[prefix + letter] = stage(letter, before, seed, prefix, reference)
        before = [prefix + letter, 0]
    return made


def worn_stages(seed: int, lora: str) -> dict:
    """The three stages of the same song, the first of which wears an adapter."""
    return {
        "worn_L": stage("L", ["latent", 0], seed, model=[lora, 0]),
        "worn_M": stage("M", ["worn_L", 0], seed),
        "worn_S": stage("S", ["worn_M", 0], seed),
    }


def apply_lora(**more) -> dict:
    return prompts.node("AceStepApplyLora", model=["cascade", 0], adapter="none", strength=1.0, **more)


def vocode(latent: str, output: int = 0, **more) -> dict:
    return prompts.node("AceStepVocode", vocoder=["cascade", 4], latent=[latent, output], **more)


def save(audio: str, name: str, **more) -> dict:
    return prompts.node(
        "AceStepSaveAudio",
        audio=[audio, 0],
        filename_prefix=f"audio/{name}",
        title="",
        artist="",
        **{"format": "flac", "format.bit_depth": "24", "loudness": "as it is", **more},
    )


def spectrogram(audio: str, width: int = 1024, height: int = 512) -> dict:
    return prompts.node("AceStepSpectrogram", audio=[audio, 0], width=width, height=height, fmax_hz=16000, range_db=80)


def picture(image: str, output: int = 0) -> dict:
    return prompts.node("PreviewImage", images=[image, output])


def clip() -> dict:
    """Twelve seconds of another song, where a user would put Load Audio."""
    quick = {"steps": 10, "stretch": "custom", "stretch.start": 1.0, "stretch.end": 0.0}
    asked = told("clip_", song(LOFI, 12.0, bpm=84, key="D minor"))
    return {
        **asked,
        "clip_L": stage("L", ["clip_latent", 0], 4, "clip_", **quick),
        "clip": vocode("clip_L"),
    }


def heard_as(use: str) -> dict:
    return prompts.node("AceStepReferenceEncode", vocoder=["cascade", 4], audio=["clip", 0], use=use)


CLIP_NODES = ["clip_song", "clip_text", "clip_latent", "clip_L", "clip"]
TELL = ["song", "text", "latent"]
LMS = ["L", "M", "S"]


def text_to_music_cascade() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            **told("", song(DANCE, bpm=124, key="A minor")),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "song", song=["song", 0]),
            "spectrogram": spectrogram("vocode"),
            "picture": picture("spectrogram"),
        },
        [["cascade", "text", "latent"], ["song"], ["L"], ["M"], ["S"], ["vocode", "save"], ["spectrogram", "picture"]],
        {
            "1 · Models and song": ("song", ["cascade", *TELL]),
            "2 · Cascade: structure → harmony → detail": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save", "spectrogram", "picture"]),
        },
        {
            1: "Write what you want to hear and press **Run**. The embedded *tiny* cascade needs no download and no "
            "GPU; put published models into **Load Cascade** for more.",
            3: "The strip on each stage shows how far it carries the music from noise (left) to sound (right). The "
            "first stage's seed decides the song (those of M and S count only with the solver **sde** or on finished "
            "music); the same seed on all three gives what the command line makes from it.",
        },
    )


def text_to_music_one_model() -> Definition:
    alone = {"stretch": "custom", "stretch.start": 1.0, "stretch.end": 0.0}
    links = {"model": ["model", 0], "text": ["text", 0], "latent": ["latent", 0]}
    return Definition(
        {
            "model": prompts.node("AceStepLoadStageModel", model="tiny-l", dtype="auto"),
            "encoder": prompts.node("AceStepLoadTextEncoder", text_encoder="tiny-text", dtype="auto"),
            "vocoder": prompts.node("AceStepLoadVocoder", vocoder="tiny-vocoder"),
            "song": song("Dreamy synthwave with warm pad, arpeggio and drums", bpm=96),
            "text": prompts.node("AceStepTextEncode", text_encoder=["encoder", 0], song=["song", 0]),
            "latent": prompts.node("AceStepEmptyLatent", vocoder=["vocoder", 0], song=["song", 0], batch_size=1),
            "L": prompts.node("AceStepStageL", **links, seed=11, **{**prompts.AUTO_STAGE, **alone}),
            "vocode": prompts.node("AceStepVocode", vocoder=["vocoder", 0], latent=["L", 0]),
            "save": save("vocode", "one-model", song=["song", 0]),
        },
        [["model", "encoder", "vocoder"], ["song"], ["text", "latent"], ["L"], ["vocode", "save"]],
        {
            "1 · One model and its parts": ("load", ["model", "encoder", "vocoder"]),
            "2 · Song": ("song", ["song", "text", "latent"]),
            "3 · One stage, all the way": ("stages", ["L"]),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {3: "**stretch** is custom, from 1 (noise) to 0 (music): one model plays the whole way alone."},
    )


def reference_to_music() -> Definition:
    heard = ["reference", 0]
    return Definition(
        {
            "cascade": cascade(),
            **clip(),
            "reference": prompts.node(
                "AceStepReferenceEncode", vocoder=["cascade", 4], audio=["clip", 0], use="timbre"
            ),
            **told("", song("Energetic funk with bass, organ and drums", bpm=108)),
            **stages(21, reference=heard),
            "vocode": vocode("S"),
            "save": save("vocode", "reference", song=["song", 0]),
        },
        [
            ["cascade", "clip_text", "clip_latent"],
            ["clip_song"],
            ["clip_L", "clip"],
            ["reference", "text", "latent"],
            ["song"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
        ],
        {
            "1 · A clip to take after": ("load", ["cascade", *CLIP_NODES]),
            "2 · Another song in its sound": ("song", ["reference", *TELL]),
            "3 · Cascade": ("stages", LMS),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            2: "Here a short song stands in for your clip. Put **Load Audio** in its place: any length, rate and "
            "format. Chain several **Reference Encode** to give several clips.",
            5: "Give the reference to every stage: each model hears the clip with its own ears.",
        },
    )


def continuation() -> Definition:
    heard = ["reference", 0]
    return Definition(
        {
            "cascade": cascade(),
            **clip(),
            "reference": heard_as("continuation"),
            **told("", song(LOFI + ", then a flute melody", bpm=84, key="D minor")),
            **stages(5, reference=heard),
            "vocode": vocode("S", reference=heard),
            "save": save("vocode", "continued", song=["song", 0]),
            "spectrogram": spectrogram("vocode"),
            "picture": picture("spectrogram"),
        },
        [
            ["cascade", "clip_text", "clip_latent"],
            ["clip_song"],
            ["clip_L", "clip"],
            ["reference", "text", "latent"],
            ["song"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
            ["spectrogram", "picture"],
        ],
        {
            "1 · The beginning: 12 s": ("load", ["cascade", *CLIP_NODES]),
            "2 · The whole song: 30 s": ("song", ["reference", *TELL]),
            "3 · Cascade": ("stages", LMS),
            "4 · Sound": ("sound", ["vocode", "save", "spectrogram", "picture"]),
        },
        {
            2: "Here a short song stands in for your clip. Put **Load Audio** in its place.",
            4: "**seconds** is the length of the whole, the clip counted in.",
            6: "**Vocode** gets the reference too: the clip's own samples stay as they were, with a short crossfade.",
        },
    )


def listen_after_each_stage() -> Definition:
    prompt = {"cascade": cascade(), **told("", song(DANCE, 20.0, bpm=124, key="A minor")), **stages(7)}
    columns, groups = [["cascade", "text", "latent"], ["song"]], {"1 · Models and song": ("song", ["cascade", *TELL])}
    for number, letter in enumerate(LMS, start=2):
        prompt |= {
            f"vocode_{letter}": vocode(letter, 1),
            f"save_{letter}": save(f"vocode_{letter}", f"after-{letter}", song=["song", 0]),
            f"spectrogram_{letter}": spectrogram(f"vocode_{letter}", 768, 384),
            f"picture_{letter}": picture(f"spectrogram_{letter}"),
        }
        columns.append([letter, *(f"{part}_{letter}" for part in ("vocode", "save", "spectrogram", "picture"))])
        groups[f"{number} · After {letter}"] = ("stages", columns[-1])
    return Definition(
        prompt,
        columns,
        groups,
        {1: "**x0** of a stage is the finished music as that stage hears it now. After S it is the song itself."},
    )


def refine_with_stage_s() -> Definition:
    again = {"stretch": "custom", "stretch.start": 0.4, "stretch.end": 0.0, "steps": 8}
    return Definition(
        {
            "cascade": cascade(),
            **clip(),
            "encode": prompts.node("AceStepEncodeAudio", vocoder=["cascade", 4], audio=["clip", 0]),
            "song": song(LOFI, 12.0, bpm=84, key="D minor"),
            "text": prompts.node("AceStepTextEncode", text_encoder=["cascade", 3], song=["song", 0]),
            "S": stage("S", ["encode", 0], 3, **again),
            "vocode": vocode("S"),
            "save": save("vocode", "refined", song=["song", 0]),
            "before": save("clip", "before", song=["clip_song", 0]),
        },
        [
            ["cascade", "clip_text", "clip_latent"],
            ["clip_song"],
            ["clip_L", "clip"],
            ["encode", "text"],
            ["song"],
            ["S"],
            ["vocode", "save"],
            ["before"],
        ],
        {
            "1 · Any music": ("load", ["cascade", *CLIP_NODES]),
            "2 · As latents, and what it should sound like": ("song", ["encode", "song", "text"]),
            "3 · Made anew from t = 0.4": ("stages", ["S"]),
            "4 · After": ("sound", ["vocode", "save"]),
            "Before": ("other", ["before"]),
        },
        {
            2: "Here a short song stands in for your music. Put **Load Audio** in its place.",
            5: "**start** decides how much is made anew: 0.2 changes little, 0.6 nearly all.",
        },
    )


def batch_of_seeds() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            **told("", song("Happy house with piano, synth bass and drums", 15.0, bpm=120), batch_size=4),
            **stages(100),
            "vocode": vocode("S"),
            "save": save("vocode", "seeds", song=["song", 0]),
        },
        [["cascade", "text", "latent"], ["song"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Four songs at once": ("song", ["cascade", *TELL]),
            "2 · Cascade": ("stages", LMS),
            "3 · Four files, each with its seed in the tags": ("sound", ["vocode", "save"]),
        },
        {
            1: "**batch_size** of **Empty Latent** is 4. Song i is made from seed + i and equals the one made alone "
            "with that seed: found one you like? Set batch_size to 1 and its seed.",
        },
    )


def music_for_a_video() -> Definition:
    size = {"width": 640, "height": 360}
    return Definition(
        {
            "cascade": cascade(),
            **told("", song("Driving techno with drums, synth bass and arpeggio", 10.0, bpm=128)),
            **stages(12),
            "vocode": vocode("S"),
            "envelope": prompts.node(
                "AceStepEnvelope", audio=["vocode", 0], fps=12.0, frames=0, measure="onsets", smoothing=0.15
            ),
            "spectrogram": spectrogram("vocode", 640, 360),
            "colour": prompts.node("EmptyImage", **size, batch_size=1, color=0x2A0E5A),
            "flash": prompts.node(
                "ImageBlend",
                image1=["colour", 0],
                image2=["spectrogram", 0],
                blend_factor=["envelope", 0],
                blend_mode="screen",
            ),
            "frames": prompts.node("RebatchImages", images=["flash", 0], batch_size=4096),
            "video": prompts.node("CreateVideo", images=["frames", 0], fps=12.0, audio=["vocode", 0]),
            "file": prompts.node(
                "SaveVideo", video=["video", 0], filename_prefix="video/song", format="auto", codec="auto"
            ),
            "save": save("vocode", "video-song", song=["song", 0]),
        },
        [
            ["cascade", "text", "latent"],
            ["song"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
            ["envelope", "spectrogram", "colour"],
            ["flash", "frames", "video"],
            ["file"],
        ],
        {
            "1 · Models and song": ("song", ["cascade", *TELL]),
            "2 · Cascade": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
            "4 · One value for each picture": ("song", ["envelope", "spectrogram", "colour"]),
            "5 · Pictures that flash with the drums": ("other", ["flash", "frames", "video", "file"]),
        },
        {
            6: "**Envelope** gives one value a picture, so the node that takes it runs once a picture. Any number of "
            "an image node can be driven so: strength, scale, denoise.",
        },
    )


def song_with_lora() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "lora": apply_lora(),
            **told("", song(DANCE, bpm=124, key="A minor")),
            **stages(7),
            "L": stage("L", ["latent", 0], 7, model=["lora", 0]),
            "vocode": vocode("S"),
            "save": save("vocode", "with-lora", song=["song", 0]),
        },
        [["cascade", "text", "latent"], ["lora", "song"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Models, adapter and song": ("song", ["cascade", "lora", *TELL]),
            "2 · Cascade: L wears the adapter": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            1: "Choose your adapter in **Apply LoRA**: it lists those for ACE-Step 1.5 in ComfyUI's **loras** folders. "
            "None there yet? The workflow *train_a_lora_and_hear_it* makes one in a minute.",
            2: "An adapter fits the model that it was trained on. Put one **Apply LoRA** behind another to stack them, "
            "and one before M or S for adapters of those.",
        },
    )


def lora_a_b_at_one_seed() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "lora": apply_lora(),
            **told("", song(CHIPTUNE, 15.0, bpm=140)),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "a-without", song=["song", 0]),
            **worn_stages(7, "lora"),
            "worn_vocode": vocode("worn_S"),
            "worn_save": save("worn_vocode", "b-with", song=["song", 0]),
        },
        [
            ["cascade", "text", "latent"],
            ["song", "lora"],
            ["L", "worn_L"],
            ["M", "worn_M"],
            ["S", "worn_S"],
            ["vocode", "save", "worn_vocode", "worn_save"],
        ],
        {
            "1 · Models, song and adapter": ("song", ["cascade", "lora", *TELL]),
            "2 · A: without, B: with": ("stages", [*LMS, "worn_L", "worn_M", "worn_S"]),
            "3 · Twice the same song": ("sound", ["vocode", "save", "worn_vocode", "worn_save"]),
        },
        {
            1: "Choose your adapter in **Apply LoRA**; with **none**, A and B are the same to the last sample. None "
            "there yet? The workflow *train_a_lora_and_hear_it* makes one in a minute.",
            2: "Text, seeds and settings are the same above and below, so all that differs is the adapter. Its model "
            "is loaded once.",
        },
    )


def train_a_lora_and_hear_it() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "dataset": prompts.node("AceStepLoraDataset", clips="demo clips", trigger=""),
            "train": prompts.node(
                "AceStepTrainLora",
                model=["cascade", 0],
                text_encoder=["cascade", 3],
                vocoder=["cascade", 4],
                dataset=["dataset", 0],
                **prompts.TRAINING,
            ),
            "lora": apply_lora(trained=["train", 0]),
            "curve": picture("train", 2),
            **told("", song(CHIPTUNE, 10.0, bpm=140)),
            **worn_stages(7, "lora"),
            "worn_vocode": vocode("worn_S"),
            "worn_save": save("worn_vocode", "with-lora", song=["song", 0]),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "without-lora", song=["song", 0]),
        },
        [
            ["cascade", "dataset"],
            ["train"],
            ["lora", "curve", "text", "latent"],
            ["song"],
            ["worn_L", "L"],
            ["worn_M", "M"],
            ["worn_S", "S"],
            ["worn_vocode", "worn_save", "vocode", "save"],
        ],
        {
            "1 · Clips": ("load", ["cascade", "dataset"]),
            "2 · Teach stage L": ("stages", ["train"]),
            "3 · Wear it, and ask for a song": ("song", ["lora", "curve", *TELL]),
            "4 · With the adapter above, without below": ("stages", [*LMS, "worn_L", "worn_M", "worn_S"]),
            "5 · Hear both": ("sound", ["vocode", "save", "worn_vocode", "worn_save"]),
        },
        {
            0: "Press **Run**: this pack's own band plays eight chiptunes, a style that the embedded models never "
            "heard, and stage L learns it in about a minute.\n\nThen yours: set **clips** to *folder*, and give "
            "**name** a name of its own.",
            3: "**Cancel** stops the training and keeps it; **Run** goes on from there. More **steps** go on as well.",
        },
    )


WORKFLOWS = {
    make.__name__: make
    for make in (
        text_to_music_cascade,
        text_to_music_one_model,
        reference_to_music,
        continuation,
        listen_after_each_stage,
        refine_with_stage_s,
        batch_of_seeds,
        music_for_a_video,
        song_with_lora,
        lora_a_b_at_one_seed,
        train_a_lora_and_hear_it,
    )
}


# ---- laying them out -------------------------------------------------------------------------------------------------


def numbered(prompt: dict) -> dict:
    """The prompt with numbers for names, as the front end would give them."""
    number = {name: str(i) for i, name in enumerate(prompt, start=1)}

    def link(value):
        return [number[value[0]], value[1]] if isinstance(value, list) else value

    return {
        number[name]: {**node, "inputs": {key: link(value) for key, value in node["inputs"].items()}}
        for name, node in prompt.items()
    }


def laid_out(made: Definition, drawn: dict) -> dict:
    """The front end's workflow with every node in its place, in groups and beside notes."""
    nodes = {name: node for name, node in zip(made.prompt, sorted(drawn["nodes"], key=lambda node: int(node["id"])))}
    x, boxes, notes = 0, {}, []
    for number, column in enumerate(made.columns):
        y, width = 0, max(_size(nodes[name])[0] for name in column)
        for name in column:
            node = nodes[name]
            node["size"] = [width, _size(node)[1]]
            node["pos"] = [x, y]
            height = max(node["size"][1], _room(made.prompt, name))
            boxes[name] = (x, y, width, height)
            y += height + TITLE + ROW_GAP
        if number in made.notes:
            height = NOTE_LINE * (2 + len(made.notes[number]) * 7 // width)
            notes.append(_note(made.notes[number], (x, y), (width, height), len(nodes) + 1 + len(notes)))
            boxes[f"note below {column[-1]}"] = (x, y, width, height)
        x += width + COLUMN_GAP
    drawn["nodes"] += notes
    drawn["last_node_id"] = len(drawn["nodes"])
    drawn["extra"].pop("ds", None)  # without a view of its own, the front end shows the whole graph
    drawn["groups"] = [
        _group(number, title, COLOURS[colour], [boxes[key] for key in boxes if key.split(" below ")[-1] in names])
        for number, (title, (colour, names)) in enumerate(made.groups.items(), start=1)
    ]
    return drawn


def _size(node: dict) -> tuple[int, int]:
    return tuple(map(max, node["size"], SIZES.get(node["type"], (0, 0))))


def _room(prompt: dict, name: str) -> int:
    kind, inputs = prompt[name]["class_type"], prompt[name]["inputs"]
    room = ROOM.get(kind, 0)
    if inputs.get("stretch") == "custom":
        room += CUSTOM_STRETCH
    if kind == "AceStepSaveAudio":
        room += SAVED_ROW * (prompt["latent"]["inputs"]["batch_size"] - 1 if "latent" in prompt else 0)
    return room


def _note(text: str, pos: tuple, size: tuple, number: int) -> dict:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": list(pos),
        "size": list(size),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Note",
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _group(number: int, title: str, colour: str, boxes: list[tuple]) -> dict:
    left, top = min(box[0] for box in boxes) - GROUP_MARGIN, min(box[1] for box in boxes) - TITLE - GROUP_TITLE
    right, bottom = (max(box[axis] + box[axis + 2] for box in boxes) + GROUP_MARGIN for axis in (0, 1))
    bounding = [left, top, right - left, bottom - top]
    return {"id": number, "title": title, "bounding": bounding, "color": colour, "font_size": 24, "flags": {}}


def make(names: list[str], pictures: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        material.lay_out(base)
        server = servers.Server(install.find_comfyui(), base)
        try:
            server.wait()
            for name in names:
                _make_one(name, server.client.url, base, pictures)
        finally:
            server.stop()


def _make_one(name: str, url: str, base: Path, pictures: bool) -> None:
    made, browser = WORKFLOWS[name](), browsers.find_browser()
    prompt, target = base / "prompt.json", ROOT / "workflows" / f"{name}.json"
    prompt.write_text(json.dumps(numbered(made.prompt)))
    drawn = browser.open(url, prompt)[prompt.name]["ui"]
    target.write_text(json.dumps(laid_out(made, drawn), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if pictures:
        shot = ["--shot", str(target.with_suffix(".jpg"))]
        report = browser.open(url, target, run=True, options=shot, timeout=600)[target.name]
        sys.stdout.write(f"{name}: {report['run']['status']} {report['missing']} {report['consoleErrors']}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*WORKFLOWS, []], help="which (default: all)")
    parser.add_argument(
        "--no-pictures", dest="pictures", action="store_false", help="only the files, without running them"
    )
    given = parser.parse_args()
    make(given.names or list(WORKFLOWS), given.pictures)

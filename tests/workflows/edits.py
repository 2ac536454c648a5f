"""The workflows that edit music."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from comfyui_tests import prompts
from workflows_tests.definitions import (
    LMS,
    LOFI,
    NEXT_ROW,
    TEXT,
    YOUR_CLIP,
    Definition,
    before_stages,
    cascade,
    example_clip,
    save,
    song,
    stages,
    vocode,
)

CLIP, SCORE, SCORE_SONG = ["clip", 0], ["score", 0], ["score", 1]
CLIP_SONG = {"seconds": 12.0, "bpm": 80, "key": "D minor"}
THREE_WIRES = (
    "Three wires lead on: **song** to Text Encode, **reference** to every stage and to Vocode, **latent** to the first "
    "stage."
)
BASE = "Published turbo models do not know the task: take base models."
EDIT_COLUMNS = [["cascade", "clip"], ["song"], ["edit", "text"], ["L"], ["M"], ["S"], ["vocode", "save"]]
SCORE_COLUMNS = [["cascade"], ["song"], ["score"], *EDIT_COLUMNS[2:]]


# ---- nodes -----------------------------------------------------------------------------------------------------------


def edit(kind: str, audio: Sequence = CLIP, asked: Sequence = ("song", 0), **more) -> dict:
    """A node that edits music."""
    links = {"vocoder": ["cascade", 4], "song": list(asked), "audio": list(audio)}
    return prompts.node(f"AceStep{kind}", **links, batch_size=1, **more)


def play_score(score: str) -> dict:
    return prompts.node("AceStepPlayScore", score=score, instrument="as written", song=["song", 0])


def made_of(edit: str, seed: int, name: str, prefix: str = "", **more) -> dict:
    """The nodes that make an edit's sound: names begin with `prefix`. `more`: inputs of the stages."""
    reference = {"reference": [edit, 1]}
    text = prompts.node("AceStepTextEncode", text_encoder=["cascade", 3], song=[edit, 0])
    made = {f"{prefix}text": text, **stages(seed, prefix, **reference, **more)}
    for letter in LMS:
        made[f"{prefix}{letter}"]["inputs"]["text"] = [f"{prefix}text", 0]
    made[f"{prefix}L"]["inputs"]["latent"] = [edit, 2]
    sound, file = f"{prefix}vocode", f"{prefix}save"
    made |= {sound: vocode(f"{prefix}S", **reference), file: save(sound, name)}
    made[file]["inputs"]["song"] = [edit, 0]
    return made


def edit_of_the_clip(
    kind: str, request: dict, widgets: dict, name: str, title: str, notes: Mapping[int, str], **stages_take
) -> Definition:
    """The example clip, edited by one node."""
    return Definition(
        {
            "cascade": cascade(),
            "clip": example_clip(),
            "song": request,
            "edit": edit(kind, **widgets),
            **made_of("edit", 7, name, **stages_take),
        },
        EDIT_COLUMNS,
        {
            "1 · Models, a clip, its song": ("song", ["cascade", "clip", "song"]),
            f"2 · {title}": ("load", ["edit", "text"]),
            "3 · Cascade": ("stages", LMS),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {0: YOUR_CLIP + "1 to 600 s, any format.", **notes},
        shown=["song", "edit", "text"],
    )


def edit_of_a_score(
    score: str, made: dict, request: dict, name: str, titles: tuple[str, str], note: str, **stages_take
) -> Definition:
    """A score that the band plays, edited by one node."""
    return Definition(
        {
            "cascade": cascade(),
            "song": request,
            "score": play_score(score),
            "edit": made,
            **made_of("edit", 41, name, **stages_take),
        },
        SCORE_COLUMNS,
        {
            f"1 · {titles[0]}": ("song", ["cascade", "song", "score"]),
            f"2 · {titles[1]}": ("load", ["edit", "text"]),
            "3 · Cascade": ("stages", LMS),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            2: "For a MIDI file of your own, put it into ComfyUI's input folder, press **R**, and choose it in "
            "**score**. For a recording, connect **Load Audio** to `audio` and **Song** to `song` of the next node.",
            3: f"{note} {THREE_WIRES}",
        },
        shown=["song", "score", "edit"],
    )


# ---- the workflows ---------------------------------------------------------------------------------------------------


def repaint_a_region() -> Definition:
    return edit_of_the_clip(
        "Repaint",
        song(f"{LOFI}, with a flute solo", **CLIP_SONG),
        {"regions": "bars 3", "strength": 0.5},
        "repainted",
        "Bar 3 is made anew",
        {
            2: "**regions** takes seconds (`4-8`) or bars (`bars 3`, `bars 2-3`), and several of them with commas. "
            f"Outside, the file stays as it was, to the sample. {THREE_WIRES}",
        },
    )


def fix_one_line_of_the_lyrics() -> Definition:
    lyrics = "[Verse]\nThe morning light is on the wall\n{}\nAnd I can hear the ocean call"
    asked, caption = {"bpm": 100, "key": "C major", "language": "English"}, "Warm folk with acoustic guitar and a voice"
    first, second = (lyrics.format(line) for line in ("I wait for you", "You walk with me"))
    again = [f"new_{name}" for name in ("song", "edit", "text", *LMS, "vocode", "save")]
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(song(caption, 15.0, lyrics=first, **asked)),
            **stages(12),
            "vocode": vocode("S"),
            "save": save("vocode", "first"),
            "new_song": song(caption, 15.0, lyrics=second, **asked),
            "new_edit": edit("Repaint", ["vocode", 0], ["new_song", 0], latent=["S", 0], regions="5-10", strength=0.5),
            **made_of("new_edit", 13, "fixed", "new_"),
        },
        [
            ["cascade"],
            ["song", NEXT_ROW, "new_song"],
            ["text", "latent", NEXT_ROW, "new_edit", "new_text"],
            *([letter, NEXT_ROW, f"new_{letter}"] for letter in LMS),
            ["vocode", "save", NEXT_ROW, "new_vocode", "new_save"],
        ],
        {
            "1 · A song": ("song", ["cascade", *TEXT, *LMS, "vocode", "save"]),
            "2 · The same song with another second line": ("stages", again),
        },
        {
            1: "Give **all** lyrics, with the changed line in its place. The embedded models hum more than they "
            "sing: choose published ones in **Load Cascade** to hear the words.",
            2: "**latent** is the song's own, so that nothing is encoded. For a file, put **Load Audio** in place of "
            "Vocode and leave **latent** free. **regions** is where the line is sung.",
        },
        {"new_song": "Song: another second line", "save": "Save Audio: before", "new_save": "Save Audio: after"},
        shown=["new_song", "new_edit", "new_text"],
    )


def extend_both_ways() -> Definition:
    return edit_of_the_clip(
        "Extend",
        song(LOFI, **{**CLIP_SONG, "seconds": 24.0}),
        {"before": 3.0, "after": 9.0, "strength": 0.0},
        "extended",
        "3 s before it, 9 s behind it",
        {2: f"The clip stays as it is, to the sample. At 80 bpm a bar is 3 s long. {THREE_WIRES}"},
    )


def four_variations() -> Definition:
    reference = {"reference": ["retake", 0]}
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(song("Happy house with piano, synth bass and drums", 15.0, bpm=120)),
            "retake": prompts.node("AceStepRetake", amount=0.3, seed=0, count=4),
            **stages(100, **reference),
            "vocode": vocode("S", **reference),
            "save": save("vocode", "variation"),
        },
        [["cascade"], ["song"], ["text", "latent", "retake"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · A song, and other noise for it": ("song", ["cascade", *TEXT, "retake"]),
            "2 · Cascade": ("stages", LMS),
            "3 · Four variations": ("sound", ["vocode", "save"]),
        },
        {
            1: "The seed of **Stage L** decides which song is varied. **amount**: 0.05 to 0.15 changes details, 0.5 "
            "and more makes another take.",
            2: "**count** is 4: the nodes behind run four times, with the seeds 0, 1, 2 and 3 for the other noise.",
        },
        shown=["retake", "save"],
    )


def cover_a_clip() -> Definition:
    return edit_of_the_clip(
        "Cover",
        song("Energetic synthwave with saw lead, synth bass and drums", **CLIP_SONG),
        {"structure": 0.6, "closeness": 0.0, "codes": True},
        "cover",
        "Its structure for 60 % of the steps",
        {
            2: "**structure**: 1 keeps melody and form to the end, less lets them go. **closeness** above 0 begins "
            "with the clip's own sound. **codes** leaves the timbre free; it needs models with an audio tokenizer. "
            f"{THREE_WIRES}",
        },
    )


def cover_a_melody() -> Definition:
    return edit_of_a_score(
        "example",
        edit("Cover", SCORE, SCORE_SONG, structure=0.6, closeness=0.0, codes=True),
        song("Calm ambient with warm pad, electric piano and flute"),
        "melody",
        ("Words, and a melody of your own", "Its structure for 60 % of the steps"),
        "With **codes** the instruments of the score leave no trace; without, the cover keeps more of their sound.",
    )


def all_stems_of_a_song() -> Definition:
    made = edit_of_the_clip(
        "ExtractStem",
        song(LOFI, **CLIP_SONG),
        {"tracks": "drums, bass, keyboard, synth"},
        "stem",
        "One stem after the other",
        {
            2: "The nodes behind run once for each stem; its **name** is the title in Save Audio. No song is "
            f"connected: words about the whole mix would fight the stem. {BASE} {THREE_WIRES}",
        },
        **{"guidance": "apg", "guidance.scale": 2.0},
    )
    return _without_song(made)


def _without_song(made: Definition) -> Definition:
    """Stems are taken out without words; their names are the files' titles."""
    prompt = {name: node for name, node in made.prompt.items() if name != "song"}
    del prompt["edit"]["inputs"]["song"]
    prompt["save"]["inputs"]["title"] = ["edit", 3]
    (_, (colour, names)), *others = made.groups.items()
    groups = {"1 · Models, a mix": (colour, [one for one in names if one != "song"]), **dict(others)}
    columns, notes = [one for one in made.columns if one != ["song"]], {0: made.notes[0], 1: made.notes[2]}
    return replace(made, prompt=prompt, columns=columns, groups=groups, notes=notes, shown=["edit", "text"])


def add_a_bass() -> Definition:
    return edit_of_a_score(
        "example",
        edit("AddStem", SCORE, SCORE_SONG, track="bass", regions="", mix=True),
        song("Happy folk with acoustic guitar, flute and upright bass"),
        "bass",
        ("A mix without a bass", "A bass for it"),
        f"**mix** is on: the bass and the mix together. Off, the bass comes alone. {BASE}",
        **{"guidance": "apg", "guidance.scale": 2.0},
    )


def accompany_a_voice() -> Definition:
    return edit_of_a_score(
        "example melody",
        edit("Complete", SCORE, SCORE_SONG, tracks="guitar, bass, drums"),
        song("Calm folk with flute, acoustic guitar, upright bass and drums"),
        "accompanied",
        ("A lone voice, here a flute", "A band for it"),
        f"The result is the whole mix. With a voice, give its lyrics in **Song**. {BASE}",
        **{"guidance": "apg", "guidance.scale": 2.0},
    )


def morph_the_words() -> Definition:
    made = edit_of_the_clip(
        "Morph",
        song("Calm lo-fi beat with organ, warm pad, bass and drums", **CLIP_SONG),
        {"source_song": ["source_song", 0], "morph_begin": 0.2, "morph_end": 1.0, "averages": 1},
        "morphed",
        "From one description to the other",
        {
            1: "The first **Song** is what the clip is to become, the second one what it is. Let them differ only in "
            "the words that change, here *organ* for *electric piano*.",
            2: f"**morph_begin** above 0 keeps more of the clip. {BASE} {THREE_WIRES}",
        },
    )
    prompt = {**made.prompt, "source_song": song(LOFI, **CLIP_SONG)}
    columns = [["song", "source_song"] if one == ["song"] else one for one in made.columns]
    (first, (colour, names)), *others = made.groups.items()
    groups = {first: (colour, [*names, "source_song"]), **dict(others)}
    titles = {"song": "Song: new words", "source_song": "Song: words of the clip"}
    shown = ["song", "source_song", "edit", "text"]
    return replace(made, prompt=prompt, columns=columns, groups=groups, titles=titles, shown=shown)

"""The workflows that plan songs, and one that chooses among takes."""

from comfyui_tests import prompts
from workflows_tests.definitions import (
    LMS,
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
from workflows_tests.edits import edit, made_of

ANSWER = {"seed": 1, "temperature": 0.85, "top_p": 0.9, "top_k": 0}
OPEN = {"seconds": 0.0, "bpm": 0} | dict.fromkeys(("key", "time_signature", "language"), "auto")
KEPT = {"caption": "", "lyrics": "", "seconds": 0.0, "bpm": 0}
KEPT |= dict.fromkeys(("key", "time_signature", "language"), "as it is")
WHICH_PLANNER = (
    "*tiny-planner* comes with the pack and knows the words of few kinds of songs. For words of your own choose one "
    "marked *(download, ...)* in **Load Planner**, such as *acestep-5Hz-lm-1.7B*"
)


def load_planner() -> dict:
    return prompts.node("AceStepLoadPlanner", planner="tiny-planner", dtype="auto", quantise="none")


def write_song(line: str) -> dict:
    given = {"planner": ["planner", 0], "line": line, "instrumental": False}
    return prompts.node("AceStepWriteSong", **given, **OPEN, **ANSWER)


def shown_text(of: str, output: int) -> dict:
    return prompts.node("PreviewAny", source=[of, output])


def text_and_latent(of: str) -> dict:
    """Text Encode and Empty Latent of a node's song."""
    return {
        "text": prompts.node("AceStepTextEncode", text_encoder=["cascade", 3], song=[of, 0]),
        "latent": prompts.node("AceStepEmptyLatent", vocoder=["cascade", 4], song=[of, 0], batch_size=1),
    }


def save_song(sound: str, name: str, of: str, output: int = 0) -> dict:
    made = save(sound, name)
    made["inputs"]["audio"] = [sound, output]
    made["inputs"]["song"] = [of, 0]
    return made


def song_from_one_line() -> Definition:
    return Definition(
        {
            "planner": load_planner(),
            "cascade": cascade(),
            "write": write_song("a slow song about the sea"),
            "words": shown_text("write", 1),
            **text_and_latent("write"),
            **stages(7),
            "vocode": vocode("S"),
            "save": save_song("vocode", "from-one-line", "write"),
        },
        [["planner", "cascade"], ["write", "words"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Planner and models": ("load", ["planner", "cascade"]),
            "2 · A line becomes a song": ("song", ["write", "words", "text", "latent"]),
            "3 · Cascade": ("stages", LMS),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            0: f"{WHICH_PLANNER}.",
            1: "Write a line, and give what you know already: tempo, key, length. Another **seed**, another song. The "
            "embedded *tiny* models hum more than they sing; for lyrics choose downloaded models in **Load Cascade**.",
        },
        shown=["planner", "write", "words"],
    )


def plan_and_edit() -> Definition:
    plan = {"planner": ["planner", 0], "song": ["change", 0], "vocoder": ["cascade", 4], "choose_length": False}
    codes = {"codes": True, "codes_strength": 1.0, "guidance": 2.0, "negative": ""}
    return Definition(
        {
            "planner": load_planner(),
            "cascade": cascade(),
            "write": write_song("a hopeful folk song about the first snow"),
            "words": shown_text("write", 1),
            "change": prompts.node("AceStepEditSong", song=["write", 0], **KEPT),
            "plan": prompts.node("AceStepPlanSong", **plan, **ANSWER, **codes),
            "plan_text": shown_text("plan", 2),
            **text_and_latent("plan"),
            **stages(7, reference=["plan", 1]),
            "vocode": vocode("S"),
            "save": save_song("vocode", "planned", "plan"),
        },
        [
            ["planner", "cascade"],
            ["write", "words"],
            ["change"],
            ["plan", "plan_text"],
            ["text", "latent"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
        ],
        {
            "1 · Planner and models": ("load", ["planner", "cascade"]),
            "2 · Written from a line": ("song", ["write", "words"]),
            "3 · Changed by you": ("other", ["change"]),
            "4 · Planned as it is now": ("song", ["plan", "plan_text", "text", "latent"]),
            "5 · Cascade": ("stages", LMS),
            "6 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            0: f"{WHICH_PLANNER}, and published models with it: codes are for models of the planner's family.",
            2: "Run once, read the song, and write here what shall be different. All else stays, and what was computed "
            "before is not computed again.",
            3: "The planner writes five audio **codes** a second, and the stages follow them through **reference**.",
        },
        {"words": "The song as it was written", "plan_text": "The plan"},
        shown=["write", "words", "change", "plan"],
    )


def understand_and_cover() -> Definition:
    music = {"planner": ["planner", 0], "model": ["cascade", 1], "vocoder": ["cascade", 4], "audio": ["clip", 0]}
    changes = {**KEPT, "caption": "Bright synth pop with arpeggio, synth bass and drums"}
    return Definition(
        {
            "planner": load_planner(),
            "cascade": cascade(),
            "clip": example_clip(),
            "understand": prompts.node("AceStepUnderstandAudio", **music, **ANSWER | {"temperature": 0.3}),
            "words": shown_text("understand", 1),
            "change": prompts.node("AceStepEditSong", song=["understand", 0], **changes),
            "cover": edit("Cover", asked=("change", 0), structure=1.0, closeness=0.0, codes=True),
            **made_of("cover", 7, "understood"),
        },
        [
            ["planner", "cascade", "clip"],
            ["understand", "words"],
            ["change"],
            ["cover", "text"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
        ],
        {
            "1 · Planner, models, a clip": ("load", ["planner", "cascade", "clip"]),
            "2 · The clip in words": ("song", ["understand", "words"]),
            "3 · Another style, the same lyrics": ("other", ["change"]),
            "4 · Cover": ("load", ["cover", "text"]),
            "5 · Cascade": ("stages", LMS),
            "6 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            0: f"{WHICH_PLANNER}, and published models with it.\n\n{YOUR_CLIP}1 to 600 s, any format.",
            2: "Only the caption is new here. Tempo, key and lyrics are those that were found; read them over.",
        },
        shown=["clip", "understand", "words", "change"],
    )


def best_of_eight() -> Definition:
    request = song("Happy house with piano, synth bass and drums", 15.0, bpm=120, key="A minor")
    score = prompts.node("AceStepScoreTakes", audio=["vocode", 0], song=["song", 0], keep=1)
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(request, batch_size=8),
            **stages(100),
            "vocode": vocode("S"),
            "score": score,
            "report": shown_text("score", 1),
            "save": save("score", "best-of-eight"),
        },
        [["cascade"], ["song"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "score"], ["save", "report"]],
        {
            "1 · Eight songs at once": ("song", ["cascade", *TEXT]),
            "2 · Cascade": ("stages", LMS),
            "3 · Judged": ("sound", ["vocode", "score"]),
            "4 · The best one": ("sound", ["save", "report"]),
        },
        {
            1: "**batch_size** of **Empty Latent** is 8, so eight takes are made, from the seeds 100 to 107.",
            6: "**Score Takes** measures tempo, key, level, clipping, silence and ending, and hands on as many of the "
            "best as **keep** says. The seed of the best one is in its tags.",
        },
        {"report": "Why this one"},
        shown=["score", "save", "report"],
    )


def lyrics_with_timestamps() -> Definition:
    verse = "[Verse]\nThe morning light is on the wall\nAnd I can hear the ocean call"
    lyrics = f"{verse}\n\n[Chorus]\nSo come with me into the sun"
    request = song(
        "Warm folk with acoustic guitar, drums and a female voice",
        24.0,
        lyrics=lyrics,
        bpm=100,
        key="C major",
        language="English",
    )
    asked = {"model": ["cascade", 0], "text_encoder": ["cascade", 3], "song": ["song", 0], "latent": ["S", 0]}
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(request),
            **stages(21),
            "vocode": vocode("S"),
            "times": prompts.node("AceStepLyricTimestamps", **asked, audio=["vocode", 0], words=False),
            "lrc": shown_text("times", 0),
            "save": save_song("times", "timed", "song", output=1),
        },
        [["cascade"], ["song"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "times"], ["lrc", "save"]],
        {
            "1 · A song with words": ("song", ["cascade", *TEXT]),
            "2 · Cascade": ("stages", LMS),
            "3 · When each line is sung": ("other", ["vocode", "times", "lrc"]),
            "4 · File, with the times": ("sound", ["save"]),
        },
        {
            0: "Published models sing the words, *tiny* hums them. **Lyric Timestamps** takes the same **Song** as "
            "Text Encode.",
            6: "**lrc** is the text, **audio** the sound with it: **Save Audio** writes the times into the tags, and "
            "into a file `.lrc` beside the song.",
        },
        {"lrc": "The lines and their times"},
        shown=["times", "lrc", "save"],
    )

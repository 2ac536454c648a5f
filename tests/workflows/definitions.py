"""The workflows that make songs, and the parts that all workflows are put together of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from comfyui_tests import prompts

NEXT_ROW = None  # in a column: what follows begins at one height with the same row of the other columns


@dataclass(frozen=True)
class App:
    """The page that a workflow opens as: (node, widget, height in pixels or None) from top to bottom, the nodes whose
    results it shows, and those whose seed is drawn anew after each run.
    """

    inputs: Sequence[tuple[str, str, int | None]]
    outputs: Sequence[str]
    new_seeds: Sequence[str] = ()


@dataclass(frozen=True)
class Definition:
    """`prompt`: name of a node -> the node, whose links give names. `columns`: names from left to right, each column
    from top to bottom. `groups`: title -> (colour, names). `notes`: column -> a note at its foot. `titles`: name ->
    another title than the node's own. `shown`: the names around which the picture is framed; none frames all.
    """

    prompt: Mapping[str, dict]
    columns: Sequence[Sequence[str | None]]
    groups: Mapping[str, tuple[str, Sequence[str]]]
    notes: Mapping[int, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    shown: Sequence[str] = ()
    app: App | None = None


# ---- nodes that most workflows have ----------------------------------------------------------------------------------

DANCE = "Upbeat electronic dance with synth bass, drums, chords and a saw lead"
CHIPTUNE = "happy chiptune with drums, triangle bass, pulse chords, pulse lead and arpeggio"
LOFI = "Calm lo-fi beat with electric piano, warm pad, bass and drums"
ADAPTER = "tiny-l-chiptune.safetensors"

TEXT = ["song", "text", "latent"]
LMS = ["L", "M", "S"]
ALL_THE_WAY = {"stretch": "custom", "stretch.start": 1.0, "stretch.end": 0.0}


def song(caption: str, seconds: float = 30.0, **known) -> dict:
    return prompts.node("AceStepSong", caption=caption, seconds=seconds, **{**prompts.AUTO_SONG, **known})


def cascade() -> dict:
    tiny = {slot: f"tiny-{slot}" for slot in prompts.STAGES}
    return prompts.node("AceStepLoadCascade", **tiny, text_encoder="auto", vocoder="auto", dtype="auto")


def text_encode() -> dict:
    return prompts.node("AceStepTextEncode", text_encoder=["cascade", 3], song=["song", 0])


def before_stages(request: dict, batch_size: int = 1) -> dict:
    """The nodes that lead from a song to the stages."""
    latent = {"vocoder": ["cascade", 4], "song": ["song", 0], "batch_size": batch_size}
    return {"song": request, "text": text_encode(), "latent": prompts.node("AceStepEmptyLatent", **latent)}


def stage(letter: str, latent: str, seed: int, model: list | None = None, **more) -> dict:
    links = {"model": model or ["cascade", "LMS".index(letter)], "text": ["text", 0], "latent": [latent, 0]}
    return prompts.node(f"AceStepStage{letter}", **links, seed=seed, **{**prompts.AUTO_STAGE, **more})


def stages(seed: int, prefix: str = "", model: list | None = None, **more) -> dict:
    """The three stages with their own settings. `model`: that of L, where it is another than the cascade's."""
    return {
        f"{prefix}L": stage("L", "latent", seed, model, **more),
        f"{prefix}M": stage("M", f"{prefix}L", seed, **more),
        f"{prefix}S": stage("S", f"{prefix}M", seed, **more),
    }


def vocode(latent: str, output: int = 0, **more) -> dict:
    return prompts.node("AceStepVocode", vocoder=["cascade", 4], latent=[latent, output], **more)


def save(audio: str, name: str, **more) -> dict:
    return prompts.node(
        "AceStepSaveAudio",
        audio=[audio, 0],
        song=["song", 0],
        filename_prefix=f"audio/{name}",
        title="",
        artist="",
        **{"format": "flac", "format.bit_depth": "24", "loudness": "as it is", **more},
    )


def spectrogram(audio: str, width: int = 1024, height: int = 512) -> dict:
    return prompts.node("AceStepSpectrogram", audio=[audio, 0], width=width, height=height, fmax_hz=16000, range_db=80)


def picture(image: str, output: int = 0) -> dict:
    return prompts.node("PreviewImage", images=[image, output])


def example_clip() -> dict:
    return prompts.node("AceStepExampleClip")


def reference_encode(use: str) -> dict:
    return prompts.node("AceStepReferenceEncode", vocoder=["cascade", 4], audio=["clip", 0], use=use)


def apply_lora(adapter: str, **more) -> dict:
    return prompts.node("AceStepApplyLora", model=["cascade", 0], adapter=adapter, strength=1.0, **more)


# Nodes of a song without an adapter, and their titles; with the adapter they are named lora_...
SIDE = {"L": "Stage L", "M": "Stage M", "S": "Stage S", "vocode": "Vocode", "save": "Save Audio"}
A_AND_B = {prefix + name: f"{SIDE[name]}: {side}" for prefix, side in (("", "A"), ("lora_", "B")) for name in SIDE}

SEVERAL_SLOTS = "With one model in several slots, connect **Apply LoRA** to all of these stages."
YOUR_CLIP = "**Example Clip** gives 12 s of music. For your own, put **Load Audio** in its place: "


# ---- the workflows ---------------------------------------------------------------------------------------------------


def text_to_music() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(song(DANCE, bpm=124, key="A minor")),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "song"),
        },
        [["cascade"], ["song"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Models and song": ("song", ["cascade", *TEXT]),
            "2 · Cascade: structure → harmony → detail": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            1: "Write what the song should be, then press **Run**. The embedded *tiny* models need no download and no "
            "GPU. They are a demonstration: for real music choose downloaded models in **Load Cascade**.",
            4: "The strip on each stage shows from where to where it takes the music, from noise (left) to finished "
            "music (right). The seed of Stage L decides which song it becomes.",
        },
    )


def listen_after_each_stage() -> Definition:
    prompt = {"cascade": cascade(), **before_stages(song(DANCE, 20.0, bpm=124, key="A minor")), **stages(7)}
    columns = [["cascade"], ["song"], ["text", "latent"]]
    groups = {"1 · Models and song": ("song", ["cascade", *TEXT])}
    for number, letter in enumerate(LMS, start=2):
        prompt |= {
            f"vocode_{letter}": vocode(letter, 1),
            f"save_{letter}": save(f"vocode_{letter}", f"after-{letter}"),
            f"spectrogram_{letter}": spectrogram(f"vocode_{letter}", 768, 384),
            f"picture_{letter}": picture(f"spectrogram_{letter}"),
        }
        columns.append([letter, *(f"{part}_{letter}" for part in ("vocode", "save", "spectrogram", "picture"))])
        groups[f"{number} · After {letter}"] = ("stages", columns[-1])
    return Definition(
        prompt,
        columns,
        groups,
        {
            1: "The output **x0** of a stage is its guess at the finished music. Compare the three: L makes the "
            "structure, M the harmony, S the detail. After S the guess is the song."
        },
        shown=[f"{part}_{letter}" for letter in LMS for part in ("save", "spectrogram", "picture")],
    )


def four_seeds_at_once() -> Definition:
    request = song("Happy house with piano, synth bass and drums", 15.0, bpm=120)
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(request, batch_size=4),
            **stages(100),
            "vocode": vocode("S"),
            "save": save("vocode", "seeds"),
        },
        [["cascade"], ["song"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Four songs at once": ("song", ["cascade", *TEXT]),
            "2 · Cascade": ("stages", LMS),
            "3 · Four files, each with its seed in the tags": ("sound", ["vocode", "save"]),
        },
        {
            1: "**batch_size** of **Empty Latent** is 4, so four songs are made, from the seeds 100, 101, 102 and "
            "103. To make one of them again, set **batch_size** to 1 and **seed** to its seed.",
        },
        shown=["save"],
    )


def sound_of_a_clip() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "clip": example_clip(),
            "reference": reference_encode("timbre"),
            **before_stages(song("Energetic funk with bass, organ and drums", bpm=108)),
            **stages(21, reference=["reference", 0]),
            "vocode": vocode("S"),
            "save": save("vocode", "reference"),
        },
        [["cascade", "clip"], ["song"], ["reference", "text", "latent"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Models, a clip, a song": ("song", ["cascade", "clip", "reference", *TEXT]),
            "2 · Cascade, with the clip as reference": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            0: YOUR_CLIP + "any length, rate and format. For several clips, connect one **Reference Encode** to the "
            "next.",
            3: "The song takes its sound from the clip, and its notes from the caption. Connect the reference to "
            "every stage: each model encodes it on its own.",
        },
        shown=["clip", "reference", "song"],
    )


def continue_a_clip() -> Definition:
    reference = {"reference": ["reference", 0]}
    return Definition(
        {
            "cascade": cascade(),
            "clip": example_clip(),
            "reference": reference_encode("continuation"),
            **before_stages(song(f"{LOFI}, then a flute melody", bpm=80, key="D minor")),
            **stages(5, **reference),
            "vocode": vocode("S", **reference),
            "save": save("vocode", "continued"),
            "spectrogram": spectrogram("vocode"),
            "picture": picture("spectrogram"),
        },
        [
            ["cascade", "clip"],
            ["song"],
            ["reference", "text", "latent"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
            ["spectrogram", "picture"],
        ],
        {
            "1 · Models, a clip of 12 s, a song of 30 s": ("song", ["cascade", "clip", "reference", *TEXT]),
            "2 · Cascade, from the clip on": ("stages", LMS),
            "3 · The clip, then new music": ("sound", ["vocode", "save", "spectrogram", "picture"]),
        },
        {
            0: YOUR_CLIP + "any length, rate and format.",
            1: "**seconds** is the length of the whole song, the clip included.",
            6: "Connect the reference to **Vocode** too: there the samples of the clip replace the decoded ones, with "
            "a short crossfade where the new music begins.",
        },
        shown=["save", "spectrogram", "picture"],
    )


def refine_a_clip() -> Definition:
    again = {"stretch": "custom", "stretch.start": 0.4, "stretch.end": 0.0, "steps": 8}
    return Definition(
        {
            "cascade": cascade(),
            "clip": example_clip(),
            "encode": prompts.node("AceStepEncodeAudio", vocoder=["cascade", 4], audio=["clip", 0]),
            "song": song(LOFI, 12.0, bpm=80, key="D minor"),
            "text": text_encode(),
            "S": stage("S", "encode", 3, **again),
            "vocode": vocode("S"),
            "save": save("vocode", "after"),
            "before": save("clip", "before"),
        },
        [["cascade", "clip"], ["song"], ["encode", "text"], ["S"], ["vocode", "save"], ["before"]],
        {
            "1 · Models, and any music": ("load", ["cascade", "clip"]),
            "2 · The music as latents, and its description": ("song", ["encode", "song", "text"]),
            "3 · Made again from t = 0.4": ("stages", ["S"]),
            "4 · After": ("sound", ["vocode", "save"]),
            "Before": ("other", ["before"]),
        },
        {
            0: YOUR_CLIP + "any length, rate and format.",
            3: "**start** sets how much is made again: with 0.2 little changes, with 0.6 nearly all.",
        },
        {"save": "Save Audio: after", "before": "Save Audio: before"},
        shown=["S", "vocode", "save", "before"],
    )


def music_for_a_video() -> Definition:
    size = {"width": 640, "height": 360}
    blend = {"image1": ["colour", 0], "image2": ["spectrogram", 0], "blend_factor": ["envelope", 0]}
    measured = {"fps": 12.0, "frames": 0, "measure": "onsets", "smoothing": 0.15}
    film = {"filename_prefix": "video/song", "format": "auto", "codec": "auto"}
    return Definition(
        {
            "cascade": cascade(),
            **before_stages(song("Driving techno with drums, synth bass and arpeggio", 10.0, bpm=128)),
            **stages(12),
            "vocode": vocode("S"),
            "envelope": prompts.node("AceStepEnvelope", audio=["vocode", 0], **measured),
            "spectrogram": spectrogram("vocode", 640, 360),
            "colour": prompts.node("EmptyImage", **size, batch_size=1, color=0x2A0E5A),
            "flash": prompts.node("ImageBlend", **blend, blend_mode="screen"),
            "frames": prompts.node("RebatchImages", images=["flash", 0], batch_size=4096),
            "video": prompts.node("CreateVideo", images=["frames", 0], fps=12.0, audio=["vocode", 0]),
            "file": prompts.node("SaveVideo", video=["video", 0], **film),
            "save": save("vocode", "video-song"),
        },
        [
            ["cascade"],
            ["song"],
            ["text", "latent"],
            ["L"],
            ["M"],
            ["S"],
            ["vocode", "save"],
            ["envelope", "spectrogram", "colour"],
            ["flash", "frames", "video"],
            ["file"],
        ],
        {
            "1 · Models and song": ("song", ["cascade", *TEXT]),
            "2 · Cascade": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
            "4 · One value for each picture": ("load", ["envelope", "spectrogram", "colour"]),
            "5 · Pictures that flash with the drums": ("other", ["flash", "frames", "video", "file"]),
        },
        {
            7: "**Envelope** gives one value for each picture, so the node that takes the values runs once for each. "
            "Any number of an image node can be driven so: a strength, a scale, a denoise.",
        },
        shown=["flash", "frames", "video", "file"],
    )


def song_with_a_lora() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "lora": apply_lora(ADAPTER),
            **before_stages(song(CHIPTUNE, bpm=140)),
            **stages(7, model=["lora", 0]),
            "vocode": vocode("S"),
            "save": save("vocode", "with-lora"),
        },
        [["cascade", "lora"], ["song"], ["text", "latent"], ["L"], ["M"], ["S"], ["vocode", "save"]],
        {
            "1 · Models, adapter and song": ("song", ["cascade", "lora", *TEXT]),
            "2 · Cascade, with the adapter on L": ("stages", LMS),
            "3 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            0: "The adapter *tiny-l-chiptune* comes with the pack: chiptunes are a style that the embedded models "
            "were not trained on. **Apply LoRA** lists your own adapters too, from ComfyUI's **loras** folders.",
            3: f"An adapter fits the model that it was trained on. {SEVERAL_SLOTS} To use several adapters, put one "
            "**Apply LoRA** behind another; adapters for M or S go before those stages.",
        },
        shown=["cascade", "lora", "song", "L"],
    )


def with_and_without_a_lora() -> Definition:
    return Definition(
        {
            "cascade": cascade(),
            "lora": apply_lora(ADAPTER),
            **before_stages(song(CHIPTUNE, 15.0, bpm=140)),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "a-without-lora"),
            **stages(7, "lora_", model=["lora", 0]),
            "lora_vocode": vocode("lora_S"),
            "lora_save": save("lora_vocode", "b-with-lora"),
        },
        [
            ["cascade", NEXT_ROW, "lora"],
            ["song"],
            ["text", "latent"],
            ["L", NEXT_ROW, "lora_L"],
            ["M", NEXT_ROW, "lora_M"],
            ["S", NEXT_ROW, "lora_S"],
            ["vocode", "save", NEXT_ROW, "lora_vocode", "lora_save"],
        ],
        {
            "1 · Models, song and adapter": ("song", ["cascade", "lora", *TEXT]),
            "A · without the adapter": ("load", [*SIDE]),
            "B · with the adapter": ("stages", [f"lora_{name}" for name in SIDE]),
        },
        {
            1: "Song, seeds and settings are the same in A and B, so all that differs comes from the adapter. With "
            "adapter *none*, or strength 0, A and B are equal to the last sample. The model of L is loaded once."
            f"\n\n{SEVERAL_SLOTS}",
        },
        A_AND_B,
        shown=["S", "vocode", "save", "lora_S", "lora_vocode", "lora_save"],
    )


def train_a_lora() -> Definition:
    parts = {"model": ["cascade", 0], "text_encoder": ["cascade", 3], "vocoder": ["cascade", 4]}
    return Definition(
        {
            "cascade": cascade(),
            "dataset": prompts.node("AceStepLoraDataset", clips="demo clips", trigger=""),
            "train": prompts.node("AceStepTrainLora", **parts, dataset=["dataset", 0], **prompts.TRAINING),
            "lora": apply_lora("none", trained=["train", 0]),
            "curve": picture("train", 2),
            **before_stages(song(CHIPTUNE, 10.0, bpm=140)),
            **stages(7),
            "vocode": vocode("S"),
            "save": save("vocode", "a-without-lora"),
            **stages(7, "lora_", model=["lora", 0]),
            "lora_vocode": vocode("lora_S"),
            "lora_save": save("lora_vocode", "b-with-lora"),
        },
        [
            ["cascade", "dataset"],
            ["train"],
            ["lora", "curve", "text", "latent"],
            ["song"],
            ["L", NEXT_ROW, "lora_L"],
            ["M", NEXT_ROW, "lora_M"],
            ["S", NEXT_ROW, "lora_S"],
            ["vocode", "save", NEXT_ROW, "lora_vocode", "lora_save"],
        ],
        {
            "1 · Clips": ("load", ["cascade", "dataset"]),
            "2 · Train an adapter of L": ("stages", ["train"]),
            "3 · Apply it to a song": ("song", ["lora", "curve", *TEXT]),
            "A · without the adapter": ("load", [*SIDE]),
            "B · with the adapter": ("stages", [f"lora_{name}" for name in SIDE]),
        },
        {
            0: "Press **Run**: stage L is trained on eight chiptunes, a style that the embedded models were not "
            "trained on, in about a minute.\n\nFor your own clips: **clips** = *folder*, and in **folder** its name "
            "below ComfyUI's **input** folder. In **Train LoRA** a new **name**, **steps** (12 clips: 100 to 600; 60 "
            "clips: 500 to 3000), **preview every** 250, and under the advanced inputs **warm up** 50, or a tenth of "
            "the steps if that is less.",
            3: "**Cancel** stops the training and keeps what was trained. **Run** continues from there, and so it does "
            f"with more **steps**.\n\n{SEVERAL_SLOTS}",
        },
        A_AND_B,
        shown=["train", "lora", "curve"],
    )


def one_model_alone() -> Definition:
    return Definition(
        {
            "model": prompts.node("AceStepLoadStageModel", model="tiny-l", dtype="auto"),
            "encoder": prompts.node("AceStepLoadTextEncoder", text_encoder="tiny-text", dtype="auto"),
            "vocoder": prompts.node("AceStepLoadVocoder", vocoder="tiny-vocoder"),
            **before_stages(song("Dreamy synthwave with warm pad, arpeggio and drums", bpm=96)),
            "text": prompts.node("AceStepTextEncode", text_encoder=["encoder", 0], song=["song", 0]),
            "latent": prompts.node("AceStepEmptyLatent", vocoder=["vocoder", 0], song=["song", 0], batch_size=1),
            "L": stage("L", "latent", 11, model=["model", 0], **ALL_THE_WAY),
            "vocode": prompts.node("AceStepVocode", vocoder=["vocoder", 0], latent=["L", 0]),
            "save": save("vocode", "one-model"),
        },
        [["model", "encoder", "vocoder"], ["song"], ["text", "latent"], ["L"], ["vocode", "save"]],
        {
            "1 · One model, a text encoder, a vocoder": ("load", ["model", "encoder", "vocoder"]),
            "2 · Song": ("song", TEXT),
            "3 · One stage, from noise to music": ("stages", ["L"]),
            "4 · Sound": ("sound", ["vocode", "save"]),
        },
        {
            1: "**start and end (t)** of the stage is *custom*, from 1 (noise) to 0 (music): one model makes the whole "
            "song."
        },
        shown=["model", "encoder", "vocoder"],
    )


def text_to_music_app() -> Definition:
    plain = text_to_music()
    page = App(
        [("song", "caption", 90), ("song", "lyrics", 130), ("song", "seconds", None), ("L", "seed", None)],
        ["save"],
        new_seeds=["L"],
    )
    notes = {
        1: "In newer versions of ComfyUI this workflow opens as a page with the caption, the lyrics, the length, the "
        "seed and the song. Here it is the graph behind that page, and works as *01_text_to_music* does. Every **Run** "
        "makes another song: the seed is drawn anew after it. The seed of a song is in its file's tags.",
    }
    return Definition(plain.prompt, plain.columns, plain.groups, notes, app=page)

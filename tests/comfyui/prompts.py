"""Prompts of the tests, in ComfyUI's API format: {node id: {"class_type": ..., "inputs": {...}}}."""

import copy

STAGES = ("l", "m", "s")
AUTO_STAGE = {"steps": 0, "stretch": "auto", "guidance": "auto", "solver": "euler", "shift": 0.0}
QUICK_STEPS = (3, 2, 1)
AUTO_SONG = {"lyrics": "[Instrumental]", "bpm": 0, "key": "auto", "time_signature": "auto", "language": "auto"}

# Widgets of Train LoRA, for a short training of an embedded model.
TRAINING = {
    "name": "demo-chiptune",
    "steps": 60,
    "memory": "auto",
    "learning_rate": 0.0,
    "preview_every": 20,
    "seed": 0,
    "kind": "lora",
    "targets": "attention",
    "alpha": 0.0,
    "dropout": 0.0,
    "accumulate": 0,
    "warm_up": 5,
    "weight_decay": 0.01,
    "clip": 1.0,
    "hold_out": 0.1,
    "stretch": "auto",
    "save_every": 250,
    "measure_every": 10,
}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def text_to_music(seconds: float = 10.0, seed: int = 7, batch_size: int = 1, *, quick: bool = True) -> dict:
    """A song of the embedded cascade. Nodes: cascade, song, text, latent, l, m, s, vocode, save.

    `quick`: in a few unguided steps, not in those that the models are made for.
    """
    tiny = {slot: f"tiny-{slot}" for slot in STAGES}
    prompt = {
        "cascade": node("AceStepLoadCascade", **tiny, text_encoder="auto", vocoder="auto", dtype="auto"),
        "song": node("AceStepSong", caption="lo-fi beat with warm pad", seconds=seconds, **AUTO_SONG),
        "text": node("AceStepTextEncode", text_encoder=["cascade", 3], song=["song", 0]),
        "latent": node("AceStepEmptyLatent", vocoder=["cascade", 4], song=["song", 0], batch_size=batch_size),
    }
    before = "latent"
    for output, slot in enumerate(STAGES):
        links = {"model": ["cascade", output], "text": ["text", 0], "latent": [before, 0]}
        settings = AUTO_STAGE | ({"steps": QUICK_STEPS[output], "guidance": "none"} if quick else {})
        prompt[slot] = node(f"AceStepStage{slot.upper()}", **links, seed=seed, **settings)
        before = slot
    prompt["vocode"] = node("AceStepVocode", vocoder=["cascade", 4], latent=["s", 0])
    return prompt | {"save": save("vocode")}


def save(audio: str, prefix: str = "tests/song", **choices) -> dict:
    """Saves the audio of a node, as it is."""
    file = {"format": "flac", "format.bit_depth": "24", "loudness": "as it is"} | choices
    return node("AceStepSaveAudio", audio=[audio, 0], filename_prefix=prefix, title="", artist="", **file)


def changed(prompt: dict, **inputs) -> dict:
    """A copy with other inputs: changed(prompt, l={"seed": 8})."""
    copied = copy.deepcopy(prompt)
    for node_id, others in inputs.items():
        copied[node_id]["inputs"] |= others
    return copied


def stretch(start: float, end: float, **more) -> dict:
    """Inputs of a stage that begins and ends at given times."""
    return {"stretch": "custom", "stretch.start": start, "stretch.end": end, **more}


def with_reference(prompt: dict, clip: str, use: str) -> dict:
    """A copy whose stages hear a clip of the input folder. Nodes besides: clip, reference."""
    heard = prompt | {
        "clip": node("LoadAudio", audio=clip),
        "reference": node("AceStepReferenceEncode", vocoder=["cascade", 4], audio=["clip", 0], use=use),
    }
    links = {node_id: {"reference": ["reference", 0]} for node_id in (*STAGES, "vocode")}
    return changed(heard, **links)


def upscaled_image(model: str, color: int) -> dict:
    """Core nodes alone: an image model at work. Nodes: image, model, upscale, preview."""
    return {
        "image": node("EmptyImage", width=64, height=64, batch_size=1, color=color),
        "model": node("UpscaleModelLoader", model_name=model),
        "upscale": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
        "preview": node("PreviewImage", images=["upscale", 0]),
    }

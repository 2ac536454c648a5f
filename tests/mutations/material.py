"""The material: small valid files of every kind that is read, each kind in a folder of its own.

What will be mutated has "mutant" in its name.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import library as ours
from .targets import Place, text_cached, training

PLANNER = Path(__file__).resolve().parents[1] / "golden_tasks" / "lm_a"
RATE_HZ, SECONDS = 16_000, 3.5
SONG = {"caption": "a techno beat, été", "lyrics": "[verse]\nla la", "bpm": 120, "key": "A minor", "language": "en"}
SONG |= {"time_signature": "4", "seconds": 12}
LAYERS = ("layers.0.self_attn.to_q", "layers.1.cross_attn.to_out.0", "layers.1.mlp.down_proj")


def family(folder: Path, family: Path) -> None:
    """The models that all others are made of."""
    ours.save_tiny_family(folder / "family")


# ---- models ----------------------------------------------------------------------------------------------------------


def original(folder: Path, family: Path) -> None:
    shutil.copytree(family / "l", folder / "mutant-stage")


def sharded(folder: Path, family: Path) -> None:
    shutil.copytree(family / "m", folder / "mutant-stage")
    _shard(folder / "mutant-stage")


def _shard(model: Path) -> None:
    """Divides a folder's weights into two files and an index."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names, files = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    shares = {files[0]: names[: len(names) // 2], files[1]: names[len(names) // 2 :]}
    for file, share in shares.items():
        save_file({name: tensors[name] for name in share}, model / file, {"format": "pt"})
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}}
    index["weight_map"] = {name: file for file, share in shares.items() for name in share}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def pipeline(folder: Path, family: Path) -> None:
    """diffusers' folders, written by diffusers."""
    from core_tests.in_diffusers import in_diffusers

    model, target = ours.load_stage_model(family / "l"), folder / "mutant-pipeline"
    in_diffusers(model.transformer).save_pretrained(target / "transformer")
    in_diffusers(model.condition_encoder).save_pretrained(target / "condition_encoder")
    for part in ("text_encoder", "vae"):
        shutil.copytree(family / part, target / part)
    (target / "model_index.json").write_text(json.dumps({"_class_name": "AceStepPipeline", "_name_or_path": "x"}))


def bundle(folder: Path, family: Path) -> None:
    """The folders l, m, s, text_encoder and vae."""
    shutil.copytree(family, folder / "mutant-family")


def text(folder: Path, family: Path) -> None:
    shutil.copytree(family / "text_encoder", folder / "mutant-text")


def planner(folder: Path, family: Path) -> None:
    shutil.copytree(PLANNER, folder / "mutant-planner")
    for file in (folder / "mutant-planner").iterdir():
        file.chmod(0o644)


def plan(folder: Path, family: Path) -> None:
    """As `acestep-cascade plan -o` writes it; without codes, which the family's models do not read."""
    folder.mkdir()
    made = {"song": SONG, "codes": [], "decided": {"bpm": 120}, "description": "été", "notes": ["x"]}
    made |= {"planner": "lm", "seed": 7}
    (folder / "mutant.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")


def vae(folder: Path, family: Path) -> None:
    shutil.copytree(family / "vae", folder / "mutant-vae")


def _comfyui_parts(family: Path) -> dict[str, dict]:
    """ComfyUI's names of a stage, a text encoder, and a vocoder of the published hop."""
    text = {f"model.{name}": value for name, value in load_file(family / "text_encoder" / "model.safetensors").items()}
    return {"turbo": load_file(family / "l" / "model.safetensors"), "text": text, "vae": _published_vocoder()}


def _published_vocoder() -> dict[str, torch.Tensor]:
    from diffusers import AutoencoderOobleck

    torch.manual_seed(3)
    network = AutoencoderOobleck(
        encoder_hidden_size=16,
        decoder_channels=4,
        decoder_input_channels=8,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=[1, 1, 1, 1, 1],
        sampling_rate=48000,
    )
    tensors = ours.vae_to_stable_audio(network.state_dict())
    tensors = {n: value.flatten() if n.endswith((".alpha", ".beta")) else value for n, value in tensors.items()}
    return {name: value.contiguous() for name, value in tensors.items()}


def _split(folder: Path, family: Path, mutant: str) -> None:
    folder.mkdir()
    for part, tensors in _comfyui_parts(family).items():
        save_file(tensors, folder / f"{'mutant' if part == mutant else 'valid'}-{part}.safetensors", {"format": "pt"})
    _tokenizer(folder / "tokenizer", family)


def _tokenizer(folder: Path, family: Path) -> None:
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(family / "text_encoder" / name, folder)


def split_stage(folder: Path, family: Path) -> None:
    _split(folder, family, "turbo")


def split_text(folder: Path, family: Path) -> None:
    _split(folder, family, "text")


def split_vae(folder: Path, family: Path) -> None:
    _split(folder, family, "vae")


def all_in_one(folder: Path, family: Path) -> None:
    parts = _comfyui_parts(family)
    texts = {name.removeprefix("model."): value for name, value in parts["text"].items()}
    named = {"model.diffusion_model.": parts["turbo"], "vae.": parts["vae"]}
    named["text_encoders.qwen3_06b.transformer."] = texts
    folder.mkdir()
    save_file(
        {prefix + name: value for prefix, part in named.items() for name, value in part.items()},
        folder / "mutant-turbo.safetensors",
        {"format": "pt"},
    )
    _tokenizer(folder / "tokenizer", family)


# ---- lists -----------------------------------------------------------------------------------------------------------


def models(folder: Path, family: Path) -> None:
    """ComfyUI's models folder: a valid model and a mutant of each kind."""
    parts = _comfyui_parts(family)
    for name, tensors in {
        "diffusion_models": parts["turbo"],
        "text_encoders": parts["text"],
        "vae": parts["vae"],
    }.items():
        for file in ("valid-turbo.safetensors", "mutant-turbo.safetensors"):
            (folder / "models" / name).mkdir(parents=True, exist_ok=True)
            save_file(tensors, folder / "models" / name / file, {"format": "pt"})
    for name in ("valid-stage", "mutant-stage"):
        shutil.copytree(family / "s", folder / "models" / "acestep" / name)
    for file in ("valid.safetensors", "mutant.safetensors"):
        ours.save_adapter(_lora(family), folder / "models" / "loras" / file, "comfyui", {"trigger words": "zzt"})


def known(folder: Path, family: Path) -> None:
    """A published model, half of it in another file."""
    model = folder / "models" / "acestep-v15-turbo"
    shutil.copytree(family / "m", model)
    _shard(model)


# ---- adapters --------------------------------------------------------------------------------------------------------


def _model(family: Path):
    return ours.load_stage_model(family / "l")


def _lora(family: Path):
    return ours.lora(_model(family))


def _facts() -> dict:
    return {"trigger words": ["neon", "rain"], "base": "acestep-v15-base", "settings": {"rank": 4, "alpha": 8}}


def peft(folder: Path, family: Path) -> None:
    ours.save_adapter(_lora(family), folder / "mutant-lora", "peft", _facts())
    config = folder / "mutant-lora" / "adapter_config.json"
    patterns = {"rank_pattern": {"layers.0.self_attn.q_proj": 4}, "alpha_pattern": {"layers.1.mlp.down_proj": 8.0}}
    config.write_text(json.dumps({**json.loads(config.read_text()), **patterns, "r": 4, "lora_alpha": 8}))


def peft_lokr(folder: Path, family: Path) -> None:
    """Of layers of 32 by 32, which PEFT splits into 4 by 4 and 8 by 8."""
    delta = ours.Kronecker((ours.draw(4, 4),), (ours.draw(8, 3), ours.draw(3, 8)), 0.5)
    adapter = ours.Adapter("products", dict.fromkeys(LAYERS[:2], delta))
    ours.save_adapter(adapter, folder / "mutant-lokr", "peft", _facts())


def comfyui(folder: Path, family: Path) -> None:
    ours.save_adapter(_lora(family), folder / "mutant.safetensors", "comfyui", _facts())


def diffusers(folder: Path, family: Path) -> None:
    ours.save_adapter(_lora(family), folder / "mutant.safetensors", "diffusers", _facts())


def dora(folder: Path, family: Path) -> None:
    model = _model(family)
    ours.save_adapter(ours.dora(model, ours.lora(model, LAYERS)), folder / "mutant.safetensors", "comfyui", _facts())


def lokr(folder: Path, family: Path) -> None:
    model = _model(family)
    modules = {path: ours.kronecker(model, path, low=number == 0) for number, path in enumerate(LAYERS)}
    _products(folder, modules)


def loha(folder: Path, family: Path) -> None:
    model = _model(family)
    _products(folder, {path: ours.hadamard(model, path) for path in LAYERS})


def _products(folder: Path, modules: dict) -> None:
    adapter = ours.Adapter("products", modules)
    ours.save_adapter(adapter, folder / "mutant.safetensors", "comfyui", _facts())


def kohya(folder: Path, family: Path) -> None:
    """Names with _ for dots, alpha in tensors, settings as texts."""
    tensors = {}
    for path, delta in _lora(family).modules.items():
        if "time_embed" in path or "conv" in path:
            continue
        name = f"lora_unet_{path.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": delta.a, f"{name}.lora_up.weight": delta.b}
        tensors[f"{name}.alpha"] = torch.tensor(8.0)
    settings = {
        "ss_network_dim": "4",
        "ss_network_alpha": "8",
        "ss_network_args": json.dumps({"r": 4, "lora_alpha": 8}),
    }
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "mutant.safetensors", settings)


# ---- sound -----------------------------------------------------------------------------------------------------------


def _wave(seconds: float = SECONDS, pitch: float = 220.0) -> "ours.Waveform":
    """A tone that beats twice a second, and a little noise, so that no two samples are alike."""
    t = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.4 * torch.exp(-3 * (2 * t % 1)) * torch.sin(2 * torch.pi * pitch * t)
    noise = 0.05 * torch.randn(2, len(t), generator=torch.Generator().manual_seed(5))
    return ours.Waveform((tone + noise)[None], RATE_HZ)


def _tags(family: Path) -> dict[str, str]:
    """As `generate` writes them."""
    settings = {"seed": 5, "models": str(family), "steps": [2, 1, 1], "boundaries": [0.8, 0.4], "solver": "euler"}
    settings |= {"guidance": "1", "loudness": -14.0, "dtype": "fp32"}
    models = {slot: str(family / slot) for slot in "lms"}
    models |= {"text": str(family / "text_encoder"), "vocoder": str(family / "vae")}
    formed = {"song": SONG, "settings": settings, "models": models}
    plain = {"title": "été", "artist": "né", "seed": "5", "bpm": "120", "key": "A minor", "lyrics": SONG["lyrics"]}
    return plain | {name: json.dumps(value, ensure_ascii=False) for name, value in formed.items()}


def _sound(kind: str, depth: str | None = None) -> Callable[[Path, Path], None]:
    def make(folder: Path, family: Path) -> None:
        folder.mkdir()
        ours.audio.write(folder / f"mutant.{kind}", _wave(), bit_depth=depth, tags=_tags(family))

    make.__name__ = kind
    return make


def floats(folder: Path, family: Path) -> None:
    folder.mkdir()
    ours.audio.write(folder / "mutant.wav", _wave(), bit_depth="32f")


def m4a(folder: Path, family: Path) -> None:
    import av

    samples, target = _wave().samples[0].numpy(), io.BytesIO()
    with av.open(target, "w", format="mp4") as made:
        made.metadata.update({"title": "été", "artist": "né", "comment": "é"})
        stream = made.add_stream("aac", rate=RATE_HZ, layout="stereo")
        for start in range(0, samples.shape[1] - 1023, 1024):
            block = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE_HZ, start
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    folder.mkdir()
    (folder / "mutant.m4a").write_bytes(target.getvalue())


# ---- songs -----------------------------------------------------------------------------------------------------------


def song(folder: Path, family: Path) -> None:
    folder.mkdir()
    (folder / "mutant.json").write_text(json.dumps(SONG))


def songs(folder: Path, family: Path) -> None:
    folder.mkdir()
    rows = (SONG, {"caption": "ambient", "seed": 3, "output": "second.wav"}, {"caption": "funk", "bpm": "auto"})
    (folder / "mutant.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def score(folder: Path, family: Path) -> None:
    """A MIDI file of two tracks with a tempo, a program, notes with running status, and a drum."""
    tune = b"\0\xff\x51\x03\x07\xa1\x20\0\xc0\x49\0\x90\x45\x64\x83\x60\x45\0"
    tune += b"\0\x90\x48\x40\x83\x60\x80\x48\0\0\xff\x2f\0"
    drums = b"\0\xff\x03\x05drums\0\x99\x24\x7f\x83\x60\x24\0\0\xff\x2f\0"
    chunks = [b"MThd" + (6).to_bytes(4) + b"\0\x01\0\x02\x01\xe0"]
    chunks += [b"MTrk" + len(track).to_bytes(4) + track for track in (tune, drums)]
    folder.mkdir()
    (folder / "mutant.mid").write_bytes(b"".join(chunks))


def captions(folder: Path, family: Path) -> None:
    folder.mkdir()
    (folder / "mutant.txt").write_text(f"{json.dumps(SONG)}\n{json.dumps({'caption': 'slow blues'})}\n")


# ---- edits -----------------------------------------------------------------------------------------------------------

_EDITS = (
    {"task": "cover", "structure": 0.5, "closeness": 0.3, "codes": True},
    {"task": "repaint", "regions": [[0.5, 1.5], "bars 2-2", "3-end"], "strength": 0.5},
    {"task": "extend", "before": 1.5, "after": 2, "strength": 0},
    {"task": "lego", "tracks": ["bass"], "regions": [[1, 2]], "mix": True},
    {"task": "complete", "tracks": ["drums", "backing_vocals"]},
    {"task": "morph", "from_caption": "slow", "from_lyrics": "oh", "morph_begin": 0.2, "morph_end": 0.7, "averages": 2},
    {"task": "retake", "amount": 0.3},
)


def taught(folder: Path, family: Path) -> None:
    """Models that know every task."""
    ours.save_taught_family(folder / "family")


def _taught_tags(family: Path) -> dict[str, str]:
    return _tags(family.parent.parent / "taught" / "family")


def requests(folder: Path, family: Path) -> None:
    """One for each task, with a song of a server's library as the source."""
    (folder / "songs").mkdir(parents=True)
    ours.audio.write(folder / "songs" / "source.flac", _wave(), tags=_taught_tags(family))
    settings = {"steps": 3, "seed": 2, "guidance": 1}
    for edit in _EDITS:
        asked = {"edit": {"source": ours.song_id("source.flac"), **edit}, "settings": settings, "format": "wav"}
        (folder / f"mutant-{edit['task']}.json").write_text(json.dumps({**asked, "song": {"caption": "été"}}))


def edited(folder: Path, family: Path) -> None:
    """As `edit repaint` writes it."""
    folder.mkdir()
    source = ours.audio.write(folder / "source.flac", _wave(), tags=_taught_tags(family))
    tags = _taught_tags(family)
    made = {"edit": {"task": "repaint", "regions": [[0.5, 1.5]], "strength": 0.5}, "source": str(source)}
    tags["settings"] = json.dumps(json.loads(tags["settings"]) | made)
    ours.audio.write(folder / "mutant.flac", _wave(pitch=330.0), tags=tags)


def kept(folder: Path, family: Path) -> None:
    """A song of 3.5 s with its latents: 33 1/3 frames a second."""
    folder.mkdir()
    song = ours.audio.write(folder / "mutant.flac", _wave(), tags=_tags(family))
    ours.keep_latents(song, ours.draw(1, 8, 117), ours.audio.read(song))


def regions(folder: Path, family: Path) -> None:
    """Of an edit; behind the first | of a folder of clips."""
    folder.mkdir()
    (folder / "mutant.txt").write_text(
        "10-20, bars 12-13; 1:05-1:20\n40-end | a.wav: 1-2, 3-end | b.wav: 0:05-0:10.5\n"
    )


# ---- clips and trainings ---------------------------------------------------------------------------------------------


def _clips(folder: Path) -> None:
    (folder / "clips").mkdir(parents=True)
    for name, pitch in (("good", 220.0), ("mutant", 330.0)):
        ours.audio.write(folder / "clips" / f"{name}.wav", _wave(pitch=pitch), bit_depth="16")
        (folder / "clips" / f"{name}.txt").write_text(
            "caption: warm bass, slow drums\nbpm: 120\nkey: A minor\nlanguage: en\nlyrics: [verse]\nla la la\n"
        )


def clips(folder: Path, family: Path) -> None:
    """Each kind of sidecar beside the mutant, later ones over earlier ones."""
    _clips(folder)
    song = {"caption": "warm bass", "tags": ["bass", "slow"], "bpm": 118.6, "key": "A minor", "time": "4/4"}
    (folder / "clips" / "mutant.json").write_text(json.dumps({**song, "language": "en", "lyrics": "la", "repeat": 2}))
    (folder / "clips" / "mutant.caption.txt").write_text("warm bass, a man sings\n")
    (folder / "clips" / "mutant.lyrics.txt").write_text("[verse]\nla la la\n\n[chorus]\nna na na\n")


_ROWS = (
    {"file": "good.wav", "caption": 'warm bass, "slow"', "bpm": "120", "key": "A minor"},
    {"file": "mutant.wav", "caption": "deep house", "bpm": "99.7", "key": "C# minor"},
)


def _tabled(kind: str) -> Callable[[Path, Path], None]:
    def make(folder: Path, family: Path) -> None:
        _clips(folder)
        for words in (folder / "clips").glob("*.txt"):
            words.unlink()
        (folder / "clips" / f"mutant.{kind}").write_text(_table(kind))

    make.__name__ = f"{kind}_table"
    return make


def _table(kind: str) -> str:
    if kind == "jsonl":
        return "".join(f"{json.dumps(row)}\n" for row in _ROWS)
    mark = "," if kind == "csv" else "\t"
    quoted = [[f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row.values()] for row in _ROWS]
    return "\n".join((mark.join(_ROWS[0]), *(mark.join(row) for row in quoted), ""))


def trained(folder: Path, family: Path) -> None:
    """A training of two steps, with all that it keeps."""
    _clips(folder)
    (folder / "clips" / "mutant.txt").write_text("caption: its tempo and key are measured\n")
    training(Place(folder, family.parent.parent), steps=2)
    shutil.rmtree(folder / "mutant")


def cached(folder: Path, family: Path) -> None:
    """The states of a caption, and the song that they make."""
    folder.mkdir()
    text_cached(Place(folder, family.parent.parent))
    (folder / "song.wav").unlink(missing_ok=True)


# Each makes one folder of its own name, by the models of the first.
FOLDERS: tuple[Callable[[Path, Path], None], ...] = (
    family,
    *(
        original,
        sharded,
        pipeline,
        bundle,
        text,
        planner,
        plan,
        vae,
        split_stage,
        split_text,
        split_vae,
        all_in_one,
        models,
        known,
    ),
    *(peft, peft_lokr, comfyui, diffusers, dora, lokr, loha, kohya),
    *(_sound("wav", "16"), _sound("flac"), _sound("mp3"), _sound("ogg"), _sound("opus"), floats, m4a),
    *(
        song,
        songs,
        score,
        captions,
        taught,
        requests,
        edited,
        kept,
        regions,
        clips,
        _tabled("csv"),
        _tabled("tsv"),
        _tabled("jsonl"),
        trained,
        cached,
    ),
)

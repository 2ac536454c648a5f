"""A work folder that a training goes on from: out of a family that was exported, or out of a state that was kept.

A state is what the trainings need to go on, in half precision and small files, the moving averages for the weights, and
without the optimisers' own numbers; where it is asked for, the encoded songs too: some tens of MB. The vocoder of a
family counts as done, and so does its text encoder where it knows all of today's words.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.layouts import AUDIO_TOKEN_PARTS
from ..checkpoints.load import load_stage_model, load_text_encoder, load_vae
from ..checkpoints.save import write_tensors
from ..errors import UserError, shown
from ..json_text import read_json_object
from ..system.files import whole_file, write_whole
from . import codes, flow, language, vocoder
from .boundaries import curve_path
from .checkpointing import load_state, load_weights, save_state
from .latent_archive import keep_latents, restore_latents

STATE_FILE, LATENTS, FILE_BYTES_MOST = "state.json", "latents", 12 << 20
_OPTIMISERS = ("optimiser", "optimisers")  # none after a warm start
# The phases that have a state, and what each must hold, beside its numbers.
_TENSORS = {
    "vocoder": ("vae", "pitch_head"),
    "vocoder_decoder": ("vae", "pitch_head", "judge"),
    "text": ("trained",),
    "codes": ("networks",),
    "planner": ("network",),
    **dict.fromkeys(flow.SLOTS, ("average",)),
}
_TEXTS = {"planner": ("tokenizer",)}


_LAST_OF_LAYER = ("self_attn.to_out.0.weight", "cross_attn.to_out.0.weight", "mlp.down_proj.weight")


def warm_start(work: Path, family: Path) -> None:
    """Raises UserError where the work folder already holds a training, or the family another vocabulary."""
    if any((work / f"{name}.pt").exists() for name in _TENSORS):
        raise UserError(
            f"--warm: {work} already holds a training; leave --warm out to go on with it, or name another --work"
        )
    if (family / STATE_FILE).is_file():
        _warm_state(work, family)
    else:
        _warm_family(work, family)


# ---- a state ---------------------------------------------------------------------------------------------------------


def keep_state(work: Path, target: Path, latents: bool = False) -> int:
    """Writes what the trainings in a work folder have reached so far, with `latents` the encoded songs too; returns its
    size in bytes.
    """
    target.mkdir(parents=True, exist_ok=True)
    about = {}
    for phase in _TENSORS:
        state = load_state(work / f"{phase}.pt")
        if state:
            about[phase] = _keep_phase(target, phase, state)
    for path in _tables(work):
        shutil.copyfile(path, target / path.name)
    if latents:
        keep_latents(work / LATENTS, target, FILE_BYTES_MOST)
    write_whole(target / STATE_FILE, json.dumps(about, indent=1).encode())
    return sum(path.stat().st_size for path in target.iterdir())


def _tables(folder: Path) -> list[Path]:
    paths = [folder / "scale.json", *(curve_path(folder, name) for name in flow.SLOTS)]
    return [path for path in paths if path.exists()]


def _keep_phase(target: Path, phase: str, state: dict) -> dict:
    """Writes a phase's tensors; returns its numbers, and the files that hold the tensors."""
    dropped = (*_OPTIMISERS, *(("networks",) if "average" in state else ()))
    tensors, numbers = {}, {}
    for name, value in state.items():
        if name not in dropped:
            numbers |= {name: value} if not isinstance(value, dict) else {}
            tensors |= {f"{name}/{key}": t for key, t in value.items()} if isinstance(value, dict) else {}
    files = []
    for part in _parts({name: _half(tensor) for name, tensor in tensors.items()}):
        files.append(f"{phase}-{len(files) + 1}.safetensors")
        with whole_file(target / files[-1]) as path:
            write_tensors(part, path, {"format": "pt"})
    return {"numbers": numbers, "files": files}


def _parts(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors in groups that make small files."""
    part, size = {}, 0
    for name, tensor in tensors.items():
        if part and size + tensor.nbytes > FILE_BYTES_MOST:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += tensor.nbytes
    yield part


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float16 if tensor.is_floating_point() else tensor.dtype).cpu().contiguous()


def _warm_state(work: Path, folder: Path) -> None:
    """Everything is read before anything is written, so that a state that is not whole leaves no half of a training."""
    about = read_json_object(folder / STATE_FILE)
    for phase, state in {phase: _read_phase(folder, phase, one) for phase, one in about.items()}.items():
        save_state(work / f"{phase}.pt", **state, **dict.fromkeys(_OPTIMISERS))
    for path in _tables(folder):
        shutil.copyfile(path, work / path.name)
    restore_latents(folder, work / LATENTS)


def _read_phase(folder: Path, phase: str, about) -> dict:
    """The state of a phase. Raises UserError where the file tells of something else: its names become paths."""
    numbers, files = (about.get(name) if isinstance(about, dict) else None for name in ("numbers", "files"))
    if (
        phase not in _TENSORS
        or not isinstance(numbers, dict)
        or not isinstance(numbers.get("step"), int)
        or not isinstance(files, list)
        or not all(isinstance(file, str) and file == Path(file).name for file in files)
        or not _are_ids(numbers.get("kept", []))
    ):
        raise UserError(
            f"{folder / STATE_FILE}: {shown(phase)} is no phase of a training with its numbers and files; expected "
            "what train tiny --only state writes"
        )
    tensors = _read_tensors(folder, files)
    lacking = [name for name in _TENSORS[phase] if name not in tensors]
    lacking += [name for name in _TEXTS.get(phase, ()) if not isinstance(numbers.get(name), str)]
    if lacking:
        raise UserError(
            f"{folder / STATE_FILE}: {phase} has no {', '.join(lacking)}; the state is not whole, get it again"
        )
    if "average" in tensors:
        tensors["networks"] = dict(tensors["average"])
    if phase == "text":
        _check_words(folder, tensors["trained"].get("0.embed_tokens.weight", torch.empty(0)))
    return numbers | tensors


def _are_ids(kept) -> bool:
    """Whether these are ids of the words that are trained now."""
    words = len(language.new_tokenizer()) if kept else 0
    return isinstance(kept, list) and all(type(id) is int and 0 <= id < words for id in kept)


def _read_tensors(folder: Path, files: list[str]) -> dict[str, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found: dict[str, dict[str, torch.Tensor]] = {}
    for file in files:
        try:
            tensors = load_file(folder / file)
        except (OSError, SafetensorError) as exc:
            raise UserError(f"{folder / file}: cannot be read ({exc}); the state is not whole, get it again") from exc
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            found.setdefault(part, {})[key] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def _check_words(folder: Path, embeddings: torch.Tensor) -> None:
    known = len(language.new_tokenizer())
    if len(embeddings) != known:
        raise UserError(
            f"--warm: {folder} has {len(embeddings)} words, families that are trained now {known}; leave --warm out"
        )


# ---- a family --------------------------------------------------------------------------------------------------------


def _warm_family(work: Path, family: Path) -> None:
    """Of a family with another vocabulary the words that both know are kept, so that its stages understand them; the
    others are learnt in the phase text. Of its stages what fits is kept.
    """
    text, known = language.Trainer(work, 0), load_text_encoder(family / "text_encoder")
    vae = vocoder.new_vocoder()
    load_weights(vae, _wide(load_vae(family / "vae")), family / "vae")
    head = vocoder.new_pitch_head().state_dict()
    trained = dict(vae=vae.state_dict(), pitch_head=head, step=vocoder.STEPS)
    save_state(work / "vocoder.pt", **trained, **dict.fromkeys(_OPTIMISERS))
    write_whole(work / "scale.json", json.dumps({"scale": 1.0}).encode())  # folded into the exported layers
    if known.tokenizer.get_vocab() == text.tokenizer.get_vocab():
        text.model.load_state_dict(_wide(known.model))
        text.step = language.STEPS
    else:
        text.keep(language.take_over(text.model, text.tokenizer, known.model, known.tokenizer))
    text.save()
    for slot in flow.SLOTS.values():
        if (family / slot.name).is_dir():
            _warm_slot(work, family / slot.name, slot)


def _warm_slot(work: Path, folder: Path, slot) -> None:
    has_codes = all(part in read_checkpoint(folder).parts for part in AUDIO_TOKEN_PARTS)
    model = load_stage_model(folder, parts=AUDIO_TOKEN_PARTS if has_codes else ())
    networks = flow.Networks(slot)
    _load_what_fits(networks.transformer, _wide(model.transformer))
    _load_what_fits(networks.encoder, _wide(model.condition_encoder))
    weights = networks.state_dict()
    nothing = dict.fromkeys(_OPTIMISERS)
    save_state(work / f"{slot.name}.pt", networks=weights, average=weights, step=0, warm_from=0, **nothing)
    if has_codes and not (work / "codes.pt").exists():
        made = codes.Networks(slot.encoder)
        made.tokenizer.load_state_dict(_wide(model.audio_tokenizer))
        made.detokenizer.load_state_dict(_wide(model.audio_token_detokenizer))
        save_state(work / "codes.pt", networks=made.state_dict(), step=codes.STEPS, **nothing)


def _load_what_fits(module, weights: dict) -> None:
    """Loads the weights of the same shapes. A layer that the model has not begins by changing nothing."""
    own = module.state_dict()
    fits = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    lacking = [name for name in own if name.endswith(_LAST_OF_LAYER) and name not in weights]
    module.load_state_dict(fits | {name: torch.zeros_like(own[name]) for name in lacking}, strict=False)


def _wide(module) -> dict:
    return {name: tensor.float() for name, tensor in module.state_dict().items()}

"""A family that was exported → a work folder that a training goes on from, without the state of its optimisers.

Encoder and text encoder count as done: the transformers know no other latents and no other words.
"""

import json
from pathlib import Path

from ..checkpoints.load import load_stage_model, load_text_encoder, load_vae
from ..errors import UserError
from ..system.files import write_whole
from . import flow, language, vocoder
from .checkpointing import save_state


def warm_start(work: Path, family: Path) -> None:
    """Raises UserError where the work folder already holds a training."""
    if any((work / f"{name}.pt").exists() for name in ("vocoder", "text", *flow.SLOTS)):
        raise UserError(
            f"--warm: {work} already holds a training; leave --warm out to go on with it, or name another --work"
        )
    text, known = language.Trainer(work, 0), load_text_encoder(family / "text_encoder")
    if known.tokenizer.get_vocab() != text.tokenizer.get_vocab():
        raise UserError(f"--warm: {family} has another vocabulary than families that are trained now; leave --warm out")
    vae = vocoder.new_vocoder()
    vae.load_state_dict(_wide(load_vae(family / "vae")))
    head = vocoder.new_pitch_head().state_dict()
    save_state(work / "vocoder.pt", vae=vae.state_dict(), pitch_head=head, optimiser=None, step=vocoder.STEPS)
    write_whole(work / "scale.json", json.dumps({"scale": 1.0}).encode())  # folded into the exported layers
    text.model.load_state_dict(_wide(known.model))
    text.step = language.STEPS
    text.save()
    for slot in flow.SLOTS.values():
        if (family / slot.name).is_dir():
            _warm_slot(work, family / slot.name, slot)


def _warm_slot(work: Path, folder: Path, slot) -> None:
    model, networks = load_stage_model(folder), flow.Networks(slot)
    networks.transformer.load_state_dict(_wide(model.transformer))
    state = _wide(model.condition_encoder)
    networks.encoder.load_state_dict(
        {name: state[name] for name in networks.encoder.state_dict() if name != "silence_latent"}, strict=False
    )
    weights = networks.state_dict()
    save_state(work / f"{slot.name}.pt", networks=weights, average=weights, optimisers=None, step=0)


def _wide(module) -> dict:
    return {name: tensor.float() for name, tensor in module.state_dict().items()}

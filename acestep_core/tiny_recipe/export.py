"""Work folder → the embedded family: vocoder, text encoder, stages L, M, S in the original layout, half precision."""

import json
from pathlib import Path

import torch

from ..checkpoints.save import save_stage_model, save_text_encoder, save_vae
from ..checkpoints.variants import HEADS_KEY
from ..json_text import read_json_object
from ..models.defaults import COVER
from ..planner.load import OWN_SETTINGS
from ..system.files import write_whole
from . import assignments, boundaries, channels_last, codes, flow, language, planner, vocoder
from .checkpointing import finished_state, load_state, load_weights
from .latents import FRAMES_PER_SECOND, measured_scale
from .packed import FOLLOWER, follower_layer
from .planner_words import tokenizer_of
from .songs import Shelf
from .words import new_tokenizer

SILENCE_SECONDS = 4.0
PLANNER_FOLDER = "planner"
TEXT_TEMPERATURE = 0.3  # more of its values miss what a line says above it
# How the family plays when nobody says otherwise; chosen by ear and by `acestep-cascade bench tiny`. Boundaries and
# steps stand in for those of the stages' loss curves, where there are none.
BOUNDARIES, CASCADE_STEPS, SHIFT = (0.4375, 0.1875), (14, 4, 2), 3.0
GUIDANCE, GUIDANCE_KIND = 10.0, "apg"


def load_vocoder(work: Path):
    """The trained AutoencoderOobleck, its decoder as far as it has been polished."""
    vae = vocoder.new_vocoder()
    state = load_state(work / "vocoder_decoder.pt") or finished_state(work / "vocoder.pt", "vocoder")
    load_weights(vae, state["vae"], work)
    return vae.eval()


def latent_scale(vae, work: Path) -> float:
    """The factor that gives latents a deviation of 1; measured once, since the transformers depend on it."""
    path = work / "scale.json"
    if not path.exists():
        write_whole(path, json.dumps({"scale": measured_scale(vae, Shelf(work / "songs"))}).encode())
    return read_json_object(path)["scale"]


@torch.no_grad()
def fold_scale(vae, scale: float) -> None:
    """Moves the scale of the latents into the layers before and behind them; exact, but for the width of the
    posterior, which is only so where it is small.
    """
    last, first = vae.encoder.conv2, vae.decoder.conv1
    channels = last.bias.shape[0] // 2
    last.weight_g[:channels] *= scale
    last.bias[:channels] *= scale
    last.bias[channels:] += torch.log(torch.tensor(scale))
    first.weight_g /= scale


@torch.no_grad()
def silence_of(vae, scale: float) -> torch.Tensor:
    """Encoded silence [1, C, N]: its beginning, and then a frame that may be repeated."""
    wave = torch.zeros(1, 2, int((SILENCE_SECONDS + 1) * 48_000))
    mean = channels_last.encode(vae.encoder, wave).chunk(2, 1)[0] * scale
    return mean[..., : int(SILENCE_SECONDS * FRAMES_PER_SECOND)].clone()


def load_codes(work: Path) -> codes.Networks | None:
    """The trained audio tokenizer; None where that phase has not been run."""
    state = load_state(work / "codes.pt")
    if state is None:
        return None
    networks = codes.Networks(flow.SLOTS["l"].encoder)
    load_weights(networks, state["networks"], work)
    return networks.eval().requires_grad_(False)


def export(work: Path, target: Path) -> int:
    """Writes the parts that are trained; returns their size on disk in bytes."""
    vae = load_vocoder(work)
    scale = latent_scale(vae, work)
    silence = silence_of(vae, scale)
    fold_scale(vae, scale)
    save_vae(target / "vae", vae, dtype=torch.float16)
    tokenizer = new_tokenizer()
    encoder = language.new_encoder(len(tokenizer))
    trained = finished_state(work / "text.pt", "text")["trained"]
    encoder.load_state_dict({k[2:]: v for k, v in trained.items() if k[:2] == "0."})
    save_text_encoder(target / "text_encoder", encoder, tokenizer, dtype=torch.float16)
    if (work / "planner.pt").exists():
        export_planner(work, target / PLANNER_FOLDER)
    made = load_codes(work)
    for slot in flow.SLOTS.values():
        state = load_state(work / f"{slot.name}.pt")
        if state:
            networks = flow.Networks(slot)
            load_weights(networks, state["average"], work, flow.LATER)
            _save_slot(target / slot.name, slot, networks, silence, made, defaults(work, made is not None))
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def export_planner(work: Path, folder: Path) -> int:
    """Writes the planner in the published form; returns its size on disk in bytes."""
    state = finished_state(work / "planner.pt", "planner")
    tokenizer = tokenizer_of(state["tokenizer"])
    network = planner.Network(len(tokenizer))
    load_weights(network, state["network"], work)
    save_text_encoder(folder, network.model, tokenizer, dtype=torch.float16)
    config = read_json_object(folder / "config.json")
    own = {OWN_SETTINGS: {"text_temperature": TEXT_TEMPERATURE}}
    write_whole(folder / "config.json", json.dumps(config | own, indent=2).encode())
    return sum(file.stat().st_size for file in folder.iterdir())


def defaults(work: Path, has_codes: bool) -> dict:
    """How the family plays: the tasks that it was trained for, and its boundaries, where its loss curves cross."""
    curves = boundaries.known_curves(work, flow.SLOTS)
    edges, steps = BOUNDARIES, CASCADE_STEPS
    if curves:
        edges, steps = boundaries.propose(curves, sum(CASCADE_STEPS), SHIFT)
    return dict(
        variant="tiny",
        steps=sum(steps),
        shift=SHIFT,
        guidance=GUIDANCE,
        guidance_kind=GUIDANCE_KIND,
        boundaries=list(edges),
        cascade_steps=list(steps),
        tasks=[task for task in assignments.KNOWN if has_codes or task != COVER],
    )


def _save_slot(folder: Path, slot, networks, silence: torch.Tensor, made: codes.Networks | None, settings: dict):
    extra = dict(timbre_fix_frame=flow.TIMBRE_FRAMES, is_turbo=False, model_version="tiny", acestep_cascade=settings)
    if slot.follows:
        extra[HEADS_KEY] = {follower_layer(slot.transformer["num_hidden_layers"]): [FOLLOWER]}
        extra["acestep_cascade"] = settings | {"lyric_heads_trained": True}
    parts = (networks.transformer, networks.encoder, silence, extra)
    tokens = (made.tokenizer, made.detokenizer) if made else (None, None)
    save_stage_model(folder, *parts, torch.float16, *tokens, family=slot.family)

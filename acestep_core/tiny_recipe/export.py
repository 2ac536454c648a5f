"""Work folder → the embedded family: vocoder, text encoder, stages L, M, S in the original layout, half precision."""

import json
from pathlib import Path

import torch

from ..checkpoints.save import save_stage_model, save_text_encoder, save_vae
from ..json_text import read_json_object
from ..system.files import write_whole
from . import channels_last, flow, language, vocoder
from .checkpointing import finished_state, load_state
from .words import new_tokenizer

SILENCE_SECONDS = 4.0
SCALE_CLIPS = 24
# How the family plays when nobody says otherwise; chosen by ear and by `acestep-cascade bench tiny`.
BOUNDARIES, CASCADE_STEPS, SHIFT = (0.2, 0.07), (14, 3, 2), 3.0
GUIDANCE, GUIDANCE_KIND = 5.0, "apg"


def load_vocoder(work: Path):
    """The trained AutoencoderOobleck, its decoder as far as it has been polished."""
    vae = vocoder.new_vocoder()
    state = load_state(work / "vocoder_decoder.pt") or finished_state(work / "vocoder.pt", "vocoder")
    vae.load_state_dict(state["vae"])
    return vae.eval()


def latent_scale(vae, work: Path) -> float:
    """The factor that gives latents a deviation of 1; measured once, since the transformers depend on it."""
    path = work / "scale.json"
    if not path.exists():
        with torch.no_grad():
            means = [_means(vae, file) for file in sorted((work / "clips").glob("*.npy"))[:SCALE_CLIPS]]
        write_whole(path, json.dumps({"scale": 1 / float(torch.cat(means, -1).std())}).encode())
    return read_json_object(path)["scale"]


def _means(vae, file: Path) -> torch.Tensor:
    from . import clips

    wave = torch.from_numpy(clips.load(file).astype("float32") / 32767)[None]
    return channels_last.encode(vae.encoder, wave, torch.bfloat16).chunk(2, 1)[0]


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
    return mean[..., : int(SILENCE_SECONDS * flow.FRAMES_PER_SECOND)].clone()


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
    for slot in flow.SLOTS.values():
        state = load_state(work / f"{slot.name}.pt")
        if state:
            networks = flow.Networks(slot)
            networks.load_state_dict(state["average"])
            _save_slot(target / slot.name, slot, networks, silence)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def _save_slot(folder: Path, slot, networks, silence: torch.Tensor) -> None:
    defaults = dict(
        variant="tiny", steps=sum(CASCADE_STEPS), shift=SHIFT, guidance=GUIDANCE, guidance_kind=GUIDANCE_KIND
    )
    defaults |= dict(boundaries=list(BOUNDARIES), cascade_steps=list(CASCADE_STEPS))
    extra = dict(timbre_fix_frame=flow.TIMBRE_FRAMES, is_turbo=False, model_version="tiny", acestep_cascade=defaults)
    save_stage_model(
        folder, networks.transformer, networks.encoder, silence, extra, dtype=torch.float16, family=slot.family
    )

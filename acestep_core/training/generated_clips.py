"""Songs that a stage model makes alone, from noise to music, as examples to be learnt from: no clips are needed.

Song i is drawn from (seed, i); each is kept by all that it was made from, so the next training begins at once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..flow.stages import Stage, noise, run
from ..models.condition import encode_condition
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from ..system.files import write_whole
from .prepare import Example, digest, fingerprint
from .rng import seed_of

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder


@torch.inference_mode(False)  # what is made in it could never be learnt from
def generated_examples(
    model: "StageModel", text: "TextEncoder", songs: Sequence[Song], frames: int, seed: int, cache: Path
) -> Iterator[Example]:
    """An example of so many latent frames for each song, made as the model's checkpoint has it run alone."""
    networks = model.transformer, model.condition_encoder, text.model
    maker, dtypes = " ".join(map(fingerprint, networks)), " ".join(str(network.dtype) for network in networks)
    for number, song in enumerate(songs):
        own = seed_of(seed, "made", number)
        asked = f"{maker} {text_prompt(song)} {lyrics_prompt(song)} {frames} {own} {model.defaults}"
        key = digest(asked)  # a training goes on at another dtype
        file = cache / "made" / f"{digest(asked, dtypes)}.safetensors"
        try:
            made = load_file(file)
            made = made["latents"], made["states"]
        except (OSError, SafetensorError, KeyError):  # not there, or damaged: made anew
            made = _make(model, text, song, frames, own)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, save(dict(zip(("latents", "states"), made, strict=True))))
        yield Example(file, song, *made, key)


@torch.no_grad()
def _make(model: "StageModel", text: "TextEncoder", song: Song, frames: int, seed: int):
    condition = encode_condition(model, text.encode(song), frames)
    stage = Stage(model)
    for step in run([stage], noise([seed], model.latents_channels, frames), [condition], [seed]):
        latents = step.latents
    return latents.cpu().contiguous(), condition.states.cpu().contiguous()

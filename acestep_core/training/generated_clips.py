"""Songs that a stage model generates alone, from noise to music, as training examples: no clips are needed.

Song i follows from (seed, i). Each is cached under a hash of all that it depends on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..flow.stages import Stage, noise, run
from ..models.condition import encode_condition
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from .prepare import Example, digest, fingerprint
from .rng import seed_of
from .tensor_cache import read_or_make

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder


PARTS = ("latents", "states")


@torch.inference_mode(False)  # tensors made in it could not be trained on
def generated_examples(
    model: "StageModel", text: "TextEncoder", songs: Sequence[Song], frames: int, seed: int, cache: Path
) -> Iterator[Example]:
    """An example of `frames` latent frames for each song, generated with the defaults of the model's checkpoint."""
    networks = model.transformer, model.condition_encoder, text.model
    maker, dtypes = " ".join(map(fingerprint, networks)), " ".join(str(network.dtype) for network in networks)
    for number, song in enumerate(songs):
        own = seed_of(seed, "made", number)
        request = f"{maker} {text_prompt(song)} {lyrics_prompt(song)} {frames} {own} {model.defaults}"
        file = cache / "made" / f"{digest(request, dtypes)}.safetensors"
        made = read_or_make(file, PARTS, lambda: _generate(model, text, song, frames, own))  # noqa: B023  called at once
        yield Example(file, song, made["latents"], made["states"], digest(request))  # the same key at another dtype


@torch.no_grad()
def _generate(model: "StageModel", text: "TextEncoder", song: Song, frames: int, seed: int) -> dict[str, torch.Tensor]:
    condition = encode_condition(model, text.encode(song), frames)
    stage = Stage(model)
    for step in run([stage], noise([seed], model.latents_channels, frames), [condition], [seed]):
        latents = step.latents
    return dict(zip(PARTS, (latents.cpu(), condition.states.cpu()), strict=True))

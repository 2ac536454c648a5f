"""TextStates + Reference -> Condition, through a model's own condition encoder.

The transformer attends to the states [B, L, D]: lyrics, then one token for each timbre clip, then text. The context
[B, 2C, T] is concatenated with the latents: source latents, then the chunk mask, which is 1 where new music is made.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from ..errors import UserError
from ..nn.attention import reach_of, rotary_table, self_attention, window_of
from ..nn.rms_norm import normed
from .kept import context
from .reference import Reference, fit_timbre

if TYPE_CHECKING:
    from .stage_model import StageModel
    from .text_encoder import TextStates


# The timbre of silence by condition encoder and (token before it, frames, dtype): most songs have no clip.
_SILENT_TIMBRE: "WeakKeyDictionary[torch.nn.Module, dict]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Condition:
    """The condition of one stage, made by the stage's own condition encoder. One item serves a batch of any size.

    `other`: a second condition of an edit, which the steps after the switch use, or which describes the source.
    """

    states: torch.Tensor  # [1 or B, L, D]
    null: torch.Tensor  # [1, 1, D], the unconditional state
    context: torch.Tensor  # [1 or B, 2C, T]
    other: "Condition | None" = None

    @property
    def second(self) -> "Condition":
        """The second condition. Raises UserError where there is none."""
        if self.other is None:
            raise UserError("edit: its second text is missing; encode the text of the song together with its edit")
        return self.other


def encode_condition(
    model: "StageModel",
    text: "TextStates",
    frames: int,
    reference: Reference | None = None,
    hints: torch.Tensor | None = None,
) -> Condition:
    """The Condition of one song of `frames` latent frames. Raises UserError where a clip to continue is as long as the
    song, and where the text states come from another family's encoder.

    `hints` [1, C, T]: the source of an edit through the model's own codes (`semantic_codes.source_hints`).
    """
    reference = reference or Reference()
    states, null = _states(model, text, reference.timbre), model.condition_encoder.null_condition_emb.detach()
    silent = model.silent(frames)
    made = reference.source.context(silent, hints) if reference.source else context(silent)
    if text.other is None:
        return Condition(states, null, made)
    other = Condition(_states(model, text.other, reference.timbre), null, context(silent))
    return Condition(states, null, made, other)


def _states(model: "StageModel", text: "TextStates", timbre: tuple[torch.Tensor, ...]) -> torch.Tensor:
    encoder = model.condition_encoder
    weight = encoder.text_projector.weight
    if text.text.shape[-1] != weight.shape[1]:
        raise UserError(
            f"{model.name} reads text of width {weight.shape[1]}, got states of width {text.text.shape[-1]}; take the "
            "text encoder of the model's own family"
        )
    text = text.to(weight.device, weight.dtype)
    with torch.no_grad():
        lyrics = encode_lyrics(encoder.lyric_encoder, text.lyrics)
        return torch.cat([lyrics, _timbre(model, timbre)[None], encoder.text_projector(text.text)], dim=1)


def _timbre(model: "StageModel", clips: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """One vector [N, D] for each timbre clip; without clips the vector of silence, computed once for each encoder."""
    encoder = model.condition_encoder
    weight, token = encoder.text_projector.weight, model.family == "xl"

    def encode(clips: list[torch.Tensor]) -> torch.Tensor:
        return encode_timbre(encoder.timbre_encoder, torch.cat(clips).to(weight), token)

    if clips:
        return encode([fit_timbre(clip, model.timbre_frames) for clip in clips])
    if weight.requires_grad:  # the encoder is being trained
        return encode([model.silent(model.timbre_frames)])
    known, key = _SILENT_TIMBRE.setdefault(encoder, {}), (token, model.timbre_frames, weight.dtype)
    if key not in known:
        known[key] = encode([model.silent(model.timbre_frames)])
    return known[key].to(weight.device)


def encode_lyrics(encoder: torch.nn.Module, lyrics: torch.Tensor) -> torch.Tensor:
    """Embeddings of lyrics without padding [B, L, Dt] -> [B, L, D]."""
    return normed(encoder.norm, _encoded(encoder, encoder.embed_tokens(lyrics)))


def encode_timbre(encoder: torch.nn.Module, clips: torch.Tensor, timbre_token: bool) -> torch.Tensor:
    """Timbre clips [N, C, F] -> one vector each [N, D], taken at the first position."""
    stream = encoder.embed_tokens(clips.transpose(1, 2))
    if timbre_token:
        stream = torch.cat([encoder.special_token.to(stream).expand(len(stream), -1, -1), stream], dim=1)
    return normed(encoder.norm, _encoded(encoder, stream)[:, 0])


def _encoded(encoder: torch.nn.Module, stream: torch.Tensor) -> torch.Tensor:
    """A stream [B, N, D] through the layers of a lyric or timbre encoder."""
    tokens, head_dim = stream.shape[1], encoder.head_dim
    rotary = rotary_table(tokens, head_dim, encoder.rope_theta, stream)
    windows = {reach: window_of(tokens, reach, stream, head_dim) for reach in map(reach_of, encoder.layers)}
    for layer in encoder.layers:
        moved = normed(layer.input_layernorm, stream)
        stream = stream + self_attention(layer.self_attn, moved, rotary, windows[reach_of(layer)])
        stream = stream + layer.mlp(normed(layer.post_attention_layernorm, stream))
    return stream

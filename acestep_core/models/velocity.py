"""A Condition and a diffusion transformer -> velocity(latents, t).

Outside, time is the last axis: latents and velocities [B, C, T]. Inside, the stream is [B, N, hidden] with N =
ceil(T / patch). The networks are those of transformer.py, or diffusers', whose modules have the same names. Each layer
is called as a whole and never unwrapped, so that adapters around a layer, and layers whose weights are on another
device, work. `prepare` computes once all constants of a run: the cross-attention's keys and values, rotary tables,
masks, and the embedding of t - r = 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..errors import UserError
from ..nn.attention import Window, attend, heads, out, reach_of, rotary_table, self_attention, window_of
from ..nn.rms_norm import modulated, normed

if TYPE_CHECKING:
    from .condition import Condition
    from .transformer import Transformer


def prepare(
    transformer: "Transformer",
    condition: "Condition",
    *,
    device: "torch.device | str | None" = None,
    dtype: torch.dtype | None = None,
) -> "Velocity":
    """The velocity of a song under a condition, on the device and at the dtype of the weights unless given.

    A condition of one item serves a batch of any size. Raises UserError where the condition was made for a transformer
    of another width or other latents.
    """
    device = torch.device(device) if device else next(transformer.parameters()).device
    return Velocity(transformer, condition, device, dtype or transformer.dtype)


@dataclass(frozen=True)
class _Layer:
    """A block with its constants of a run: the window, and keys and values [1 or B, K, L, D] of its cross-attention."""

    block: torch.nn.Module
    window: Window | None
    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Places:
    """Constants of a length: the rotary table of its tokens, and the window of each reach of a layer."""

    rotary: tuple[torch.Tensor, torch.Tensor]
    windows: Mapping[int | None, Window | None]

    @staticmethod
    def of(transformer: "Transformer", frames: int, like: torch.Tensor) -> "Places":
        """Those of so many latent frames, on the device and in the dtype of `like`."""
        config = transformer.config
        tokens, head = -(-frames // config.patch_size), config.head_dim
        windows = {reach: window_of(tokens, reach, like, head) for reach in map(reach_of, transformer.layers)}
        return Places(rotary_table(tokens, head, config.rope_theta, like), windows)


Cross = Callable[[torch.Tensor, int], torch.Tensor]  # (stream, layer number) -> the output of cross-attention


class Velocity:
    """velocity(latents [B, C, T], t) -> [B, C, T], with the latents' dtype and device. See `prepare`.

    `places`: those of the condition's frames, where they are at hand.
    """

    def __init__(
        self,
        transformer: "Transformer",
        condition: "Condition",
        device: torch.device,
        dtype: torch.dtype,
        places: Places | None = None,
    ):
        self.transformer, self.device, self.dtype = transformer, device, dtype
        self.frames = condition.context.shape[-1]
        self._check(condition)
        config = transformer.config
        self._padding = -self.frames % config.patch_size
        self._context = functional.pad(self._own(condition.context), (0, self._padding))
        places = places or Places.of(transformer, self.frames, self._context)
        self._rotary = places.rotary
        states = transformer.condition_embedder(self._own(condition.states))
        self._layers = [_layer(block, places.windows[reach_of(block)], states) for block in transformer.layers]
        self._null_states = self._own(condition.null)
        self._null_vectors: list[torch.Tensor] | None = None
        self._no_jump = self._embed(transformer.time_embed_r, torch.zeros(1, device=device))

    def __call__(self, latents: torch.Tensor, t: "float | torch.Tensor", r: torch.Tensor | None = None) -> torch.Tensor:
        """The velocity at flow time `t`, one for all items or one each [B]. `r`: where a jump ends, default t."""
        return self._forward(latents, t, r, self._cross)

    def null(self, latents: torch.Tensor, t: "float | torch.Tensor") -> torch.Tensor:
        """The unconditional velocity: without text, lyrics and timbre.

        The null condition is one token, so each query of cross-attention gets its value: the output is a constant of
        the layer.
        """
        vectors = self._constants()
        return self._forward(latents, t, None, lambda stream, number: vectors[number])

    def with_null(self, latents: torch.Tensor, t: "float | torch.Tensor") -> tuple[torch.Tensor, torch.Tensor]:
        """The conditional and the unconditional velocity, [B, C, T] each, in one pass over the weights."""
        items = len(latents)
        vectors = self._constants()

        def cross(stream: torch.Tensor, number: int) -> torch.Tensor:
            conditional = self._cross(stream[:items], number)
            return torch.cat([conditional, vectors[number].expand_as(conditional)])

        t = torch.as_tensor(t, dtype=torch.float32).reshape(-1)
        made = self._forward(torch.cat([latents, latents]), t.repeat(2) if len(t) > 1 else t, None, cross)
        return made[:items], made[items:]

    def _constants(self) -> list[torch.Tensor]:
        """The output of each layer's cross-attention under the null condition, [1, 1, hidden]."""
        if self._null_vectors is None:
            states = self.transformer.condition_embedder(self._null_states)
            self._null_vectors = [_null_vector(layer.block.cross_attn, states) for layer in self._layers]
        return self._null_vectors

    def _check(self, condition: "Condition") -> None:
        config = self.transformer.config
        got = condition.states.shape[-1], condition.context.shape[1]
        expected = (
            config.encoder_hidden_size or config.hidden_size,
            config.in_channels - config.audio_acoustic_hidden_dim,
        )
        if got != expected:
            raise UserError(
                f"condition: got states of width {got[0]} and {got[1]} channels of context, expected {expected[0]} and "
                f"{expected[1]}; a stage takes the condition that its own model's encoder made"
            )

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, self.dtype)

    def _embed(self, embedding: torch.nn.Module, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # t is float32 up to the sinusoid: bfloat16 would round 1000 t to multiples of four radians.
        frequencies = embedding.time_sinusoid(t * embedding.scale).to(self.dtype)
        state = embedding.linear_2(embedding.act1(embedding.linear_1(frequencies)))
        return state, embedding.time_proj(embedding.act2(state)).unflatten(1, (6, -1))

    def cross_weights(self, latents: torch.Tensor, t: float, wanted: Mapping[int, Sequence[int]]) -> list[torch.Tensor]:
        """Softmax weights of the cross-attention heads of `wanted`, by layer: for each layer [B, heads, N, L] float32.

        Layers behind the deepest wanted one do not run.
        """
        found = []

        def cross(stream: torch.Tensor, number: int) -> torch.Tensor:
            if number in wanted:
                found.append(self._weights(stream, number, wanted[number]))
            return self._cross(stream, number)

        stream, _, shifts = self._begun(latents, t, None)
        for number in range(max(wanted) + 1):
            stream = self._block(stream, number, shifts, cross)
        return found

    def _forward(self, latents: torch.Tensor, t, r, cross: Cross) -> torch.Tensor:
        stream, state, shifts = self._begun(latents, t, r)
        for number in range(len(self._layers)):
            stream = self._block(stream, number, shifts, cross)
        shift, scale = (self.transformer.scale_shift_table.to(stream) + state[:, None]).chunk(2, dim=1)
        stream = modulated(self.transformer.norm_out, stream, shift, scale).to(self.dtype)
        return self.transformer.proj_out_conv(stream.transpose(1, 2))[..., : self.frames].to(latents)

    def _begun(self, latents: torch.Tensor, t, r) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The stream [B, N, hidden] before the first layer, and the state and the shifts of its time."""
        if latents.shape[-1] != self.frames:
            raise UserError(f"latents: got {latents.shape[-1]} frames, expected {self.frames} as in their condition")
        t = torch.as_tensor(t, dtype=torch.float32, device=self.device).reshape(-1)
        state, shifts = self._embed(self.transformer.time_embed, t)
        jump, jump_shifts = self._no_jump if r is None else self._embed(self.transformer.time_embed_r, t - r.to(t))
        return self._patches(latents), state + jump, shifts + jump_shifts

    def _patches(self, latents: torch.Tensor) -> torch.Tensor:
        latents = functional.pad(self._own(latents), (0, self._padding))
        context = self._context.repeat(len(latents) // len(self._context), 1, 1)
        channels = torch.cat([context, latents], dim=1)
        # contiguous: with a transposed view, each matrix product of all layers would copy its weights.
        return self.transformer.proj_in_conv(channels).transpose(1, 2).contiguous()

    def _block(self, stream: torch.Tensor, number: int, shifts: torch.Tensor, cross: Cross) -> torch.Tensor:
        block, window = self._layers[number].block, self._layers[number].window
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (block.scale_shift_table.to(stream) + shifts).chunk(6, 1)
        moved = modulated(block.self_attn_norm, stream, shift, scale).to(self.dtype)
        stream = torch.addcmul(stream, self_attention(block.self_attn, moved, self._rotary, window), gate)
        stream = stream + cross(stream, number)
        moved = modulated(block.mlp_norm, stream, mlp_shift, mlp_scale).to(self.dtype)
        return torch.addcmul(stream, block.mlp(moved), mlp_gate)

    def _cross(self, stream: torch.Tensor, number: int) -> torch.Tensor:
        layer = self._layers[number]
        keys, values = (part.expand(len(stream), -1, -1, -1) for part in (layer.keys, layer.values))
        return out(layer.block.cross_attn, attend(self._queries(stream, number), keys, values))

    def _queries(self, stream: torch.Tensor, number: int) -> torch.Tensor:
        """Queries [B, H, N, D] of a layer's cross-attention."""
        block = self._layers[number].block
        projected = block.cross_attn.to_q(normed(block.cross_attn_norm, stream).to(self.dtype))
        return normed(block.cross_attn.norm_q, heads(projected, block.cross_attn.head_dim)).transpose(1, 2)

    def _weights(self, stream: torch.Tensor, number: int, wanted: Sequence[int]) -> torch.Tensor:
        queries, keys = self._queries(stream, number), self._layers[number].keys
        groups = queries.shape[1] // keys.shape[1]
        own, shared = list(wanted), [head // groups for head in wanted]
        scores = queries[:, own].float() @ keys[:, shared].float().transpose(-1, -2)
        return (scores / queries.shape[-1] ** 0.5).softmax(-1)


def _layer(block: torch.nn.Module, window: Window | None, states: torch.Tensor) -> _Layer:
    attn = block.cross_attn
    keys = attn.norm_k(heads(attn.to_k(states), attn.head_dim))
    return _Layer(block, window, keys.transpose(1, 2), heads(attn.to_v(states), attn.head_dim).transpose(1, 2))


def _null_vector(attn: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
    values = heads(attn.to_v(states), attn.head_dim).transpose(1, 2)  # [1, K, 1, D]
    return out(attn, values.repeat_interleave(attn.heads // attn.kv_heads, dim=1))

"""Sizes of networks and the bytes of their activations, computed from configs before anything is loaded."""

import math
from dataclasses import dataclass

from ..checkpoints.checkpoint import Part
from ..checkpoints.geometry import Geometry
from ..nn.tiling import decoder_context, pass_bytes, tile_frames, widest

FULL, HALF = 4, 2  # bytes of a float32, and of a bfloat16 or float16


@dataclass(frozen=True)
class Layers:
    """A network of transformer layers: widths of its stream, its feed-forward layers, queries and keys."""

    parameters: int
    hidden: int
    inner: int
    queries: int
    keys: int
    heads: int
    layers: int
    patch: int = 1  # latent frames in one token

    @staticmethod
    def of(network: Part | Geometry) -> "Layers":
        """Of a network in a file, or of a published one."""
        arguments, head = network.arguments, network.arguments["head_dim"]
        return Layers(
            network.parameters,
            arguments["hidden_size"],
            arguments["intermediate_size"],
            arguments["num_attention_heads"] * head,
            arguments["num_key_value_heads"] * head,
            arguments["num_attention_heads"],
            arguments.get("num_hidden_layers") or arguments.get("num_lyric_encoder_hidden_layers"),
            arguments.get("patch_size", 1),
        )

    def one_pass(self, tokens: int, each: int) -> int:
        """Bytes of activations at the widest moment of a pass, at `each` bytes a number; rotary tables in float32."""
        feed_forward = each * (3 * self.inner + 6 * self.hidden)
        attention = each * (5 * self.hidden + 2 * self.queries + 4 * self.keys) + FULL * 4 * self.queries
        return tokens * max(feed_forward, attention)

    @property
    def largest_layer(self) -> int:
        """Parameters of its largest matrix."""
        return self.hidden * max(self.inner, self.queries)

    @property
    def outside_layers(self) -> int:
        """Parameters outside the layers, at most: time embeddings and patches, which stay when layers are streamed."""
        matrices = self.layers * self.hidden * (3 * self.inner + 4 * self.queries + 4 * self.keys)
        return max(self.parameters - matrices, 0)


@dataclass(frozen=True)
class Sounds:
    """A vocoder at `each` bytes a number: numbers of its widest layer for each sample, and context frames of a tile."""

    parameters: int
    numbers_per_sample: float
    samples_per_frame: int
    context_frames: int
    each: int = FULL

    @staticmethod
    def of(network: Part | Geometry, each: int = FULL) -> "Sounds":
        """Of a vocoder in a file, or of the published one."""
        arguments = network.arguments
        ratios = arguments["downsampling_ratios"]
        numbers = widest(ratios, arguments["decoder_channels"], arguments["channel_multiples"])
        context = decoder_context(ratios)
        return Sounds(network.parameters, numbers, math.prod(ratios), context.before + context.after, each)

    def one_tile(self, frames: int, small: bool) -> int:
        """Bytes of activations while one tile of a song of `frames` frames is decoded."""
        span = min(frames, tile_frames(self.samples_per_frame, self.each, small) + self.context_frames)
        return pass_bytes(self.numbers_per_sample * self.samples_per_frame * span, self.each)

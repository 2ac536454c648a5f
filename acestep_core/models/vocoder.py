"""Latents [B, C, T] <-> waveform [B, channels, N], through an Oobleck autoencoder, tile by tile.

Each tile is decoded with the neighbouring frames in its receptive field, a number that follows from the network's
layers. The last layers, which cost the most, need few of them, so each layer computes only the part that the next one
reads. Tiles leave no seam, memory does not grow with the song, and music can be played while the rest is decoded.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..audio.waveform import Waveform, convert
from ..errors import UserError, is_out_of_memory
from ..nn.oobleck import Oobleck
from ..nn.tiling import (
    Context,
    decoder_context,
    decoder_cuts,
    decoder_uncut,
    encoder_context,
    evened,
    pass_bytes,
    roomy_tile_frames,
    tile_frames,
    widest,
)
from ..spec import LatentSpec

if TYPE_CHECKING:
    from .autoencoder import Autoencoder

logger = logging.getLogger(__name__)

LEAST_TILE_FRAMES = 16


class Vocoder:
    """An Oobleck autoencoder as a vocoder, with a copy of the weights of `vae` in another layout.

    `latents`: channels and rates of the latents. `channels`: of a waveform. `tile_frames`: frames of one tile.
    `frame_numbers`: numbers of the widest layer for each frame.
    """

    def __init__(self, vae: "Autoencoder", tile_frames: int | None = None):
        self.network = Oobleck(vae)
        self.ratios = tuple(vae.config.downsampling_ratios)
        hop = math.prod(self.ratios)
        self.latents = LatentSpec(vae.config.decoder_input_channels, hop, vae.config.sampling_rate)
        self.channels: int = vae.config.audio_channels
        self._tile_frames, self._limit_bytes = tile_frames, math.inf
        self.frame_numbers = hop * widest(self.ratios, vae.config.decoder_channels, vae.config.channel_multiples)
        self.decode_context = decoder_context(self.ratios)
        self.encode_context = encoder_context(self.ratios)

    def tiled(self, tile_frames: int) -> "Vocoder":
        """The same network with tiles of so many frames."""
        other = copy.copy(self)
        other._tile_frames = tile_frames
        return other

    def within(self, limit_bytes: float) -> "Vocoder":
        """The same network with the largest tiles that keep torch's GPU memory, models included, in the limit."""
        other = copy.copy(self)
        other._limit_bytes = limit_bytes
        return other

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the convolutions; snakes are computed in float32."""
        return next(self.network.parameters()).dtype

    @property
    def tile_frames(self) -> int:
        """Frames of one tile at least; a GPU with free memory takes more, unless a number was given."""
        return self._tile_frames or tile_frames(
            self.latents.samples_per_frame, self.dtype.itemsize, cut=not self._on_gpu
        )

    def small_tiled(self) -> "Vocoder":
        """The same network in the small tiles of a memory plan."""
        return self.tiled(tile_frames(self.latents.samples_per_frame, self.dtype.itemsize, small=True))

    def to(self, device: "torch.device | str | None" = None, dtype: torch.dtype | None = None) -> "Vocoder":
        """The same vocoder on another device or at another dtype; its network is moved in place."""
        self.network.to(device=device, dtype=dtype)
        return self

    def samples(self, frames: int) -> int:
        """Samples that `frames` frames decode to: one less for each layer with an odd ratio."""
        for ratio in reversed(self.ratios):
            frames = (frames - 1) * ratio - 2 * math.ceil(ratio / 2) + 2 * ratio
        return frames

    def frames(self, samples: int) -> int:
        """Whole frames that `samples` samples encode to."""
        for ratio in self.ratios:
            samples = (samples + 2 * math.ceil(ratio / 2) - 2 * ratio) // ratio + 1
        return max(samples, 0)

    def decode(
        self,
        latents: torch.Tensor,
        report: Callable[[float], None] = lambda seconds: None,
        hear: Callable[[torch.Tensor, int], None] = lambda piece, start: None,
    ) -> Waveform:
        """Latents [B, C, T] -> waveform [B, channels, N], float32 on the CPU. Raises UserError for foreign latents.

        `report` is called with the seconds decoded so far, `hear` with each piece [B, channels, n] as soon as it is
        there and the number of its first sample.
        """
        self._check(latents)
        whole, start = torch.empty(len(latents), self.channels, self.samples(latents.shape[-1])), 0
        if self._on_gpu:
            whole.zero_()  # many threads touch its pages here; the copies below have one thread
        for chunk in self._decoded(latents):
            whole[..., start : start + chunk.shape[-1]] = chunk
            hear(chunk, start)
            start += chunk.shape[-1]
            report(start / self.latents.sample_rate_hz)
        return Waveform(whole, self.latents.sample_rate_hz)

    def decode_chunks(self, latents: torch.Tensor) -> Iterator[Waveform]:
        """The waveform of `decode` in consecutive pieces, each as soon as it is ready."""
        self._check(latents)
        for chunk in self._decoded(latents):
            yield Waveform(chunk.cpu(), self.latents.sample_rate_hz)

    def _check(self, latents: torch.Tensor) -> None:
        if latents.shape[1] != self.latents.channels or latents.shape[-1] == 0:
            raise UserError(
                f"latents [B, C, T]: got {list(latents.shape)}, this vocoder takes {self.latents.channels} channels; "
                "take the vocoder of the family that made the latents"
            )

    def _decoded(self, latents: torch.Tensor) -> Iterator[torch.Tensor]:
        """Pieces [B, channels, n] in order, on the network's own device."""
        frames, hop = latents.shape[-1], self.latents.samples_per_frame
        # On a GPU equal lengths of all tiles save more time than less context would, as tiles are large.
        cuts = decoder_uncut if self._on_gpu else decoder_cuts

        def make(tile: _Tile) -> torch.Tensor:
            # With odd ratios a song ends some samples early.
            last = tile.core.stop * hop if tile.core.stop < frames else self.samples(frames)
            kept = cuts(self.ratios, tile.span, slice(tile.core.start * hop, last))
            return self._each(self.network.decoder, latents[..., tile.span], kept)

        for _, wave in self._tiles(make, frames, self.decode_context):
            yield wave

    def encode(
        self,
        wave: Waveform,
        generator: torch.Generator | None = None,
        report: Callable[[float], None] = lambda seconds: None,
    ) -> torch.Tensor:
        """Waveform of any rate and channels -> latents [B, C, T] float32 on the CPU.

        With a CPU generator the latents are sampled from the encoder's distribution, without one they are its mean.
        Samples that do not fill a frame are dropped. `report` is called with the seconds encoded so far.
        Raises UserError for less than a frame.
        """
        wave = convert(wave, self.latents.sample_rate_hz, self.channels)
        samples, hop = wave.samples, self.latents.samples_per_frame
        frames = self.frames(samples.shape[-1])
        if frames == 0:
            raise UserError(f"waveform: got {samples.shape[-1]} samples, expected at least one frame, {hop}")

        def make(tile: _Tile) -> torch.Tensor:
            last = tile.span.stop * hop if tile.span.stop < frames else None
            return self._each(self.network.encoder, samples[..., tile.span.start * hop : last])

        parts = []
        for tile, made in self._tiles(make, frames, self.encode_context):
            first = tile.core.start - tile.span.start
            parts.append(made[..., first : first + tile.core.stop - tile.core.start])
            report(self.latents.seconds(tile.core.stop))
        mean, scale = torch.cat(parts, dim=-1).cpu().chunk(2, dim=1)
        if generator is None:
            return mean.contiguous()
        return mean + (functional.softplus(scale) + 1e-4) * torch.randn(mean.shape, generator=generator)

    def _tiles(
        self, make: "Callable[[_Tile], torch.Tensor]", frames: int, context: Context
    ) -> "Iterator[tuple[_Tile, torch.Tensor]]":
        """Yields each tile with its output; retries with smaller tiles where memory runs out."""
        start, size = 0, self._tile_to_begin_with(frames)
        while start < frames:
            tile = _tile(start, size, frames, context, even=self._on_gpu)
            try:
                made = make(tile)
            except RuntimeError as error:
                if not is_out_of_memory(error) or size <= LEAST_TILE_FRAMES:
                    raise
                size = max(LEAST_TILE_FRAMES, size // 2)
                logger.warning("vocoder: out of memory; retrying with tiles of %d frames", size)
                continue
            yield tile, made
            start = tile.core.stop

    def _each(self, network: torch.nn.Module, batch: torch.Tensor, *more) -> torch.Tensor:
        # One item after the other: less memory, and an item does not depend on its neighbours.
        weight = next(network.parameters())
        with torch.no_grad():
            return torch.cat([network(item[None].to(weight), *more).float() for item in batch])

    def _tile_to_begin_with(self, frames: int) -> int:
        if self._tile_frames or not self._on_gpu:
            return self.tile_frames
        held = torch.cuda.memory_allocated(self._device)
        kept = torch.cuda.memory_reserved(self._device) - held  # memory that torch keeps for its next tensors
        free = min(torch.cuda.mem_get_info(self._device)[0] + kept, self._limit_bytes - held)
        each = self.dtype.itemsize
        frame_bytes = pass_bytes(self.frame_numbers, each)
        size = roomy_tile_frames(self.tile_frames, frame_bytes, self.latents.samples_per_frame, each, free)
        return evened(size, frames)

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


@dataclass(frozen=True)
class _Tile:
    core: slice  # the frames of the tile itself
    span: slice  # the frames that it is computed from


def _tile(start: int, core: int, frames: int, context: Context, even: bool) -> _Tile:
    """Tiles of a song; `even` gives all the same span, with more context where needed."""
    end = min(start + core, frames)
    first, last = max(start - context.before, 0), min(end + context.after, frames)
    if even:
        whole = min(context.before + core + context.after, frames)
        first = min(first, frames - whole)
        last = first + whole
    return _Tile(slice(start, end), slice(first, last))

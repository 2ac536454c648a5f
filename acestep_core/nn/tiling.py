"""Tiles of an Oobleck vocoder: their length, and the context that their receptive field needs. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Bytes of one channel of a tile at the full sample rate; the widest layers then take some hundred megabytes.
TILE_BYTES = 4 * 128 * 1920
SMALL_TILE_BYTES = TILE_BYTES // 4
CUT_TILE_BYTES = (
    TILE_BYTES // 2
)  # where layers compute no context beyond their need, shorter tiles cost next to nothing
LARGE_TILE_BYTES = TILE_BYTES * 4  # keeps the largest GPUs busy
MOST_IDLE = 1.1  # at most this many times the song's frames are computed
SHARE_FOR_A_TILE = 0.5  # of a GPU's free memory, for a tile above the least size

# diffusers' network: residual units are convolutions of this kernel with these dilations.
KERNEL = 7
DILATIONS = (1, 3, 9)
RESIDUAL_REACH = sum(DILATIONS) * (KERNEL // 2)  # of the three units of a block, in samples at its rate
ENCODER_HEAD_KERNEL = 3  # of the last layer, at the latents' rate


def tile_frames(samples_per_frame: int, each: int, small: bool = False, cut: bool = False) -> int:
    """Frames of one tile of a vocoder at `each` bytes a number. `cut`: layers compute what `decoder_cuts` keeps."""
    size = SMALL_TILE_BYTES if small else CUT_TILE_BYTES if cut else TILE_BYTES
    return max(1, size // (each * samples_per_frame))


def widest(ratios: Sequence[int], channels: int, multiples: Sequence[int]) -> float:
    """Numbers for each sample in the widest layer of a decoder with `channels` channels at the full sample rate."""
    multiples = (1, *multiples)
    return max(channels * multiples[i] / math.prod(ratios[:i]) for i in range(len(ratios) + 1))


def pass_bytes(numbers: float, each: int) -> int:
    """Bytes of activations while the widest layer is computed, `each` bytes a number: six copies, two of them (the
    snake's) in float32.
    """
    return round((2 * 4 + 4 * each) * numbers)


def roomy_tile_frames(least: int, frame_bytes: int, samples_per_frame: int, each: int, free_bytes: float) -> int:
    """Frames of one tile, at least `least`, on a GPU whose free memory allows more, which is faster. `frame_bytes`: the
    bytes of one frame.
    """
    most = LARGE_TILE_BYTES // (each * samples_per_frame)
    return max(least, min(most, int(SHARE_FOR_A_TILE * free_bytes) // frame_bytes))


def evened(size: int, frames: int) -> int:
    """Frames of a tile, at most `size`, so that all tiles have one length: GPUs set up convolutions for each length.

    The tiles become shorter if most of the last one would be padding.
    """
    tiles = -(-frames // size)
    return size if tiles * size <= MOST_IDLE * frames else -(-frames // tiles)


def reach(ratios: Sequence[int], latent_kernel: int) -> tuple[int, int]:
    """First and last sample in the receptive field of a latent frame, counted from the first of its own samples.

    `ratios` as in the config, fine to coarse. `latent_kernel`: of the convolution at the latents' own rate.
    """
    low, high = -(latent_kernel // 2), latent_kernel // 2
    for ratio in reversed(ratios):
        first = -math.ceil(ratio / 2)  # a strided convolution spans 2 * ratio samples and is padded by half of that
        low = low * ratio + first - RESIDUAL_REACH
        high = high * ratio + first + 2 * ratio - 1 + RESIDUAL_REACH
    return low - KERNEL // 2, high + KERNEL // 2


@dataclass(frozen=True)
class Context:
    """Frames of context before and after a tile."""

    before: int
    after: int


def decoder_context(ratios: Sequence[int]) -> Context:
    """The context of a decoder's tile."""
    (low, high), hop = reach(ratios, KERNEL), math.prod(ratios)
    return Context(before=high // hop, after=-(low // hop))


def decoder_cuts(ratios: Sequence[int], span: slice, kept: slice) -> tuple[slice, ...]:
    """The slice that each block and the last layer of a decoder need of their input, in order, and the slice of the
    output that is kept: no layer computes more than `kept` needs.

    `span` are the frames given to the decoder, `kept` the samples, both counted in the song; each slice counts in its
    own tensor.
    """
    low, high = kept.start - KERNEL // 2, kept.stop + KERNEL // 2
    needed = [(1, low, high)]
    for ratio in ratios:
        # A sample depends on its own frame and the one before, in an output of which some samples are trimmed.
        trim = math.ceil(ratio / 2)
        low = (low - RESIDUAL_REACH + trim) // ratio - 1
        high = (high + RESIDUAL_REACH + trim - 1) // ratio + 1
        needed.insert(0, (ratio, low, high))
    cuts, start = [], span.start
    for ratio, low, high in needed:
        first = max(low, start)
        high += first - low  # the first tile becomes as long as the next, which then reuse its memory
        cuts.append(slice(first - start, high - start))
        start = first * ratio
    return (*cuts, slice(kept.start - start, kept.stop - start))


def decoder_uncut(ratios: Sequence[int], span: slice, kept: slice) -> tuple[slice, ...]:
    """As `decoder_cuts`, but only the output is cut: tiles of one length have one length in every layer."""
    start = span.start * math.prod(ratios)
    return (*[slice(None)] * (len(ratios) + 1), slice(kept.start - start, kept.stop - start))


def encoder_context(ratios: Sequence[int]) -> Context:
    """The context of an encoder's tile."""
    (low, high), hop = reach(ratios, ENCODER_HEAD_KERNEL), math.prod(ratios)
    return Context(before=-(low // hop), after=high // hop)

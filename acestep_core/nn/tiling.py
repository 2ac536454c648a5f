"""How much of a song an Oobleck vocoder does at once, and how far its layers see beside that. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Bytes that a channel of one tile takes at the full sample rate; its widest layers take some hundred megabytes then.
TILE_BYTES = 4 * 128 * 1920
SMALL_TILE_BYTES = TILE_BYTES // 4
CUT_TILE_BYTES = TILE_BYTES // 2  # where no layer computes what is not heard, shorter tiles cost next to nothing
LARGE_TILE_BYTES = TILE_BYTES * 4  # fills the largest of GPUs
MOST_IDLE = 1.1  # times as many frames as there are
SHARE_FOR_A_TILE = 0.5  # of a GPU's free memory, for one that is larger than it must be

# The network of diffusers: a residual unit is a convolution of this kernel, dilated so.
KERNEL = 7
DILATIONS = (1, 3, 9)
RESIDUAL_REACH = sum(DILATIONS) * (KERNEL // 2)  # of the three units of a block, in samples of its own rate
ENCODER_HEAD_KERNEL = 3  # of the last layer, at the latents' rate


def tile_frames(samples_per_frame: int, each: int, small: bool = False, cut: bool = False) -> int:
    """Frames of one tile of a vocoder that computes with `each` bytes a number. `cut`: by `decoder_cuts`."""
    size = SMALL_TILE_BYTES if small else CUT_TILE_BYTES if cut else TILE_BYTES
    return max(1, size // (each * samples_per_frame))


def widest(ratios: Sequence[int], channels: int, multiples: Sequence[int]) -> float:
    """Numbers for each sample in the widest layer, of a decoder with so many channels at the full sample rate."""
    multiples = (1, *multiples)
    return max(channels * multiples[i] / math.prod(ratios[:i]) for i in range(len(ratios) + 1))


def pass_bytes(numbers: float, each: int) -> int:
    """Bytes beside the weights while a widest layer of so many numbers, of `each` bytes, is computed: six copies of it,
    two of them, a snake's, in float32.
    """
    return round((2 * 4 + 4 * each) * numbers)


def roomy_tile_frames(least: int, frame_bytes: int, samples_per_frame: int, each: int, free_bytes: float) -> int:
    """Frames of one tile where more at once is faster, on a GPU with memory to spare: from `least` on. `frame_bytes`:
    what a frame takes of it.
    """
    most = LARGE_TILE_BYTES // (each * samples_per_frame)
    return max(least, min(most, int(SHARE_FOR_A_TILE * free_bytes) // frame_bytes))


def evened(size: int, frames: int) -> int:
    """Frames of a tile, at most `size`, where all are of one length, for GPUs set up their convolutions anew for each
    length: shorter if the last would be mostly idle.
    """
    tiles = -(-frames // size)
    return size if tiles * size <= MOST_IDLE * frames else -(-frames // tiles)


def reach(ratios: Sequence[int], latent_kernel: int) -> tuple[int, int]:
    """First and last sample that a latent frame touches (or is made from), counted from the first of its own samples.

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
    """How many frames before and after a tile it is computed with."""

    before: int
    after: int


def decoder_context(ratios: Sequence[int]) -> Context:
    """The frames around a tile that touch its samples."""
    (low, high), hop = reach(ratios, KERNEL), math.prod(ratios)
    return Context(before=high // hop, after=-(low // hop))


def decoder_cuts(ratios: Sequence[int], span: slice, kept: slice) -> tuple[slice, ...]:
    """What a decoder's blocks and its last layer need of what the layer before them made, in their order, and what of
    the last one's samples is kept, so that nothing is computed which is not heard in `kept`.

    `span`: the frames that the decoder is given, `kept`: samples, both counted in the song, the cuts in what they cut.
    """
    low, high = kept.start - KERNEL // 2, kept.stop + KERNEL // 2
    needed = [(1, low, high)]
    for ratio in ratios:
        # A sample is made from the frame it lies in and from the one before, in a sound of which some are trimmed off.
        trim = math.ceil(ratio / 2)
        low = (low - RESIDUAL_REACH + trim) // ratio - 1
        high = (high + RESIDUAL_REACH + trim - 1) // ratio + 1
        needed.insert(0, (ratio, low, high))
    cuts, start = [], span.start
    for ratio, low, high in needed:
        first = max(low, start)
        high += first - low  # a song's first tile becomes as long as the next, which then fit where it lay in memory
        cuts.append(slice(first - start, high - start))
        start = first * ratio
    return (*cuts, slice(kept.start - start, kept.stop - start))


def decoder_uncut(ratios: Sequence[int], span: slice, kept: slice) -> tuple[slice, ...]:
    """As `decoder_cuts`, where all is computed of which a part is kept: all tiles of one length stay so within."""
    start = span.start * math.prod(ratios)
    return (*[slice(None)] * (len(ratios) + 1), slice(kept.start - start, kept.stop - start))


def encoder_context(ratios: Sequence[int]) -> Context:
    """The frames around a tile from whose samples its own frames are made."""
    (low, high), hop = reach(ratios, ENCODER_HEAD_KERNEL), math.prod(ratios)
    return Context(before=-(low // hop), after=high // hop)

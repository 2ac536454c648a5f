"""Every number and name of the model and of the product, once, with its unit in its name; seconds, frames, samples.

One latent frame stands for `samples_per_frame` samples of every channel; a latent is [B, channels, frames].
"""

import math
from dataclasses import dataclass

MIN_SECONDS = 10.0
MAX_SECONDS = 600.0
DEFAULT_SECONDS = 30.0

EDIT_SECONDS_LEAST = 1.0  # of a source; the longest is as long as the longest song
EDIT_PADDED_SECONDS = 5.12  # shorter sources are edited in a song of this length, as in the original
REGION_SECONDS_LEAST = 0.1

MIN_BPM = 30
MAX_BPM = 300

TEXT_TOKENS_MAX = 256
LYRIC_TOKENS_MAX = 2048

AUDIO_CODES = 64_000  # of the published quantiser, 8 · 8 · 8 · 5 · 5 · 5
CODES_PER_SECOND = 5

TIMBRE_SEGMENTS = 3
TIMBRE_SECONDS = 30.0

TURBO_STEPS = 8
TURBO_SHIFT = 3.0
TURBO_TAUGHT_SHIFTS = (1.0, 2.0, 3.0)  # turbo models were distilled at the times of these three tables only
DEFAULT_BOUNDARY_US = (0.625, 0.25)  # hand-overs of three stages on the turbo table: after 3 and 6 of its 8 steps
BASE_STEPS = 50
BASE_SHIFT = 1.0
BASE_GUIDANCE = 7.0

APG_MOMENTUM = -0.75
APG_NORM_LIMIT = 2.5

CHANNELS = 2  # of every finished song
PEAK_DBFS = -1.0
LOUDNESS_LUFS = -14.0

MAX_SEED = 2**63 - 1
MAX_STEPS = 3000  # of a song, in all its stages

SLOTS = ("l", "m", "s")  # names of the three stages of a cascade, in the order in which they play
DTYPE_NAMES = ("fp32", "bf16", "fp16")
# Vocoders: half precision is audible in quiet passages, and the range of fp16 is too small.
VOCODER_DTYPE_NAMES = ("fp32", "bf16")
PLANNER_DTYPE_NAMES = ("fp32", "bf16")  # in fp16 the numbers of published planners overflow
TRAINING_DTYPE_NAMES = ("fp32", "bf16")


@dataclass(frozen=True)
class LatentSpec:
    """Channels, frame length and sample rate of a vocoder's latents: read from its config, never assumed."""

    channels: int
    samples_per_frame: int
    sample_rate_hz: int

    @property
    def frames_per_second(self) -> float:
        return self.sample_rate_hz / self.samples_per_frame

    def frames(self, seconds: float) -> int:
        """The fewest whole frames that hold `seconds`, at least one. Less a millionth of a frame, for rounding."""
        return max(1, math.ceil(seconds * self.frames_per_second - 1e-6))

    def seconds(self, frames: int) -> float:
        return frames * self.samples_per_frame / self.sample_rate_hz

    def samples(self, frames: int) -> int:
        return frames * self.samples_per_frame


PUBLISHED_LATENTS = LatentSpec(channels=64, samples_per_frame=1920, sample_rate_hz=48000)

"""How much sound is read at once, in samples of all channels. No torch."""

from ..errors import UserError

SAMPLES_MOST = 384_000_000  # 1.5 GB: an hour of stereo at 48 kHz, or ten minutes of it at 192 kHz, and some more
CHANNELS_READ = 2  # no model takes more, so the others are mixed into these while a file is read


def check_samples(samples: int, rate_hz: int, channels: int, name: str) -> None:
    """Raises UserError for more samples of all channels than are read of one file."""
    if samples > SAMPLES_MOST:
        raise UserError(
            f"{name}: got more than {SAMPLES_MOST / channels / rate_hz:.0f} s of sound in {channels} channels at "
            f"{rate_hz} Hz, expected at most {SAMPLES_MOST:,} samples; cut it up, or resample it to 48000 Hz"
        )

"""Clips with labels -> examples for training steps: latents [1, C, T], and text states [1, L, D].

Both are cached in safetensors under a hash of their sources: the file's bytes and the vocoder; the prompts, the text
encoder and the model's condition encoder. The measured beat and key of a clip are cached as JSON. So a second training
on the same clips begins at once, and nothing outdated is ever read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import audio
from ..audio import beat_and_key
from ..audio.beat_and_key import BeatAndKey
from ..errors import UserError
from ..json_text import read_json_object
from ..models.condition import Condition, context, encode_condition
from ..nn.quantise import unquantised
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from ..system.files import write_whole
from .bars import Bars, bars_of, cut
from .dataset import Clip, Dataset, LeftOut
from .sound_check import LONGEST_SECONDS, check_header, check_sound
from .tensor_cache import read_or_make

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder
    from ..models.vocoder import Vocoder

REASONS_SHOWN = 3  # where every clip is left out
FINGERPRINT_ELEMENTS = 256  # of each tensor, evenly spaced: enough to tell two trainings of one network apart


@dataclass(frozen=True, eq=False)
class Example:
    """A clip ready to be trained on."""

    path: Path
    song: Song
    latents: torch.Tensor  # [1, C, T] float32
    states: torch.Tensor  # [1, L, D], of the text, with silence as the timbre reference
    key: str  # a hash of all sources, the same at any dtype, so that a training can be resumed at another one
    bars: Bars | None = None
    repeat: int = 1  # how often it counts in an epoch

    def cut(self, longest: int, share: float) -> tuple[int, int]:
        """First frame and length of a crop of at most `longest` frames; `share` (0 to below 1) picks which."""
        return cut(self.latents.shape[-1], longest, share, self.bars)

    def condition(self, model: "StageModel", frames: int) -> Condition:
        """The example's text over so many frames of new music."""
        return new_music_condition(model, self.states, frames)


def new_music_condition(model: "StageModel", states: torch.Tensor, frames: int) -> Condition:
    """The condition of text states [1, L, D] over so many frames of new music."""
    null = model.condition_encoder.null_condition_emb.detach()
    return Condition(states, null, context(model.silent(frames)))


class Preparation:
    """Makes examples of clips with one model, text encoder and vocoder, or reads them from the cache.

    `crop_seconds`: the longest crop of a step, hence the longest song that a prompt describes.
    """

    def __init__(
        self, model: "StageModel", text: "TextEncoder", vocoder: "Vocoder", cache: Path, crop_seconds: float = 60.0
    ):
        self.model, self.text, self.vocoder, self.cache, self.crop_seconds = model, text, vocoder, cache, crop_seconds
        self._vocoder_hash = fingerprint(vocoder.network)
        self._text_hash = digest(fingerprint(text.model), fingerprint(model.condition_encoder), model.silence)
        self._dtypes = f"{text.model.dtype} {model.condition_encoder.null_condition_emb.dtype}"

    def run(self, dataset: Dataset, trigger: str | None = None) -> Iterator[Example | LeftOut]:
        """An example, or why there is none, for each clip in order. No clip ends the others."""
        for clip in dataset.clips:
            try:
                yield self.example(clip, trigger)
            except UserError as exc:
                yield LeftOut(clip.path, str(exc))

    def example(self, clip: Clip, trigger: str | None = None) -> Example:
        """Raises UserError for a clip that is silent, clipped, too short or long, or no sound at all."""
        try:
            sound = digest(clip.path.read_bytes())
        except OSError as exc:
            raise UserError(f"{clip.path}: could not be read ({exc.strerror})") from exc
        sound = digest(sound, repr(clip.part)) if clip.part else sound
        encoded = digest(self._vocoder_hash, sound)
        latents = self._cached("latents", encoded, lambda: self._encode(clip, encoded))
        seconds = self.vocoder.latents.seconds(latents.shape[-1])
        measured = self._measured(clip, sound, seconds)
        song = clip.song(min(seconds, self.crop_seconds), trigger, measured.labels)
        prompts = digest(self._text_hash, text_prompt(song).encode(), lyrics_prompt(song).encode())
        states = self._cached("states", digest(prompts, self._dtypes), lambda: self._encode_text(song))
        bars = bars_of(song, self.vocoder.latents, measured.beat, measured.first_beat)
        repeated = [f"repeat {clip.repeat}"] if clip.repeat > 1 else []
        key = digest(encoded, prompts, repr(bars), *repeated)
        return Example(clip.path, song, latents, states, key, bars, clip.repeat)

    def _measured(self, clip: Clip, sound: str, seconds: float) -> BeatAndKey:
        """Beat and key of a clip without these labels, and the beat of one that is longer than a crop."""
        is_wanted = not {"bpm", "key"} <= clip.labels.keys() or seconds > self.crop_seconds
        if not is_wanted or not beat_and_key.is_available():
            return BeatAndKey()
        bpm = clip.song(seconds).bpm
        file = self.cache / "heard" / f"{digest(sound, f'bpm {bpm}')}.json"
        try:
            return BeatAndKey(**read_json_object(file))
        except (UserError, TypeError, ValueError):  # missing or damaged
            measured = beat_and_key.measure(clip.cut(audio.read(clip.path, LONGEST_SECONDS)), bpm)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(measured)).encode())
            return measured

    @torch.no_grad()
    def _encode(self, clip: Clip, key: str) -> torch.Tensor:
        check_header(clip.path)
        wave = clip.cut(audio.read(clip.path, LONGEST_SECONDS + 1))
        check_sound(wave)
        rng = torch.Generator().manual_seed(int(key[:15], 16))  # depends on the sound alone
        return self.vocoder.encode(audio.normalise_peak(wave), rng)

    @torch.no_grad()
    def _encode_text(self, song: Song) -> torch.Tensor:
        return encode_condition(self.model, self.text.encode(song), 1).states.cpu()

    def _cached(self, kind: str, key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        file = self.cache / kind / f"{key}.safetensors"
        return read_or_make(file, (kind,), lambda: {kind: make()})[kind]


def prepare_examples(
    preparation: Preparation, dataset: Dataset, trigger: str | None, report: Callable[[int], object]
) -> tuple[list[Example], list[LeftOut]]:
    """The examples of a dataset, and every clip that is left out. `report` is called with the number of each clip done.

    Raises UserError where no example is left.
    """
    steps = prepare_steps(preparation, dataset, trigger)
    while True:
        try:
            report(next(steps))
        except StopIteration as end:
            return end.value


def prepare_steps(preparation: Preparation, dataset: Dataset, trigger: str | None) -> Iterator[int]:
    """The same step by step: yields the number of each clip done. -> (examples, clips left out)"""
    examples, left_out = [], list(dataset.left_out)
    for number, made in enumerate(preparation.run(dataset, trigger), start=1):
        (left_out if isinstance(made, LeftOut) else examples).append(made)
        yield number
    if not examples:
        reasons = "; ".join(map(str, left_out[:REASONS_SHOWN]))
        if more := len(left_out[REASONS_SHOWN:]):
            reasons += f"; and {more} more"
        raise UserError(f"{dataset.folder}: none of its {len(left_out)} clips can be trained on; {reasons}")
    return examples, left_out


def fingerprint(network: torch.nn.Module) -> str:
    """A hash of a network's weights: the same in float32 and bfloat16, another one in 8 bits."""
    parts = []
    for name, tensor in sorted(network.state_dict().items()):
        spaced = unquantised(tensor).flatten()[:: max(1, tensor.numel() // FINGERPRINT_ELEMENTS)]
        parts += [f"{name} {tuple(tensor.shape)}".encode(), spaced.bfloat16()]
    return digest(*parts)


def digest(*parts: "str | bytes | torch.Tensor") -> str:
    """A hash of all parts and their boundaries, for names of files and keys of examples."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().float().contiguous().numpy().tobytes()
        made.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return made.hexdigest()[:32]

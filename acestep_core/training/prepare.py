"""Clips and their words -> what a training step takes: latents [1, C, T], and the states [1, L, D] of the words.

Both are kept in safetensors by what they were made from: the file's bytes and the vocoder; the prompts, the text
encoder and the model's condition encoder. So is what was heard of a clip, in JSON. So a second training on the same
clips begins at once, and a changed one never reads what is no longer true.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from .. import audio
from ..audio.beat_and_key import Heard, can_hear, hear
from ..audio.waveform import Waveform
from ..errors import UserError
from ..models.condition import Condition, context, encode_condition
from ..nn.quantise import unquantised
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from ..system.files import write_whole
from .bars import Bars, bars_of, cut
from .dataset import Clip, Dataset, LeftOut

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder
    from ..models.vocoder import Vocoder

SHORTEST_SECONDS = 3.0
SILENT_PEAK = 1e-3  # -60 dBFS
CLIPPED_SHARE = 0.01  # of samples that stand still at full scale; a loud bass has a third of that
FULL_SCALE = 0.98
READ_OF_A_TENSOR = 256  # elements, evenly spaced: enough to tell two trainings of one network apart


@dataclass(frozen=True, eq=False)
class Example:
    """A clip ready to be learnt from."""

    path: Path
    song: Song
    latents: torch.Tensor  # [1, C, T] float32
    states: torch.Tensor  # [1, L, D], of the words, with silence as timbre
    key: str  # of all that it was made from, whatever dtype that had: a training goes on at another
    bars: Bars | None = None

    def cut(self, longest: int, share: float) -> tuple[int, int]:
        """First frame and length of the crop, of at most `longest` frames, that `share` (0 to below 1) picks."""
        return cut(self.latents.shape[-1], longest, share, self.bars)

    def condition(self, model: "StageModel", frames: int) -> Condition:
        """The example's words over so many frames of new music."""
        return over_new_music(model, self.states, frames)


def over_new_music(model: "StageModel", states: torch.Tensor, frames: int) -> Condition:
    """Words that a model has read as states [1, L, D], over so many frames of new music."""
    null = model.condition_encoder.null_condition_emb.detach()
    return Condition(states, null, context(model.silent(frames)))


class Preparation:
    """Makes examples of clips with one model, text encoder and vocoder, or reads those that were made before.

    `crop_seconds`: the longest stretch that a step learns from, hence the longest song that the words speak of.
    """

    def __init__(
        self, model: "StageModel", text: "TextEncoder", vocoder: "Vocoder", cache: Path, crop_seconds: float = 60.0
    ):
        self.model, self.text, self.vocoder, self.cache, self.crop_seconds = model, text, vocoder, cache, crop_seconds
        self._listener = fingerprint(vocoder.network)
        self._reader = digest(fingerprint(text.model), fingerprint(model.condition_encoder), model.silence)
        self._dtypes = f"{text.model.dtype} {model.condition_encoder.null_condition_emb.dtype}"

    def run(self, dataset: Dataset, trigger: str | None = None) -> Iterator[Example | LeftOut]:
        """One of the two for each clip, in order. A clip that cannot be learnt from never stops the others."""
        for clip in dataset.clips:
            try:
                yield self.example(clip, trigger)
            except UserError as exc:
                yield LeftOut(clip.path, str(exc))

    def example(self, clip: Clip, trigger: str | None = None) -> Example:
        """Raises UserError for a clip that is silent, clipped, too short or no sound at all."""
        try:
            sound = digest(clip.path.read_bytes())
        except OSError as exc:
            raise UserError(f"{clip.path}: could not be read ({exc.strerror})") from exc
        encoded = digest(self._listener, sound)
        latents = self._kept("latents", encoded, lambda: self._encode(clip.path, encoded))
        seconds = self.vocoder.latents.seconds(latents.shape[-1])
        heard = self._heard(clip, sound, seconds)
        song = clip.song(min(seconds, self.crop_seconds), trigger, heard.words)
        said = digest(self._reader, text_prompt(song).encode(), lyrics_prompt(song).encode())
        states = self._kept("states", digest(said, self._dtypes), lambda: self._read(song))
        bars = bars_of(song, self.vocoder.latents, heard.beat, heard.first_beat)
        return Example(clip.path, song, latents, states, digest(encoded, said, repr(bars)), bars)

    def _heard(self, clip: Clip, sound: str, seconds: float) -> Heard:
        """What is measured of a clip: what its words leave out, and the beat of one that will be cut."""
        wanted = not {"bpm", "key"} <= clip.words.keys() or seconds > self.crop_seconds
        if not wanted or not can_hear():
            return Heard()
        bpm = clip.song(seconds).bpm
        file = self.cache / "heard" / f"{digest(sound, f'bpm {bpm}')}.json"
        try:
            return Heard(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not there, or damaged: measured anew
            heard = hear(audio.read(clip.path), bpm)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(heard)).encode())
            return heard

    @torch.no_grad()
    def _encode(self, path: Path, key: str) -> torch.Tensor:
        wave = audio.read(path)
        check_sound(wave)
        generator = torch.Generator().manual_seed(int(key[:15], 16))  # the sound's own draw, whatever lies beside it
        return self.vocoder.encode(audio.normalise_peak(wave), generator)

    @torch.no_grad()
    def _read(self, song: Song) -> torch.Tensor:
        return encode_condition(self.model, self.text.encode(song), 1).states.cpu()

    def _kept(self, kind: str, key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        file = self.cache / kind / f"{key}.safetensors"
        try:
            made = load_file(file)[kind]
        except (OSError, SafetensorError, KeyError):  # not there, or damaged: made anew
            made = make().contiguous()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, save({kind: made}))
        if not made.is_inference():
            return made
        with torch.inference_mode(False):  # what a host made in that mode could never be learnt from
            return made.clone()


def check_sound(wave: Waveform) -> None:
    """Raises UserError for sound that nothing good can be learnt from."""
    if wave.seconds < SHORTEST_SECONDS:
        raise UserError(f"is {wave.seconds:.1f} s long, expected at least {SHORTEST_SECONDS:g} s")
    level, step = wave.samples.abs(), wave.samples.diff().abs()
    peak = float(level.max())
    if peak < SILENT_PEAK:
        raise UserError("is silent; expected music")
    share = float(((level[..., 1:] >= 0.999 * peak) & (step < 1e-6)).float().mean())
    if peak >= FULL_SCALE and share > CLIPPED_SHARE:
        raise UserError(f"is clipped in {share:.0%} of its samples; take a version that is not so loud")


def fingerprint(network: torch.nn.Module) -> str:
    """Of a network's weights; the same whether they lie in memory as float32 or as bfloat16, in 8 bits another."""
    parts = []
    for name, tensor in sorted(network.state_dict().items()):
        spaced = unquantised(tensor).flatten()[:: max(1, tensor.numel() // READ_OF_A_TENSOR)]
        parts += [f"{name} {tuple(tensor.shape)}".encode(), spaced.bfloat16()]
    return digest(*parts)


def digest(*parts: "str | bytes | torch.Tensor") -> str:
    """Of all parts and where each one ends, for names of files and keys of examples."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().float().contiguous().numpy().tobytes()
        made.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return made.hexdigest()[:32]

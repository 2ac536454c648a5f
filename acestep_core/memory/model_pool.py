"""The models of a cascade in memory: loaded on demand, held as the song's memory plan says, and released for the next
smaller plan where memory runs out. The song is the same under any plan.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

import torch

from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.layouts import AUDIO_TOKENS, STAGE_PARTS
from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from ..checkpoints.read_ahead import read_ahead
from ..checkpoints.text_cache import TextCache, text_cache
from ..errors import UserError
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder, TextStates
from ..models.vocoder import Vocoder
from ..nn.dtypes import computes, warn_if_emulated
from ..nn.quantise import quantise
from ..nn.streamed_linear import stream_layers
from ..spec import LatentSpec
from .free import free_main_memory
from .geometry import Layers
from .malloc import return_freed_memory
from .needs import LONG_SECONDS, AdapterNeeds, Needs, cascade_needs
from .oom_fallback import OomFallback
from .plan import ALL, LAYERS, NETWORKS, PLANS, Plan

if TYPE_CHECKING:
    from ..checkpoints.cascade_models import CascadeModels

logger = logging.getLogger(__name__)

TEXT, VOCODER = "text", "vocoder"
_LOADING = RLock()  # of all pools: the first import of transformers fails when several threads begin it at once


@dataclass(frozen=True)
class Precision:
    """Number formats of networks: the dtype of stages and text encoder (None keeps the files' own), the dtype of the
    vocoder, and "int8" or "fp8" for the transformers' weights.
    """

    dtype: torch.dtype | None = None
    vocoder_dtype: torch.dtype = torch.float32
    quantised: str | None = None


class ModelPool(OomFallback):
    """Models in memory by key: stages' models under the caller's keys, text encoder and vocoder as TEXT and VOCODER.

    `plan` says which are held at once. Models with a loader can be released; those that the caller brought stay.
    """

    def __init__(
        self,
        held: Mapping,
        needs: Needs | None = None,
        limit_bytes: float = math.inf,
        first: Plan = PLANS[0],
    ):
        """`first`: the largest plan that songs may use."""
        super().__init__(plan=first)
        self._held, self._loaders, self._files = dict(held), {}, {}
        self._needs, self._limit_bytes, self._first = needs, limit_bytes, first
        self._text_cache: Callable[[], TextCache | None] = lambda: None

    @staticmethod
    def of(
        found: "CascadeModels",
        device: torch.device,
        precision: Precision,
        limit_bytes: float,
        first: Plan = PLANS[0],
        keeps_text: bool = True,
    ) -> "ModelPool":
        """A pool of models on disk, none of them loaded; stages are keyed by path. `keeps_text`: whether text states
        are cached on disk.
        """
        needs, precision = _needs(found, device, precision, limit_bytes)
        pool = ModelPool({}, needs, limit_bytes, first)
        for path, name in {str(model.path): model.name for model in found.stages}.items():
            load = partial(pool._stage, path, name, device, precision)
            pool._loaders |= {path: load} | {(path, only): partial(load, only) for only in STAGE_PARTS}
            tokens = partial(load_stage_model, path, device=device, dtype=torch.float32, only=AUDIO_TOKENS)
            pool._loaders[path, AUDIO_TOKENS] = tokens
            pool._files[path] = path, STAGE_PARTS
        if keeps_text:
            pool._text_cache = lambda: text_cache(read_checkpoint(found.text.path), device, precision.dtype)
        pool._loaders[TEXT] = partial(load_text_encoder, found.text.path, device=device, dtype=precision.dtype)
        load = partial(load_vocoder, found.vocoder.path, device=device, dtype=precision.vocoder_dtype)
        pool._loaders[VOCODER] = load
        pool._files[VOCODER] = found.vocoder.path, ("vae",)
        return pool

    def _stage(
        self, path: str, name: str, device: torch.device, precision: Precision, only: str | None = None
    ) -> StageModel:
        fetches, has_transformer = self.plan.holds == LAYERS, only != "condition_encoder"
        # Weights move to the device only once they are in their final format.
        via_cpu = has_transformer and (fetches or precision.quantised)
        place = torch.device("cpu") if via_cpu else device
        model = load_stage_model(path, device=place, computed_on=device, dtype=precision.dtype, only=only)
        model = dataclasses.replace(model, name=name)
        if not via_cpu:
            return model
        if precision.quantised:
            on = torch.device("cpu") if fetches else device
            quantise(model.transformer, precision.quantised, on)
        if fetches:
            return dataclasses.replace(model, transformer=stream_layers(model.transformer, device))
        return model.to(device)

    def __getitem__(self, key: Hashable) -> StageModel | TextEncoder | Vocoder:
        if key not in self._held:
            if self.plan.holds != ALL:
                self._clear()
            with _LOADING:
                self._held[key] = self._loaders[key]()
        return self._held[key]

    def network(self, key: Hashable, name: str) -> StageModel:
        """A stage's model with at least the network `name`, "transformer" or "condition_encoder"."""
        apart = self.plan.holds in (NETWORKS, LAYERS) and key in self._loaders
        return self[(key, name) if apart else key]

    def text_states(self, text: str, lyrics: str) -> TextStates:
        """The text states of two prompts, from the cache on disk, or else from the text encoder, which is loaded."""
        cache = self._text_cache()
        self._text_cache = lambda: cache  # the encoder's fingerprint is computed only once

        def encode() -> TextStates:
            return self[TEXT].encode_prompts(text, lyrics)

        return cache.get((text, lyrics), encode) if cache else encode()

    def audio_tokens(self, key: Hashable) -> StageModel:
        """A stage's model with its audio tokenizer and detokenizer in fp32: codes must not depend on a dtype. It is not
        held here.
        """
        if (key, AUDIO_TOKENS) not in self._loaders:
            return self._held[key]
        if self.plan.holds != ALL:
            self._clear()
        with _LOADING:
            return self._loaders[key, AUDIO_TOKENS]()

    @property
    def latents(self) -> LatentSpec:
        """Channels and rates of the latents, from the vocoder or its config."""
        return self._needs.latents if self._needs else self[VOCODER].latents

    @property
    def vocoder(self) -> Vocoder:
        """The vocoder, with the tiles of the plan."""
        vocoder = self[VOCODER]
        return vocoder.small_tiled() if self.plan.small_tiles else vocoder.within(self._limit_bytes)

    def read_ahead(self, key: Hashable) -> None:
        """Starts to read the files of the model that is needed next, without waiting."""
        if key in self._files and key not in self._held:
            path, names = self._files[key]
            tensors = (info for name in names for info in read_checkpoint(path).part(name).tensors.values())
            read_ahead((info.file for info in tensors), free_main_memory())

    def _clear(self) -> None:
        for key in [key for key in self._held if key in self._loaders]:
            del self._held[key]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return_freed_memory()

    def check_limit(self, limit_gb: float, program_bytes: int) -> None:
        """Raises UserError where a user's limit leaves no room for these models, whichever plan."""
        least_gb = (self._needs.least_bytes() + program_bytes) / 1e9
        if limit_gb < least_gb:
            raise UserError(
                f"memory: got {limit_gb:g} GB, expected more than {least_gb:.2f} GB for these models"
                f"{', Python and its libraries' if program_bytes else ''}; give more, or take smaller models"
            )

    # ---- plans -------------------------------------------------------------------------------------------------------

    def settle(
        self, seconds: float, passes: int, adapters: Sequence[AdapterNeeds] = (), hints: Sequence[Layers] = ()
    ) -> None:
        """Chooses the plan for a song with `passes` forward passes a step; logs a plan smaller than the first.

        `adapters`: those of each stage, where there are any. `hints`: networks with which stages make hints.
        """
        self.passes = passes
        if self._needs is None:
            return
        needs = self._needs.with_adapters(adapters) if adapters else self._needs
        needs = dataclasses.replace(needs, hints=tuple(hints))
        plan = needs.choose(self._limit_bytes, seconds, passes, self._first) or PLANS[-1]
        if plan != self.plan and plan != self._first:
            needed, free = needs.peak(plan, seconds, passes) / 1e9, self._limit_bytes / 1e9
            logger.warning("%s: this song takes about %.1f GB, and %.1f GB are available", plan, needed, free)
        self._use(plan)

    def _use(self, plan: Plan) -> None:
        if plan.holds != self.plan.holds:
            self._clear()
        self.plan = plan

    def can_use(self, plan: Plan) -> bool:
        return plan.holds == self.plan.holds or bool(self._loaders)

    def make_room(self, plan: Plan) -> None:
        self._clear()
        self._first = plan  # the next song begins with the plan that worked


def _needs(
    found: "CascadeModels", device: torch.device, precision: Precision, limit_bytes: float
) -> tuple[Needs, Precision]:
    """Needs and precision of the models: the precision asked for, else one in which the device is fast, if it fits."""
    on_cpu = device.type == "cpu"

    def needs_at(dtype: torch.dtype | None) -> Needs:
        each = dtype and dtype.itemsize
        return cascade_needs(found, each, on_cpu, precision.quantised is not None, precision.vocoder_dtype.itemsize)

    def fits(needs: Needs) -> bool:
        plan = needs.choose(limit_bytes, LONG_SECONDS)
        return plan is not None and plan.holds != LAYERS

    warn_if_emulated(device, precision.vocoder_dtype, precision.dtype)
    needs = needs_at(precision.dtype)
    if precision.dtype is not None:
        return needs, precision
    if _in_bf16(found) and not computes(device, torch.bfloat16):
        full = needs_at(torch.float32)
        if fits(full):
            logger.warning("the models' files are in bf16, for which this device has no instructions: they run in fp32")
            return full, dataclasses.replace(precision, dtype=torch.float32)
        warn_if_emulated(device, torch.bfloat16)
    if on_cpu or fits(needs):
        return needs, precision
    halved = needs_at(torch.bfloat16)
    if halved.peak(PLANS[0], LONG_SECONDS) == needs.peak(PLANS[0], LONG_SECONDS):
        return needs, precision
    logger.warning("the models' files are too large for this GPU as they are, so they run in bf16")
    return halved, dataclasses.replace(precision, dtype=torch.bfloat16)


def _in_bf16(found: "CascadeModels") -> bool:
    """Whether a network that runs at its file's dtype is stored in bfloat16."""
    parts = [read_checkpoint(model.path).part(name) for model in found.stages for name in STAGE_PARTS]
    parts.append(read_checkpoint(found.text.path).part("text_encoder"))
    return any(info.dtype == "BF16" for part in parts for info in part.tensors.values())

"""The parts of a cascade in memory: loaded when they are needed, held as the song's memory plan says, and given up for
the next smaller plan where memory runs out. Whatever the plan, the song is the same.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.layouts import STAGE_PARTS
from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from ..checkpoints.read_ahead import read_ahead
from ..checkpoints.text_cache import TextCache, text_cache
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder, TextStates
from ..models.vocoder import Vocoder
from ..nn.dtypes import computes, warn_if_emulated
from ..nn.quantise import quantise
from ..nn.streamed_linear import stream_layers
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from ..spec import LatentSpec
from .free import free_main_memory
from .malloc import return_freed_memory
from .needs import LONG_SECONDS, Needs, cascade_needs
from .oom_fallback import OomFallback
from .plan import ALL, LAYERS, NETWORKS, PLANS, Plan

if TYPE_CHECKING:
    from ..checkpoints.cascade_models import CascadeModels

logger = logging.getLogger(__name__)

TEXT, VOCODER = "text", "vocoder"


@dataclass(frozen=True)
class Precision:
    """How networks lie in memory: the dtype of stages and text encoder (None as their files hold them), that of the
    vocoder, and "int8" or "fp8" for the weights of transformers.
    """

    dtype: torch.dtype | None = None
    vocoder_dtype: torch.dtype = torch.float32
    quantised: str | None = None


class ModelPool(OomFallback):
    """Models by key: stages' models by any key of the caller's, TEXT and VOCODER. `plan` says how they are held.

    Only what has a loader can be let go of; parts that the caller brought stay.
    """

    def __init__(
        self,
        held: Mapping,
        needs: Needs | None = None,
        limit_bytes: float = math.inf,
        first: Plan = PLANS[0],
    ):
        """`first`: the plan from which those of songs are chosen."""
        super().__init__(plan=first)
        self._held, self._loaders, self._files = dict(held), {}, {}
        self._needs, self._limit_bytes, self._first = needs, limit_bytes, first
        self._text_cache: Callable[[], TextCache | None] = lambda: None

    @staticmethod
    def of(
        found: "CascadeModels",
        device: torch.device,
        form: Precision,
        limit_bytes: float,
        first: Plan = PLANS[0],
        keeps_text: bool = True,
    ) -> "ModelPool":
        """Those of models on disk, none of them loaded; stages by their path. `keeps_text`: whether text states are
        kept on disk.
        """
        needs, form = _needs(found, device, form, limit_bytes)
        parts = ModelPool({}, needs, limit_bytes, first)
        for path, name in {str(model.path): model.name for model in found.stages}.items():
            load = partial(parts._stage, path, name, device, form)
            parts._loaders |= {path: load} | {(path, only): partial(load, only) for only in STAGE_PARTS}
            parts._files[path] = path, STAGE_PARTS
        if keeps_text:
            parts._text_cache = lambda: text_cache(read_checkpoint(found.text.path), device, form.dtype)
        parts._loaders[TEXT] = partial(load_text_encoder, found.text.path, device=device, dtype=form.dtype)
        parts._loaders[VOCODER] = partial(load_vocoder, found.vocoder.path, device=device, dtype=form.vocoder_dtype)
        parts._files[VOCODER] = found.vocoder.path, ("vae",)
        return parts

    def _stage(
        self, path: str, name: str, device: torch.device, form: Precision, only: str | None = None
    ) -> StageModel:
        fetches, has_transformer = self.plan.holds == LAYERS, only != "condition_encoder"
        # Its weights come to the device in their last form only.
        by_way = has_transformer and (fetches or form.quantised)
        place = torch.device("cpu") if by_way else device
        model = load_stage_model(path, device=place, computed_on=device, dtype=form.dtype, only=only)
        model = dataclasses.replace(model, name=name)
        if not by_way:
            return model
        if form.quantised:
            on = torch.device("cpu") if fetches else device
            quantise(model.transformer, form.quantised, on)
        if fetches:
            return dataclasses.replace(model, transformer=stream_layers(model.transformer, device))
        return model.to(device)

    # ---- what is asked for -------------------------------------------------------------------------------------------

    def __getitem__(self, key: Hashable) -> StageModel | TextEncoder | Vocoder:
        if key not in self._held:
            if self.plan.holds != ALL:
                self._clear()
            self._held[key] = self._loaders[key]()
        return self._held[key]

    def network(self, key: Hashable, name: str) -> StageModel:
        """A stage's model with at least that network of it, "transformer" or "condition_encoder"."""
        apart = self.plan.holds in (NETWORKS, LAYERS) and key in self._loaders
        return self[(key, name) if apart else key]

    def text_states(self, song: Song) -> TextStates:
        """A song's text, from the disk or from the text encoder, which is loaded only then."""
        cache = self._text_cache()
        self._text_cache = lambda: cache  # its fingerprint is taken once

        def encode() -> TextStates:
            return self[TEXT].encode(song)

        return cache.get((text_prompt(song), lyrics_prompt(song)), encode) if cache else encode()

    @property
    def latents(self) -> LatentSpec:
        """How the latents lie in time; of a vocoder on disk its config tells it."""
        return self._needs.latents if self._needs else self[VOCODER].latents

    @property
    def vocoder(self) -> Vocoder:
        """With tiles as the plan has them."""
        vocoder = self[VOCODER]
        return vocoder.small_tiled() if self.plan.small_tiles else vocoder.within(self._limit_bytes)

    def read_ahead(self, key: Hashable) -> None:
        """Begins to read the files of what is needed next, and does not wait."""
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

    # ---- plans -------------------------------------------------------------------------------------------------------

    def settle(self, seconds: float, passes: int) -> None:
        """Chooses the plan for steps of so many passes, and says so where it is not the one asked for."""
        self.passes = passes
        if self._needs is None:
            return
        plan = self._needs.choose(self._limit_bytes, seconds, passes, self._first) or PLANS[-1]
        if plan != self.plan and plan != self._first:
            needed, free = self._needs.peak(plan, seconds, passes) / 1e9, self._limit_bytes / 1e9
            logger.warning("%s: this song takes about %.1f GB, and there are %.1f GB", plan, needed, free)
        self._use(plan)

    def _use(self, plan: Plan) -> None:
        if plan.holds != self.plan.holds:
            self._clear()
        self.plan = plan

    def can_use(self, plan: Plan) -> bool:
        return plan.holds == self.plan.holds or bool(self._loaders)

    def make_room(self, plan: Plan) -> None:
        self._clear()
        self._first = plan  # what was learnt is kept


def _needs(
    found: "CascadeModels", device: torch.device, form: Precision, limit_bytes: float
) -> tuple[Needs, Precision]:
    """What the models need, and their form: as asked; else as the device computes fast, where that fits into it."""
    on_cpu = device.type == "cpu"

    def needs_at(dtype: torch.dtype | None) -> Needs:
        each = dtype and dtype.itemsize
        return cascade_needs(found, each, on_cpu, form.quantised is not None, form.vocoder_dtype.itemsize)

    def fits(needs: Needs) -> bool:
        plan = needs.choose(limit_bytes, LONG_SECONDS)
        return plan is not None and plan.holds != LAYERS

    warn_if_emulated(device, form.vocoder_dtype, form.dtype)
    needs = needs_at(form.dtype)
    if form.dtype is not None:
        return needs, form
    if _in_bf16(found) and not computes(device, torch.bfloat16):
        full = needs_at(torch.float32)
        if fits(full):
            logger.warning("the models' files are in bf16, for which this device has no instructions: they run in fp32")
            return full, dataclasses.replace(form, dtype=torch.float32)
        warn_if_emulated(device, torch.bfloat16)
    if on_cpu or fits(needs):
        return needs, form
    halved = needs_at(torch.bfloat16)
    if halved.peak(PLANS[0], LONG_SECONDS) == needs.peak(PLANS[0], LONG_SECONDS):
        return needs, form
    logger.warning("the models' files are too large for this GPU as they are, so they run in bf16")
    return halved, dataclasses.replace(form, dtype=torch.bfloat16)


def _in_bf16(found: "CascadeModels") -> bool:
    """Whether any of the networks that run at their files' dtype is stored so."""
    parts = [read_checkpoint(model.path).part(name) for model in found.stages for name in STAGE_PARTS]
    parts.append(read_checkpoint(found.text.path).part("text_encoder"))
    return any(info.dtype == "BF16" for part in parts for info in part.tensors.values())

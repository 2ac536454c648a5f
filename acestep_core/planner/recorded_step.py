"""The step of one token as a CUDA graph: a GPU is faster than Python launches its many small kernels."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .language_model import Cache, LanguageModel

logger = logging.getLogger(__name__)

STEPS_BEFORE = 16  # on the same caches: recording takes as long as some of them


class Recorder:
    """Records a model's step where it is made often enough. A step that cannot be recorded stays launched."""

    def __init__(self):
        self._caches: tuple = ()
        self._made = 0
        self._recorded: RecordedStep | None = None

    def step_for(self, model: "LanguageModel", caches: "Sequence[Cache]") -> "RecordedStep | None":
        """The recorded step of these caches; None while there is none."""
        if model.device.type != "cuda" or torch.version.hip is not None:
            return None
        if self._caches != tuple(caches):
            self._caches, self._made, self._recorded = tuple(caches), 0, None
        self._made += 1
        if self._made == STEPS_BEFORE:
            self._recorded = _recorded(model, caches)
        return self._recorded


def _recorded(model: "LanguageModel", caches: "Sequence[Cache]") -> "RecordedStep | None":
    try:
        return RecordedStep(model, caches)
    except RuntimeError as exc:
        logger.info("the planner's steps are not recorded: %s", exc)
        return None


class RecordedStep:
    """One step of R caches: tokens [R] -> hidden states [R, D] before the last norm."""

    def __init__(self, model: "LanguageModel", caches: "Sequence[Cache]"):
        self._caches = tuple(caches)
        self._tokens = torch.zeros(len(caches), dtype=torch.long, device=model.device)
        self._places = torch.zeros_like(self._tokens)
        self._set_places()  # warming up writes where the next token goes
        side, here = torch.cuda.Stream(model.device), torch.cuda.current_stream(model.device)
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(2):
                model.fixed_step(self._tokens, self._places, self._caches)
        here.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._hidden = model.fixed_step(self._tokens, self._places, self._caches)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        self._tokens.copy_(tokens)
        self._set_places()
        self._graph.replay()
        for cache in self._caches:
            cache.length += 1
        return self._hidden.clone()

    def _set_places(self) -> None:
        self._places.copy_(torch.tensor([cache.length for cache in self._caches]))

"""Planner: a language model that is asked to plan, write, rewrite or understand a song.

Results are kept on disk by their content: a request that was answered before costs nothing, not even the weights.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import RLock

import torch

from ..errors import AceStepError, is_out_of_memory
from ..nn.dtypes import pick_device, pick_dtype, suitable_dtype
from ..nn.quantise import check_quantise
from ..song import Song, check_seed
from ..spec import PLANNER_DTYPE_NAMES
from .language_model import LanguageModel
from .load import PlannerFiles, read_planner
from .requests import OPEN_SONG, PlanSong, RewriteSong, UnderstandAudio, WriteSong
from .results import Results, results_of
from .sampling import Sampling
from .session import Progress, Session
from .song_plan import SongPlan
from .vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Request = PlanSong | WriteSong | RewriteSong | UnderstandAudio


class Planner:
    """`Planner.load` finds one by name or path. Its weights are read when they are first needed.

    Threads may share one: a request waits until the one before it is answered or left. `network`: gives the network
    where the caller holds it; it is asked for again after `release`, and computes on `device`.
    """

    def __init__(
        self,
        files: PlannerFiles,
        device: torch.device,
        dtype: torch.dtype | None,
        quantised: str | None,
        network: Callable[[], LanguageModel] | None = None,
    ):
        self.files, self.device, self.dtype, self.quantised = files, device, dtype, quantised
        self.results: Results | None = None
        self._model: LanguageModel | None = None
        self._network = network or (lambda: files.model(device, dtype, quantised))
        self._prompts: dict = {}
        self._lock = RLock()

    @classmethod
    def load(
        cls,
        name: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        quantise: str | None = None,
        cache: bool = True,
        folders: Sequence[Path | str] = (),
    ) -> "Planner":
        """The planner of a name or a path; None takes one that is here. Raises CheckpointError, UserError.

        `device` None takes a CUDA GPU where there is one. `dtype` "fp32" or "bf16"; None keeps the files' own, or takes
        fp32 where the device has no instructions for bf16. `quantise` "int8" or "fp8" rounds the layers' weights to 8
        bits (needs torchao). `cache` keeps results on disk.
        """
        check_quantise(quantise)
        device = pick_device(device)
        chosen = suitable_dtype(device, pick_dtype(dtype, "planner dtype", PLANNER_DTYPE_NAMES))
        planner = cls(read_planner(name, folders), device, chosen, quantise)
        if cache:
            planner.keep_results()
        return planner

    def keep_results(self) -> None:
        """Keeps results on disk from now on, and takes those that are there."""
        self.results = results_of(self.files, f"{self.dtype} {self.quantised} {self.device.type}")

    @property
    def name(self) -> str:
        return self.files.local.name

    @property
    def words(self) -> Vocabulary:
        return self.files.words

    @property
    def model(self) -> LanguageModel:
        """The network, in memory from now on."""
        if self._model is None:
            self._model = self._network()
        return self._model

    def release(self) -> None:
        """Gives the memory of weights and caches back."""
        with self._lock:
            self._model, self._prompts = None, {}

    def usual_sampling(self, request: Request) -> Sampling:
        """How an answer to a request is drawn where nothing is said. Raises UserError for a wrong config."""
        own = self.files.text_temperature
        return request.sampling if own is None else dataclasses.replace(request.sampling, text_temperature=own)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def plan(self, song: Song, *, codes: bool = True, negative: str = "", **how) -> SongPlan:
        """The song with what it leaves open filled in, and its audio codes. `how`: seed, sampling (see `iterate`)."""
        return self.answer(PlanSong(song, codes, negative), **how)

    def write(self, line: str, *, instrumental: bool = False, given: Song = OPEN_SONG, **how) -> SongPlan:
        """A song from one line; what `given` has is kept."""
        return self.answer(WriteSong(line, instrumental, given), **how)

    def rewrite(self, song: Song, **how) -> SongPlan:
        """The song with a caption and lyrics in better words."""
        return self.answer(RewriteSong(song), **how)

    def understand(self, codes: Sequence[int], **how) -> SongPlan:
        """The song that audio codes are of."""
        return self.answer(UnderstandAudio(tuple(codes)), **how)

    def answer(self, request: Request, **how) -> SongPlan:
        """The SongPlan of a request."""
        for progress in self.iterate(request, **how):
            made = progress.result
        return made

    def iterate(self, request: Request, *, seed: int = 0, sampling: Sampling | None = None) -> Iterator[Progress]:
        """Progress after each token; the last has the result. Stop iterating to cancel.

        The seed decides the answer on any device, as far as its numbers are the same. Raises UserError and
        CheckpointError.
        """
        sampling = sampling or self.usual_sampling(request)
        check_seed(seed)
        known = self.results and self.results.get(request, seed, sampling)
        if known is None:
            with self._lock:
                known = yield from self._made(request, seed, sampling)
            if self.results:
                self.results.put(request, seed, sampling, known)
        for note in known.notes:
            logger.warning(note)
        yield Progress("done", len(known.codes), result=known)

    def _made(self, request: Request, seed: int, sampling: Sampling) -> Iterator[Progress]:
        try:
            session = Session(lambda: self.model, self.words, sampling, seed, self._prompts)
            steps = request.run(session)
            while True:
                with torch.no_grad():
                    progress = next(steps)
                yield progress
        except StopIteration as end:
            return dataclasses.replace(end.value, notes=(*end.value.notes, *session.notes))
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            self.release()
            raise AceStepError(
                f"planner: out of memory on {self.device} with {self.name}; choose a smaller planner or 8 bits, or run "
                "it on the CPU"
            ) from exc

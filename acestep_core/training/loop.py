"""The training loop. It makes exactly the same steps, however often it is stopped and resumed.

All that is random in item k of step s (the example, the crop, flow time, noise) follows from (seed, s, k) alone.

Work folder: step-000250/ is the checkpoint of a step (the model so far, and state.safetensors), best-000200/ the model
with the lowest held-out loss, losses.csv the loss log.
"""

import hashlib
import json
import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import AceStepError, UserError, is_out_of_memory
from ..system.files import whole_folder
from .ahead import Ahead
from .checkpoint import STEP, DamagedCheckpoint, TrainingState, check_same
from .distributed import ProcessGroup
from .folders import folders
from .held_out import data_hash, split_examples
from .items import Drawn, TrainingStep
from .loss_log import LossLog
from .objective import flow_times
from .optimisers import make_optimiser
from .prepare import Example, fingerprint
from .rng import seed_of
from .settings import GRADIENT_CHECKPOINTING, Intervals, TrainingSettings, under_old_names

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel
    from ..spec import LatentSpec

logger = logging.getLogger(__name__)
_Made = TypeVar("_Made")

MEASURED_TIMES = 4  # of each held-out example


class TrainingLoop(ABC):
    """One training in one work folder, resumed from the last checkpoint there.

    `model`: the stage model that encoded the examples' text and whose flow times are trained at; `network`: the
    network whose float32 parameters with gradients are trained; `others`: further examples that steps are trained on.
    Another model, other examples or other settings make another training. `group`: the processes that train together;
    the main one measures and saves. Raises UserError where the folder holds another training.
    """

    memory_advice = "a shorter --crop"  # settings for a new training where memory runs out
    together = 1  # items of one forward pass
    is_recorded = False  # passes may be recorded: gradients stay the same tensors, and batches are made ahead

    @torch.inference_mode(False)  # a host may run everything in it, and then nothing could be trained
    def __init__(
        self,
        model: "StageModel",
        network: torch.nn.Module,
        examples: Sequence[Example],
        latents: "LatentSpec",
        work: Path,
        settings: TrainingSettings,
        intervals: Intervals,
        group: ProcessGroup | None = None,
        others: Sequence[Example] = (),
    ):
        if not examples:
            raise UserError("clips: none is left to train on; expected at least one")
        self.model, self.network, self.latents = model, network, latents
        self.device = next(network.parameters()).device
        self.crop_frames = latents.frames(settings.crop_seconds)
        self._chooses_checkpointing = settings.gradient_checkpointing is None
        if self._chooses_checkpointing:
            settings = replace(settings, gradient_checkpointing=self._needs_checkpointing(settings))
        self.work, self.settings, self.intervals = work, settings, intervals
        self.group = group or ProcessGroup()
        self.times = self.flow_times()
        self.train_set, self.held_out = split_examples(examples, settings)
        self._pool = [example for example in self.train_set for _ in range(self._crops_of(example))]
        self.base_hash = fingerprint(model.transformer)
        clips = data_hash([*examples, *others])
        self._about = {"base hash": self.base_hash, "clips": clips, "settings": asdict(settings)}
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(settings, list(self.parameters.values()))
        self.step, self.best = 0, math.inf
        self._ahead = Ahead(self._batches)
        self._resume()
        self.losses = LossLog(work / "losses.csv", self.step) if self.group.is_main else None

    def _crops_of(self, example: Example) -> int:
        """How often an example is drawn in an epoch: once for each crop in it, times its own repeats."""
        return -(-example.latents.shape[-1] // self.crop_frames) * example.repeat

    # ---- defined by subclasses ---------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """A hash of base, clips and settings without the number of steps; adapters carry it."""
        about = {**self._about, "settings": under_old_names({**self._about["settings"], "steps": None})}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    @abstractmethod
    def _loss(self, condition: "Condition", music: torch.Tensor, noise: torch.Tensor, t: float) -> torch.Tensor:
        """The loss at time t between `noise` and `music` [1, C, T]: a scalar, with gradients where they are enabled."""

    @abstractmethod
    def write_model(self, folder: Path) -> None:
        """Writes the model as it stands into an existing folder."""

    def _needs_checkpointing(self, settings: TrainingSettings) -> bool:
        """Whether memory asks for gradient checkpointing, where the settings leave that open."""
        return False

    def flow_times(self):
        """The distribution of the flow times that are trained at."""
        return flow_times(self.model.defaults, self.settings.start, self.settings.end, self.settings.all_times)

    def preview(self) -> tuple[Path, Path] | None:
        """Two songs as files, with the trained weights and without; None where a training makes no previews."""
        return None

    def _seeded(self, seed: int) -> AbstractContextManager:
        """Around the forward and backward pass of an item: seeds the network's own random numbers."""
        return nullcontext()

    # ---- steps -------------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[TrainingStep]:
        """The remaining steps. A step's files are on disk when it is yielded; stop iterating to stop.

        Raises AceStepError where the loss is not finite or memory runs out.
        """
        while self.step < self.settings.steps:
            rate = self.settings.learning_rate * self.settings.learning_rate_factor(self.step)
            with self._saved_on_out_of_memory():
                loss = self._optimise(rate)
                self.step += 1
                done = self._record(loss, rate)
            yield done

    @contextmanager
    def _saved_on_out_of_memory(self):
        try:
            yield
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            self.optimiser.zero_grad()
            if self.step:
                self.save()
            first = "" if self.settings.gradient_checkpointing else "--gradient-checkpointing, "
            raise AceStepError(
                f"out of memory after {self.step} steps, which are saved in {self.work}; begin a new training with "
                f"{first}{self.memory_advice}"
            ) from exc

    @torch.inference_mode(False)
    def measure_step_seconds(self, clock) -> float:
        """Seconds of a step, measured on the next step's first batch without training on it. `clock()` makes a clock
        with `.seconds`.
        """
        # The first pass includes a device's own preparations; the second one may be recorded.
        for _ in range(4 if self.is_recorded else 2):
            started = clock()
            with self._saved_on_out_of_memory():
                size = self._retried(self._first_batch_size)
            seconds = started.seconds
        self._drop_gradients()
        return seconds * -(-self.settings.accumulate // self.group.size) / size

    def _first_batch_size(self) -> int:
        """The number of items in the next step's first batch, once its gradients are there."""
        batch = next(self._batches(self.step))
        float(self._add_gradients(batch))  # a number on the CPU is there only when the device is done
        return len(batch)

    @torch.inference_mode(False)
    def _optimise(self, rate: float) -> float:
        shares = self._retried(self._add_all_gradients)
        loss = torch.tensor(float(sum(map(float, shares))), device=self.device)
        for parameter in self.parameters.values():  # the null condition skips some layers; AdamW would skip them too
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.group.sum([loss, *(parameter.grad for parameter in self.parameters.values())])
        loss = float(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise AceStepError(
                f"step {self.step + 1}: the loss is not finite (loss {loss:g}, gradient norm {norm:g}), so this step "
                f"is not saved; begin a new training with a lower learning rate than {self.settings.learning_rate:g}, "
                "or with --dtype fp32 where the model runs at half precision"
            )
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.step()
        self._drop_gradients()
        return loss

    def _drop_gradients(self) -> None:
        self.optimiser.zero_grad(set_to_none=not self.is_recorded)

    def _retried(self, run: Callable[[], _Made]) -> _Made:
        """The result of `run`, which is called again where memory ran out and passes can do with less."""
        while True:
            try:
                return run()
            except RuntimeError as exc:
                if not is_out_of_memory(exc) or not self._make_room():
                    raise
            self._drop_gradients()

    def _make_room(self) -> bool:
        """Lets passes need less memory from now on, with the same results but for rounding; False where none can."""
        if self.together > 1:
            logger.warning("out of memory with %d crops at once; from now on they run one by one", self.together)
            self.together = 1
        elif self._chooses_checkpointing and not self.settings.gradient_checkpointing:
            logger.warning("out of memory; from now on with gradient checkpointing")
            self.settings = replace(self.settings, gradient_checkpointing=True)
        else:
            return False
        return True

    def _add_all_gradients(self) -> list[torch.Tensor]:
        """Adds the gradients of this process's items of a step; returns their shares of the loss, on the device."""
        shares = [self._add_gradients(batch) for batch in self._ahead.of(self.step)]
        if self.is_recorded and self.step + 1 < self.settings.steps:
            self._ahead.begin(self.step + 1)
        return shares

    def _batches(self, step: int) -> "Iterator[Sequence[Drawn]]":
        """The items of this process in a step, in batches of one length and at most `together` items."""
        items = (self._drawn(step, item) for item in range(self.group.index, self.settings.accumulate, self.group.size))
        lengths: dict[int, list[Drawn]] = {}
        for item in items:
            alike = lengths.setdefault(item.music.shape[-1], [])
            alike.append(item)
            if len(alike) == self.together:
                yield lengths.pop(item.music.shape[-1])
        yield from lengths.values()

    def _drawn(self, step: int, item: int) -> "Drawn":
        seed = seed_of(self.settings.seed, step, item)
        return Drawn(seed, *self._sample(seed, step * self.settings.accumulate + item))

    def _add_gradients(self, batch: "Sequence[Drawn]") -> torch.Tensor:
        """Adds a batch's share to the gradients; returns its share of the loss, a scalar on the device."""
        with torch.enable_grad(), self._seeded(batch[0].seed):
            loss = self._batch_loss(batch) / self.settings.accumulate
            loss.backward()
        return loss.detach()

    def _batch_loss(self, batch: "list[Drawn]") -> torch.Tensor:
        """The sum of the losses of a batch; of one item where a training does not override it."""
        (item,) = batch
        return self._loss(item.condition, item.music, item.noise, item.t)

    def _sample(self, seed: int, position: int) -> "tuple[Condition, torch.Tensor, torch.Tensor, float]":
        """Condition, music and noise [1, C, T], and flow time at a position in the order of all items."""
        rng = torch.Generator().manual_seed(seed)
        example = self._example_at(position)
        first, frames = example.cut(self.crop_frames, float(torch.rand((), generator=rng, dtype=torch.double)))
        time_share, null_share = torch.rand(2, generator=rng, dtype=torch.double).tolist()
        noise = torch.randn(1, example.latents.shape[1], frames, generator=rng)
        condition = example.condition(self.model, frames)
        if null_share < self.times.null_share:
            condition = replace(condition, states=condition.null)
        return condition, example.latents[..., first : first + frames], noise, self.times.quantile(time_share)

    def _example_at(self, position: int) -> Example:
        """The example at a position; each epoch has an order of its own."""
        epoch, place = divmod(position, len(self._pool))
        order = torch.Generator().manual_seed(seed_of(self.settings.seed, "epoch", epoch))
        return self._pool[int(torch.randperm(len(self._pool), generator=order)[place])]

    # ---- logs and checkpoints ----------------------------------------------------------------------------------------

    def _record(self, loss: float, rate: float) -> TrainingStep:
        if not self.group.is_main:
            return TrainingStep(self.step, self.settings.steps, loss, rate)
        last = self.step == self.settings.steps
        held_out = self.held_out_loss() if self._due(self.intervals.measure) or last else None
        if held_out is not None and held_out < self.best:
            self.best = held_out
            self._save_best()
        self.losses.add(self.step, loss, rate, held_out)
        preview = self._try_preview() if self._due(self.intervals.preview) else None
        saved = self.save() if self._due(self.intervals.save) or last else None
        return TrainingStep(self.step, self.settings.steps, loss, rate, held_out, *(preview or (None, None)), saved)

    def _try_preview(self) -> tuple[Path, Path] | None:
        """The preview; None, with a warning, where memory runs out: the training itself goes on."""
        try:
            return self.preview()
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning("step %d: out of memory for the preview, continued without it", self.step)
        return None

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """Mean loss on the held-out examples, always at the same times and noise; None where there are none."""
        if not self.held_out:
            return None
        losses = []
        self.network.eval()
        for number, example in enumerate(self.held_out):
            first, frames = example.cut(self.crop_frames, 0.5)
            condition = example.condition(self.model, frames)
            for index, t in enumerate(self.times.spread(MEASURED_TIMES)):
                rng = torch.Generator().manual_seed(seed_of("held out", number, index))
                noise = torch.randn(1, example.latents.shape[1], frames, generator=rng)
                losses.append(float(self._loss(condition, example.latents[..., first : first + frames], noise, t)))
        self.network.train()
        return sum(losses) / len(losses)

    def _save_best(self) -> None:
        folder = self.work / f"best-{self.step:06}"
        with whole_folder(folder) as unfinished:
            self.write_model(unfinished)
        for older in folders(self.work, "best"):
            if older != folder:
                shutil.rmtree(older)

    def save(self) -> Path:
        """The checkpoint of this step, written whole or not at all by the main process; only the last ones are kept."""
        folder = self.work / f"step-{self.step:06}"
        if folder.is_dir() or not self.group.is_main:
            return folder
        with whole_folder(folder) as unfinished:
            self.write_model(unfinished)
            TrainingState(self.step, self.best, self._about, dict(self._tensors())).write(unfinished)
        for older in folders(self.work, "step")[: -self.intervals.keep]:
            shutil.rmtree(older)
        return folder

    def _tensors(self) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        for name, parameter in self.parameters.items():
            moments = {part: value for part, value in self.optimiser.state[parameter].items() if part != STEP}
            parts = {"weight": parameter, **moments}
            yield name, {part: _copied(value) for part, value in parts.items() if torch.is_tensor(value)}

    # ---- resuming ----------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """From the last checkpoint, or the one before where it is damaged. Raises UserError where all of them are."""
        checkpoints, damaged = folders(self.work, "step"), []
        for folder in reversed(checkpoints):
            try:
                state = TrainingState.read(folder)
                if self._chooses_checkpointing:  # then it is no part of the training
                    stored = state.about["settings"].get(GRADIENT_CHECKPOINTING)
                    self._about["settings"][GRADIENT_CHECKPOINTING] = stored
                check_same(self.work, state.about, self._about)
                state.check_fits(self.parameters, self._counts_in_tensors)
            except DamagedCheckpoint as exc:
                damaged.append(folder)
                logger.warning("%s: is damaged (%s) and is left out", folder, exc)
                continue
            self._load(state)
            break
        if checkpoints and len(damaged) == len(checkpoints):
            raise UserError(f"{self.work}: none of its checkpoints can be read; delete the folder to begin anew")
        for folder in damaged if self.group.is_main else ():  # out of the way of the same step's new checkpoint
            shutil.rmtree(folder.with_name(f"damaged-{folder.name}"), ignore_errors=True)
            folder.rename(folder.with_name(f"damaged-{folder.name}"))

    @property
    def _counts_in_tensors(self) -> bool:
        """Whether the optimiser is torch's, whose step counts are tensors; those of bitsandbytes are numbers."""
        return isinstance(self.optimiser, torch.optim.AdamW)

    @torch.no_grad()
    def _load(self, state: TrainingState) -> None:
        counted_on = self.device if self.optimiser.defaults.get("fused") else "cpu"
        for name, parameter in self.parameters.items():
            parts = {part: value.to(self.device) for part, value in state.tensors[name].items()}
            parameter.copy_(parts.pop("weight"))
            step = torch.tensor(float(state.step), device=counted_on) if self._counts_in_tensors else state.step
            self.optimiser.state[parameter] = {STEP: step, **parts}
        self.step, self.best = state.step, state.best


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    # Copied in any case: an optimiser may hold one tensor for several parameters, which safetensors refuses.
    return tensor.detach().to("cpu", copy=True).contiguous()

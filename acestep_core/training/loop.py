"""The steps of a training, whatever it is that learns: exactly the same ones, however often they are stopped.

Whatever is drawn for item k of step s (the example, where it is cut, flow time, noise) follows from (seed, s, k) alone.

Work folder: step-000250/ is what was made by then, with the optimiser's state beside it, best-000200/ what had the
lowest loss on the clips held out, losses.csv every step's loss.
"""

import hashlib
import json
import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from ..checkpoints.save import write_tensors
from ..errors import AceStepError, UserError, is_out_of_memory
from .distributed import ProcessGroup
from .folders import folders
from .loss_log import LossLog
from .objective import flow_times
from .optimisers import optimiser_class
from .prepare import Example, fingerprint
from .rng import seed_of
from .settings import Course, Rhythm

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel
    from ..spec import LatentSpec
from ..system.files import whole_folder

logger = logging.getLogger(__name__)

STATE_FILE = "state.safetensors"
STEP = "step"  # the optimisers' own name of the number of steps
MEASURED_TIMES = 4  # of each example held out
FEWEST_TO_HOLD_OUT = 4  # with fewer examples than this all are learnt from


@dataclass(frozen=True)
class Learnt:
    """What a step came to."""

    step: int  # from 1
    of: int
    loss: float
    learning_rate: float
    held_out: float | None = None  # loss on the examples held out, where it was measured
    preview: Path | None = None  # a song by what was learnt ...
    without: Path | None = None  # ... and the same one without
    saved: Path | None = None


class Loop(ABC):
    """One training in one work folder; it goes on from the last checkpoint there.

    `model`: whose words the examples' states are, at whose times it is learnt, and which makes this training another
    one where it is another. `network`: what learns, by its parameters that want gradients, float32. `group`: the
    processes that learn together, the leading one of which measures and saves. `others`: what a training rng from
    besides, which makes it another one too. Raises UserError where the folder holds
    another training.
    """

    lighter = "a shorter --crop"  # what to begin anew with where memory runs out

    @torch.inference_mode(False)  # a host may run everything in it, and then nothing could be learnt
    def __init__(
        self,
        model: "StageModel",
        network: torch.nn.Module,
        examples: Sequence[Example],
        latents: "LatentSpec",
        work: Path,
        settings: Course,
        rhythm: Rhythm,
        group: ProcessGroup | None = None,
        others: Sequence[Example] = (),
    ):
        if not examples:
            raise UserError("clips: none is left to learn from; expected at least one")
        self.model, self.network, self.latents = model, network, latents
        self.work, self.settings, self.rhythm = work, settings, rhythm
        self.group = group or ProcessGroup()
        self.times = self.flow_times()
        self.learnt_from, self.held_out = divided(examples, settings)
        self.crop_frames = latents.frames(settings.crop_seconds)
        # A long example is drawn as often as there are crops in it.
        crops = (-(-example.latents.shape[-1] // self.crop_frames) for example in self.learnt_from)
        self._pool = [example for example, count in zip(self.learnt_from, crops) for _ in range(count)]
        self.base_hash = fingerprint(model.transformer)
        self._about = {
            "base hash": self.base_hash,
            "clips": _data_hash([*examples, *others]),
            "settings": asdict(settings),
        }
        self.device = next(network.parameters()).device
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.optimiser = optimiser_class(settings.optimiser)(
            list(self.parameters.values()), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step, self.best = 0, math.inf
        self._resume()
        self.losses = LossLog(work / "losses.csv", self.step) if self.group.leads else None

    # ---- what a training is --------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The same for the same base, clips and settings, however many steps it goes."""
        about = {**self._about, "settings": {**self._about["settings"], "steps": None}}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    @abstractmethod
    def _loss(self, condition: "Condition", music: torch.Tensor, noise: torch.Tensor, t: float) -> torch.Tensor:
        """Of the network at time t between `noise` and `music` [1, C, T]: a scalar, with gradients where enabled."""

    @abstractmethod
    def keep(self, folder: Path) -> None:
        """Writes what was made so far into a folder that is there."""

    def flow_times(self):
        """The times at which it learns."""
        return flow_times(self.model.defaults, self.settings.start, self.settings.end, self.settings.all_times)

    def preview(self) -> tuple[Path, Path] | None:
        """What can be heard of it, as files: a song by what was learnt, and the same one without."""
        return None

    def _drawing(self, seed: int) -> AbstractContextManager:
        """Around one item's forward and backward pass, for what the network itself rng."""
        return nullcontext()

    # ---- steps -------------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Learnt]:
        """The steps that are left. What a step kept is on disk when it is told of; stop iterating to stop.

        Raises AceStepError where the loss is no number or memory runs out.
        """
        while self.step < self.settings.steps:
            rate = self.settings.learning_rate * self.settings.share(self.step)
            with self._memory():
                loss = self._learn(rate)
                self.step += 1
                learnt = self._told(loss, rate)
            yield learnt

    @contextmanager
    def _memory(self):
        try:
            yield
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            self.optimiser.zero_grad()
            if self.step:
                self.save()
            raise AceStepError(
                f"out of memory after {self.step} steps, which are kept in {self.work}; begin a new training with "
                f"{self.lighter}"
            ) from exc

    @torch.inference_mode(False)
    def seconds_of_a_step(self, clock) -> float:
        """Measured on the next step's first item, which is not learnt from. `clock()` makes one with `.seconds`."""
        for _ in range(2):  # the first time a device also gets ready
            started = clock()
            with self._memory():
                self._gradients(0)
            seconds = started.seconds
        self.optimiser.zero_grad()
        return seconds * -(-self.settings.accumulate // self.group.size)

    @torch.inference_mode(False)
    def _learn(self, rate: float) -> float:
        items = range(self.group.index, self.settings.accumulate, self.group.size)
        loss = torch.tensor(float(sum(self._gradients(item) for item in items)), device=self.device)
        for parameter in self.parameters.values():  # a null condition leaves some layers out; AdamW would skip them
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.group.add_up([loss, *(parameter.grad for parameter in self.parameters.values())])
        loss = float(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise AceStepError(
                f"step {self.step + 1}: the loss is no number any more (loss {loss:g}, gradient {norm:g}), so nothing "
                f"of this step is kept; begin a new training with a lower learning rate than "
                f"{self.settings.learning_rate:g}, or with --dtype fp32 where the model runs at half precision"
            )
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        return loss

    def _gradients(self, item: int) -> float:
        """Adds one item's share to the gradients; gives its share of the loss."""
        seed = seed_of(self.settings.seed, self.step, item)
        condition, music, noise, t = self._drawn(seed, self.step * self.settings.accumulate + item)
        with torch.enable_grad(), self._drawing(seed):
            loss = self._loss(condition, music, noise, t) / self.settings.accumulate
            loss.backward()
        return float(loss.detach())

    def _drawn(self, seed: int, position: int) -> "tuple[Condition, torch.Tensor, torch.Tensor, float]":
        """What is learnt at a place in the order of the examples: condition, music and noise [1, C, T], flow time."""
        draw = torch.Generator().manual_seed(seed)
        example = self._piece(position)
        first, frames = example.cut(self.crop_frames, float(torch.rand((), generator=draw, dtype=torch.double)))
        share, told_nothing = torch.rand(2, generator=draw, dtype=torch.double).tolist()
        noise = torch.randn(1, example.latents.shape[1], frames, generator=draw)
        condition = example.condition(self.model, frames)
        if told_nothing < self.times.null_share:
            condition = replace(condition, states=condition.null)
        return condition, example.latents[..., first : first + frames], noise, self.times.at(share)

    def _piece(self, position: int) -> Example:
        """The examples in an order of its own every time they have all been there."""
        epoch, place = divmod(position, len(self._pool))
        order = torch.Generator().manual_seed(seed_of(self.settings.seed, "epoch", epoch))
        return self._pool[int(torch.randperm(len(self._pool), generator=order)[place])]

    # ---- what is told and kept ---------------------------------------------------------------------------------------

    def _told(self, loss: float, rate: float) -> Learnt:
        if not self.group.leads:
            return Learnt(self.step, self.settings.steps, loss, rate)
        last = self.step == self.settings.steps
        held_out = self.measure() if self._due(self.rhythm.measure) or last else None
        if held_out is not None and held_out < self.best:
            self.best = held_out
            self._keep_best()
        self.losses.add(self.step, loss, rate, held_out)
        heard = self._heard() if self._due(self.rhythm.preview) else None
        saved = self.save() if self._due(self.rhythm.save) or last else None
        return Learnt(self.step, self.settings.steps, loss, rate, held_out, *(heard or (None, None)), saved)

    def _heard(self) -> tuple[Path, Path] | None:
        """The preview, if there is memory for it: what learns need not end for what it takes beside."""
        try:
            return self.preview()
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
        logger.warning("step %d: out of memory for the preview, going on without it", self.step)
        return None

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    @torch.no_grad()
    def measure(self) -> float | None:
        """Mean loss on the examples held out, always at the same times under the same noise; None where there are none.

        Raises nothing where it is no number: the next step does.
        """
        if not self.held_out:
            return None
        losses = []
        self.network.eval()
        for number, example in enumerate(self.held_out):
            first, frames = example.cut(self.crop_frames, 0.5)
            condition = example.condition(self.model, frames)
            for index, t in enumerate(self.times.spread(MEASURED_TIMES)):
                draw = torch.Generator().manual_seed(seed_of("held out", number, index))
                noise = torch.randn(1, example.latents.shape[1], frames, generator=draw)
                losses.append(float(self._loss(condition, example.latents[..., first : first + frames], noise, t)))
        self.network.train()
        return sum(losses) / len(losses)

    def _keep_best(self) -> None:
        folder = self.work / f"best-{self.step:06}"
        with whole_folder(folder) as aside:
            self.keep(aside)
        for older in folders(self.work, "best"):
            if older != folder:
                shutil.rmtree(older)

    def save(self) -> Path:
        """A checkpoint of this step, whole or not at all, by the process that leads; of older ones the last stay."""
        folder = self.work / f"step-{self.step:06}"
        if folder.is_dir() or not self.group.leads:
            return folder
        with whole_folder(folder) as aside:
            self.keep(aside)
            tensors = {f"{part} {name}": value for name, part, value in self._state()}
            told = {"step": self.step, "best": self.best if math.isfinite(self.best) else None, **self._about}
            write_tensors(tensors, aside / STATE_FILE, {"training": json.dumps(told)})
        for older in folders(self.work, "step")[: -self.rhythm.keep]:
            shutil.rmtree(older)
        return folder

    def _state(self) -> Iterator[tuple[str, str, torch.Tensor]]:
        for name, parameter in self.parameters.items():
            yield name, "weight", _aside(parameter)
            for part, value in self.optimiser.state[parameter].items():
                if torch.is_tensor(value) and part != STEP:
                    yield name, part, _aside(value)

    def _resume(self) -> None:
        checkpoints = folders(self.work, "step")
        if not checkpoints:
            return
        file = checkpoints[-1] / STATE_FILE
        try:
            with safe_open(file, framework="pt") as stored:
                told = json.loads(stored.metadata()["training"])
                self._check_same(told)
                self._take({key: stored.get_tensor(key) for key in stored.keys()}, told["step"])  # noqa: SIM118
        except UserError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as exc:
            raise UserError(
                f"{file}: cannot be read ({exc}); delete {file.parent.name} to go on from the one before"
            ) from exc
        self.step, self.best = told["step"], math.inf if told["best"] is None else told["best"]

    @torch.no_grad()
    def _take(self, tensors: dict[str, torch.Tensor], step: int) -> None:
        """Weights and the optimiser's state from a checkpoint."""
        # torch counts the steps of each parameter in a tensor of its own, bitsandbytes in a number.
        in_tensors = isinstance(self.optimiser, torch.optim.AdamW)
        parts = [tuple(key.split(" ", 1)) for key in tensors]
        for name, parameter in self.parameters.items():
            state = {part: tensors[f"{part} {name}"].to(self.device) for part, of in parts if of == name}
            parameter.copy_(state.pop("weight"))
            self.optimiser.state[parameter] = {STEP: torch.tensor(float(step)) if in_tensors else step, **state}

    def _check_same(self, told: dict) -> None:
        """How long a training goes may change, all else would make it another."""
        now = json.loads(json.dumps(self._about))
        was = {**told["settings"], "base model": told["base hash"], "clips": told["clips"]}
        now = {**now["settings"], "base model": now["base hash"], "clips": now["clips"]}
        changed = [name.replace("_", " ") for name in now if name != "steps" and was.get(name) != now[name]]
        if changed:
            raise UserError(
                f"{self.work}: holds a training with other {', '.join(changed)}; go on with the same, or choose "
                "another output for a new training"
            )


def _aside(tensor: torch.Tensor) -> torch.Tensor:
    # A copy in any case: an optimiser may hold one tensor for all parameters, of which a file takes none.
    return tensor.detach().to("cpu", copy=True).contiguous()


# ---- clips -----------------------------------------------------------------------------------------------------------


def shown_piece(examples: Sequence[Example], settings: Course) -> Example:
    """The one whose song is made for previews."""
    learnt_from, held_out = divided(examples, settings)
    return (held_out or learnt_from)[0]


def divided(examples: Sequence[Example], settings: Course) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and examples to measure with."""
    if not settings.hold_out or len(examples) < FEWEST_TO_HOLD_OUT:
        return list(examples), []
    count = max(1, min(round(settings.hold_out * len(examples)), len(examples) - 1))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed_of(settings.seed, "held out")))
    held = set(order[:count].tolist())
    return [p for i, p in enumerate(examples) if i not in held], [examples[i] for i in sorted(held)]


def _data_hash(examples: Sequence[Example]) -> str:
    return hashlib.sha256(" ".join(example.key for example in examples).encode()).hexdigest()[:32]

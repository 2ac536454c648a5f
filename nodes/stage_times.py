"""The flow times of a stage node, from its widgets and its latent, without loading a model. The run uses them, and the
strip that the page draws on the node.
"""

from dataclasses import dataclass, replace

from ..acestep_core import spec
from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.checkpoints.registry import STAGE
from ..acestep_core.checkpoints.variants import VARIANTS
from ..acestep_core.errors import UserError
from ..acestep_core.flow.stage_plan import stage_times
from ..acestep_core.models.defaults import VariantDefaults
from .host import locations
from .model_choice import plain

SLOTS = tuple(slot.upper() for slot in spec.SLOTS)
MOST_STEPS, MOST_SHIFT = 200, 20.0
AS_AUTO = -1.0  # a start or an end below 0
RANDOM_SOLVER = "sde"
EMPTY, FROM_STAGE, FINISHED = LATENTS = ("empty", "stage", "finished")


@dataclass(frozen=True)
class StageTimes:
    """A stage's place in the cascade, the time `at` of its latents (None: finished, or not known), and its widgets.

    A start or an end that is None or below 0, 0 steps, and a shift of 0 mean auto.
    """

    slot: int
    at: float | None = None
    finished: bool = False
    start: float | None = None
    end: float | None = None
    steps: int = 0
    shift: float = 0.0

    def times(self, own: VariantDefaults) -> tuple[float, ...]:
        """From the stage's start down to its end. Raises UserError."""
        if self.steps > MOST_STEPS:
            raise UserError(f"steps: got {self.steps}, expected at most {MOST_STEPS}")
        if self.shift > MOST_SHIFT:
            raise UserError(f"shift: got {self.shift:g}, expected at most {MOST_SHIFT:g}")
        start, end = (None if t is None or t < 0 else t for t in (self.start, self.end))
        chosen = {"start": start, "end": end, "steps": self.steps or None, "shift": self.shift or None}
        return stage_times(own, self.slot, at=self.at, finished=self.finished, **chosen)

    def notes(self, times: tuple[float, ...]) -> tuple[str, ...]:
        """A warning if finished music would be lost, or if the stage chooses the start for finished music."""
        if not self.finished:
            return ()
        if times[0] == 1:
            return ("the latent is finished music, and nothing is left of it at t = 1: this stage makes another song",)
        if self.slot == 0 and (self.start is None or self.start < 0):
            return (
                f"the latent is finished music: this stage begins at t = {times[0]:.4g}, where {1 - times[0]:.0%} is "
                "left of it; set start and end (t) to keep more or less",
            )
        return ()


# ---- the strip -------------------------------------------------------------------------------------------------------


def answer_stretch(query: dict) -> dict:
    """A stage's strip: the flow times by its widgets, those of auto, whether its seed counts, and warnings."""
    asked, name = _asked(query)
    own = _defaults(name)
    times = asked.times(own)
    return {
        "times": times,
        "steps": len(times) - 1,
        "auto": _auto(asked, own),
        "variant": own.variant,
        "shift": asked.shift or own.shift,
        "guidance": own.guidance_kind,
        "seed_counts": seed_counts(asked.slot, query.get("latent"), query.get("solver"), query.get("clip")),
        "notes": asked.notes(times),
    }


def _auto(asked: StageTimes, own: VariantDefaults) -> list[float] | None:
    """Start and end of auto; None where auto gives no valid flow times for these latents."""
    try:
        times = replace(asked, start=None, end=None).times(own)
    except UserError:
        return None
    return [times[0], times[-1]]


def _asked(query: dict) -> tuple[StageTimes, str]:
    try:
        slot, name, latent = SLOTS.index(query["slot"]), plain(query["model"]), query.get("latent", FROM_STAGE)
        numbers = {key: float(query[key]) for key in ("at", "start", "end") if key in query}
        counts = {"steps": int(query.get("steps", 0)), "shift": float(query.get("shift", 0))}
        LATENTS.index(latent)
    except (KeyError, ValueError) as exc:
        raise UserError(f"stretch: got {query}, expected slot (L, M or S), model, and numbers") from exc
    return StageTimes(slot, finished=latent == FINISHED, **numbers, **counts), name


def seed_counts(slot: int, latent: str | None, solver: str | None, clip: str | None) -> bool:
    """Whether a stage draws noise, for which its seed counts. It may count where an argument is not known (None).

    A latent that another stage began has its noise in it already. The seed still counts if the solver adds noise in
    each step, and if a clip is continued, because then noise is drawn for the clip.
    """
    return slot == 0 or latent != FROM_STAGE or solver in (None, RANDOM_SOLVER) or clip != "0"


def _defaults(name: str) -> VariantDefaults:
    """Of a model that is here, or that can be downloaded."""
    shelf = locations.models_shelf()
    absent = {model.name: model.variant for model in shelf.absent(STAGE)}
    if name in absent:
        return VARIANTS[absent[name]]
    if name not in shelf.here(STAGE):
        raise UserError(f"{name} is no stage model that is here")
    return read_checkpoint(shelf.find(name, STAGE).path).defaults

"""The settings with which a stage model runs when the user chooses none; its checkpoint says them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VariantDefaults:
    """How a stage model is run when the user says nothing."""

    variant: str
    steps: int
    shift: float
    guidance: float = 1.0
    guidance_kind: str = "none"
    boundaries: tuple[float, ...] | None = None  # of the cascade this model was made for
    valid_times: tuple[float, ...] | None = None  # the only times a distilled model knows, largest first
    cascade_steps: tuple[int, ...] | None = None  # steps of each stage of that cascade
    source: str = "config.json"  # what told us: "config.json", "file name" or "assumed"

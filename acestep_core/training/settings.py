"""Settings of trainings, checked as they are made. No torch: the command line reads them at once."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from .. import spec
from ..checkpoints.geometry import TRANSFORMERS
from ..errors import UserError

if TYPE_CHECKING:
    from ..models.defaults import VariantDefaults

# Name of a group of layers -> the paths of these layers in diffusers' transformer.
TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "self": r"layers\.\d+\.self_attn\.(to_q|to_k|to_v|to_out\.0)",
        "cross": r"layers\.\d+\.cross_attn\.(to_q|to_k|to_v|to_out\.0)",
        "mlp": r"layers\.\d+\.mlp\.(gate_proj|up_proj|down_proj)",
    }
)


OPTIMISERS = ("adamw", "adamw8bit")
RANK_MOST = 4096  # beyond the width of a layer a matrix more holds nothing new
KINDS = MappingProxyType({"lora": "LoRA", "dora": "DoRA", "lokr": "LoKr"})
SLOTS = tuple(slot.upper() for slot in spec.SLOTS)
LAST_SLOT = SLOTS.index("S")


GRADIENT_CHECKPOINTING = "gradient_checkpointing"
_OLD_NAMES = MappingProxyType({"frugal": GRADIENT_CHECKPOINTING})  # of fields, in checkpoints of version 0.1.0


@dataclass(frozen=True)
class TrainingSettings:
    """All settings that decide the steps of a training. A training is resumed under equal settings only.

    Raises UserError for a value outside its range.
    """

    steps: int = 1000
    learning_rate: float = 1e-4
    warm_up: int = 50  # steps
    accumulate: int = 4  # items a step
    clip: float = 1.0  # of the gradient's norm
    weight_decay: float = 0.01
    optimiser: str = "adamw"  # of OPTIMISERS
    # Layers are computed again for the gradients: less memory, a third more time. None: where memory asks for it.
    gradient_checkpointing: bool | None = None
    crop_seconds: float = 60.0
    hold_out: float = 0.1  # share of the clips that the loss is measured on and no step is trained on
    start: float = 1.0  # flow times, from noise ...
    end: float = 0.0  # ... to music
    all_times: bool = False  # train a turbo model at all its 20 times, not at the 8 of its own schedule
    seed: int = 0

    def __post_init__(self):
        self._check_whole(steps=1, accumulate=1, warm_up=0, seed=0)
        self._check_positive("learning_rate", "clip", "crop_seconds")
        self._check_shares("hold_out", "weight_decay")
        self._check_one_of(optimiser=OPTIMISERS)

    def _check_whole(self, **least: int):
        for name, lowest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < lowest:
                raise UserError(
                    f"{name.replace('_', ' ')}: got {value!r}, expected a whole number of at least {lowest}"
                )

    def _check_positive(self, *names: str):
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name.replace('_', ' ')}: got {value}, expected a number above 0")

    def _check_shares(self, *names: str):
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', ' ')}: got {getattr(self, name)}, expected 0 or more, below 1")

    def _check_one_of(self, **choices: Collection[str]):
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}")

    def learning_rate_factor(self, step: int) -> float:
        """Share of the highest learning rate at a step, counted from 0: a linear warm-up, then half a cosine to 0."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - self.warm_up) / max(1, self.steps - self.warm_up)))


@dataclass(frozen=True)
class LoraSettings(TrainingSettings):
    """All that decides how an adapter is trained. Raises UserError for a value outside its range."""

    rank: int = 16
    alpha: float | None = None  # None: the rank, so that the scale is 1 for readers without alpha too
    dropout: float = 0.0
    targets: tuple[str, ...] = ("self", "cross")
    kind: str = "lora"  # of KINDS
    preserve: float = 0.0  # share of the crops from songs that the base made itself, for prior preservation

    def __post_init__(self):
        super().__post_init__()
        self._check_whole(rank=1)
        if self.rank > RANK_MOST:
            raise UserError(f"rank: got {self.rank}, expected at most {RANK_MOST}")
        self._check_positive("alpha")
        self._check_shares("dropout", "preserve")
        self._check_one_of(kind=KINDS)
        if not self.targets or not set(self.targets) <= set(TARGETS):
            raise UserError(f"targets: got {', '.join(self.targets)!r}, expected some of {', '.join(TARGETS)}")

    @property
    def is_random(self) -> bool:
        """Whether the network draws numbers of its own, for each crop by the crop's seed."""
        return bool(self.dropout) or self.kind == "lokr"  # PEFT's LoKr does, even without dropout


# What the student is trained to match -> share of the music's velocity in its target; the rest is the teacher's.
MUSIC_SHARE: Mapping[str, float] = MappingProxyType({"teacher": 0.0, "both": 0.75, "music": 1.0})
BEGINNINGS, MATCHES = ("teacher", "nothing"), tuple(MUSIC_SHARE)


@dataclass(frozen=True)
class Size:
    """The size of a transformer."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int

    @staticmethod
    def of(config: Mapping) -> "Size":
        """The size in a transformer's config."""
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        return Size(*(config[name] for name in names))

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise UserError(f"{name.replace('_', ' ')}: got {value}, expected at least 1")

    def check_within(self, teacher: Mapping) -> None:
        """Raises UserError where it exceeds the size in the teacher's config, or groups its heads otherwise."""
        limits = asdict(Size.of(teacher))
        for name, most in limits.items():
            if getattr(self, name) > most:
                raise UserError(
                    f"{name.replace('_', ' ')}: got {getattr(self, name)}, expected at most the teacher's {most}"
                )
        most = limits["heads"] // limits["kv_heads"]
        if self.heads % self.kv_heads or self.heads // self.kv_heads > most:
            raise UserError(
                f"heads: got {self.heads} on {self.kv_heads} kv heads, expected a multiple of them, at most the "
                f"teacher's {most} for each"
            )


# Hidden size of a teacher -> its student by default: a 782 M stage S of the published stage M, and the tiny one.
STUDENTS: Mapping[int, Size] = MappingProxyType(
    {2048: Size.of(TRANSFORMERS["s"].arguments), 192: Size(128, 384, 6, 2, 1)},
)


@dataclass(frozen=True)
class DistillSettings(TrainingSettings):
    """All that decides how a student is trained. Raises UserError for a value outside its range.

    `match`: the velocity that the student is trained to give. "teacher": the teacher's own, with the teacher's errors.
    "music": noise - music, as in plain flow matching: without these errors, but with far more variance between crops.
    "both": three quarters of the music's velocity, which leaves a sixteenth of the teacher's squared error and 9/16 of
    the music's variance. Use "both" on clips with a teacher trained by flow matching. Use "teacher" for a turbo or
    guided teacher, whose velocity differs from the mean that "music" approaches, and for songs that the teacher made,
    which carry no more information than the teacher.
    """

    size: Size | None = None  # None: the one of STUDENTS
    guidance: float = 1.0  # scale of the teacher's guidance; 1: unguided, and the null condition is trained too
    begin: str = "teacher"  # pruned from the teacher, or "nothing": random weights
    match: str | None = None  # of MATCHES; None: the one that fits the teacher

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.guidance < float("inf"):
            raise UserError(f"guidance: got {self.guidance:g}, expected 1 (none) or more, such as 7")
        self._check_one_of(begin=BEGINNINGS, **({"match": MATCHES} if self.match else {}))
        if self.guidance > 1 and self.match not in (None, "teacher"):
            raise UserError(
                f"match: got {self.match} with guidance {self.guidance:g}, expected teacher: the music is not guided"
            )

    def for_teacher(self, config: Mapping) -> "DistillSettings":
        """These settings, with `match` and `size` filled in for a teacher of that config.

        Raises UserError where no size is given and the teacher has no default.
        """
        alone = self.guidance > 1 or config.get("is_turbo")
        match = self.match or ("teacher" if alone else "both")
        if self.size is not None:
            return replace(self, match=match)
        if config["hidden_size"] not in STUDENTS:
            raise UserError(
                f"size: got none, and a teacher of hidden size {config['hidden_size']} has no default; give --hidden, "
                "--intermediate, --layers, --heads and --kv-heads"
            )
        return replace(self, match=match, size=STUDENTS[config["hidden_size"]])

    def check_teacher(self, name: str, config: Mapping, defaults: "VariantDefaults") -> None:
        """Raises UserError where the student is larger than the teacher, or the teacher cannot be guided."""
        self.size.check_within(config)
        if self.guidance > 1 and defaults.valid_times is not None:
            raise UserError(f"guidance: {name} is a turbo model, distilled to run unguided; leave --guidance out")


@dataclass(frozen=True)
class Intervals:
    """Steps between checkpoints, measurements and previews of a training, 0 for none; they do not change its result."""

    save: int = 250
    measure: int = 50  # the loss on the clips held out
    preview: int = 0
    keep: int = 3  # the last so many checkpoints

    def __post_init__(self):
        for name, least in {"save": 0, "measure": 0, "preview": 0, "keep": 1}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}: got {getattr(self, name)}, expected at least {least}")


# GPU memory in GB -> settings; computed from the sizes of weights, gradients and optimiser, not measured.
PRESETS: Mapping[int, Mapping[str, object]] = MappingProxyType(
    {
        8: {"rank": 16, "crop_seconds": 30.0, GRADIENT_CHECKPOINTING: True},
        12: {"rank": 32, "crop_seconds": 60.0, GRADIENT_CHECKPOINTING: True},
        16: {"rank": 64, "crop_seconds": 60.0, GRADIENT_CHECKPOINTING: True},
        24: {"rank": 128, "crop_seconds": 60.0, GRADIENT_CHECKPOINTING: False},
    }
)

# For the embedded family, whose adapters train in less than a minute on a handful of clips.
TINY: Mapping[str, object] = MappingProxyType({"rank": 16, "crop_seconds": 6.0, "learning_rate": 2e-3, "accumulate": 2})


def preset(gigabytes: int, **given) -> LoraSettings:
    """The settings for a GPU of so much memory, overridden by `given`. Raises UserError below the smallest preset."""
    sizes = [size for size in PRESETS if size <= gigabytes]
    if not sizes:
        raise UserError(f"vram: got {gigabytes} GB, expected at least {min(PRESETS)}")
    return replace(LoraSettings(**PRESETS[max(sizes)]), **given)


# ---- settings as they are stored -------------------------------------------------------------------------------------


def read_stored(settings: Mapping) -> dict:
    """Stored settings under today's names of the fields."""
    return {_OLD_NAMES.get(name, name): value for name, value in settings.items()}


def under_old_names(settings: Mapping) -> dict:
    """Settings under the names of version 0.1.0, by which adapters know the training they come from."""
    old = {now: before for before, now in _OLD_NAMES.items()}
    return {old.get(name, name): value for name, value in settings.items()}


# ---- flow times of a model -------------------------------------------------------------------------------------------


def with_own_times(settings: LoraSettings, slot: str, defaults: "VariantDefaults") -> LoraSettings:
    """Settings with the flow times at which a model runs in the cascade it was made for, if it has one slot there; else
    unchanged.
    """
    if not defaults.boundaries or slot not in SLOTS:
        return settings
    edges = (1.0, *defaults.boundaries, 0.0)
    place = SLOTS.index(slot)
    return replace(settings, start=edges[place], end=edges[place + 1])

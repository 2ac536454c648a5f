"""What a training can be told. No torch: the command line tells of it at once."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..checkpoints.geometry import TRANSFORMERS
from ..errors import UserError

if TYPE_CHECKING:
    from ..models.defaults import VariantDefaults

# What may be adapted -> the paths of those layers in diffusers' transformer.
TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "self": r"layers\.\d+\.self_attn\.(to_q|to_k|to_v|to_out\.0)",
        "cross": r"layers\.\d+\.cross_attn\.(to_q|to_k|to_v|to_out\.0)",
        "mlp": r"layers\.\d+\.mlp\.(gate_proj|up_proj|down_proj)",
    }
)


OPTIMISERS = ("adamw", "adamw8bit")
KINDS = MappingProxyType({"lora": "LoRA", "dora": "DoRA", "lokr": "LoKr"})
LAST_SLOT = 2  # of three: the place of an S


@dataclass(frozen=True)
class Course:
    """What decides how anything is learnt, step by step; a training goes on only under the settings it began with.

    Raises UserError for values that make no sense.
    """

    steps: int = 1000
    learning_rate: float = 1e-4
    warm_up: int = 50  # steps
    accumulate: int = 4  # items a step
    clip: float = 1.0  # of the gradient's norm
    weight_decay: float = 0.01
    optimiser: str = "adamw"  # of OPTIMISERS
    frugal: bool = False  # layers are computed again for the gradients: less memory, a third more time
    crop_seconds: float = 60.0
    hold_out: float = 0.1  # share of the clips that is not learnt from, to measure with
    start: float = 1.0  # the stretch of flow time, from noise ...
    end: float = 0.0  # ... to music
    all_times: bool = False  # a turbo model learns at all 20 times that it knows, not at the 8 at which it is run
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

    def share(self, step: int) -> float:
        """Of the learning rate at a step, from 0: a linear warm-up, then half a cosine down to nothing."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - self.warm_up) / max(1, self.steps - self.warm_up)))


@dataclass(frozen=True)
class LoraSettings(Course):
    """All that decides what an adapter learns. Raises UserError for values that make no sense."""

    rank: int = 16
    alpha: float | None = None  # None: the rank, so that readers that know of no alpha are right too
    dropout: float = 0.0
    targets: tuple[str, ...] = ("self", "cross")
    kind: str = "lora"  # of KINDS
    preserve: float = 0.0  # share of the crops that are songs of the base's own, so that it stays what it is

    def __post_init__(self):
        super().__post_init__()
        self._check_whole(rank=1)
        self._check_positive("alpha")
        self._check_shares("dropout", "preserve")
        self._check_one_of(kind=KINDS)
        if not self.targets or not set(self.targets) <= set(TARGETS):
            raise UserError(f"targets: got {', '.join(self.targets)!r}, expected some of {', '.join(TARGETS)}")


MUSIC_SHARE: Mapping[str, float] = MappingProxyType({"teacher": 0.0, "both": 0.75, "music": 1.0})  # of what is matched
BEGINNINGS, MATCHES = ("teacher", "nothing"), tuple(MUSIC_SHARE)


@dataclass(frozen=True)
class Size:
    """How large a transformer is."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int

    @staticmethod
    def of(config: Mapping) -> "Size":
        """Of a transformer, told by its config."""
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        return Size(*(config[name] for name in names))

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise UserError(f"{name.replace('_', ' ')}: got {value}, expected at least 1")

    def check_within(self, teacher: Mapping) -> None:
        """Raises UserError where it is larger than a teacher, told by its config, or groups its heads otherwise."""
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


# Hidden size of a teacher -> the student made of it unless told: the 782 M S of the published M, and the tiny one.
STUDENTS: Mapping[int, Size] = MappingProxyType(
    {2048: Size.of(TRANSFORMERS["s"].arguments), 192: Size(128, 384, 6, 2, 1)},
)


@dataclass(frozen=True)
class DistillSettings(Course):
    """All that decides what a student learns. Raises UserError for values that make no sense.

    `match`: the teacher's velocity says of each crop what the music says of many, but with the teacher's own mistakes;
    the music's (plain flow matching) has none of them. `both` lies between: three quarters of the music leave a
    sixteenth of the teacher's squared mistakes and 9/16 of the music's chance. That is right on clips, for a teacher
    that flow matching itself has taught. A turbo model's velocity leads to one sharp song and not to the mean of all
    that may be, a guided one away from that mean, and of songs that the teacher makes it knows all there is to know:
    there the teacher is matched alone.
    """

    size: Size | None = None  # None: the one of STUDENTS
    guidance: float = 1.0  # how strongly the teacher is guided that is matched; 1: not, and the null condition is too
    begin: str = "teacher"  # from a cut of the teacher, or from nothing
    match: str | None = None  # of MATCHES; None: what the teacher is to be matched by

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
        """With what is not told as it is right for such a teacher. Raises UserError where no size is known."""
        as_it_is = self.guidance > 1 or config.get("is_turbo")
        match = self.match or ("teacher" if as_it_is else "both")
        if self.size is not None:
            return replace(self, match=match)
        if config["hidden_size"] not in STUDENTS:
            raise UserError(
                f"size: no student of a teacher {config['hidden_size']} wide is known; give --hidden, --intermediate, "
                "--layers, --heads and --kv-heads"
            )
        return replace(self, match=match, size=STUDENTS[config["hidden_size"]])

    def check_teacher(self, name: str, config: Mapping, defaults: "VariantDefaults") -> None:
        """Raises UserError where such a teacher has no student of this size, or cannot be guided."""
        self.size.check_within(config)
        if self.guidance > 1 and defaults.valid_times is not None:
            raise UserError(f"guidance: {name} is a turbo model, made to run without; leave --guidance out")


@dataclass(frozen=True)
class Rhythm:
    """How often, in steps, a training tells and keeps what it has learnt; 0 is never. It changes nothing of it."""

    save: int = 250
    measure: int = 50  # on the clips held out
    preview: int = 0
    keep: int = 3  # checkpoints, the last ones

    def __post_init__(self):
        for name, least in {"save": 0, "measure": 0, "preview": 0, "keep": 1}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}: got {getattr(self, name)}, expected at least {least}")


# By a GPU's memory in GB; computed from the sizes of weights, gradients and optimiser, not measured on such cards.
PRESETS: Mapping[int, Mapping[str, object]] = MappingProxyType(
    {
        8: {"rank": 16, "crop_seconds": 30.0, "frugal": True},
        12: {"rank": 32, "crop_seconds": 60.0, "frugal": True},
        16: {"rank": 64, "crop_seconds": 60.0, "frugal": True},
        24: {"rank": 128, "crop_seconds": 60.0, "frugal": False},
    }
)

# For the embedded family, which learns a style from a handful of clips in less than a minute.
TINY: Mapping[str, object] = MappingProxyType({"rank": 16, "crop_seconds": 6.0, "learning_rate": 2e-3, "accumulate": 2})


def preset(gigabytes: int, **given) -> LoraSettings:
    """Settings for a GPU of so much memory; what is given overrides them. Raises UserError for less than the least."""
    sizes = [size for size in PRESETS if size <= gigabytes]
    if not sizes:
        raise UserError(f"vram: got {gigabytes} GB, expected at least {min(PRESETS)}")
    return replace(LoraSettings(**PRESETS[max(sizes)]), **given)

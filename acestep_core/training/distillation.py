"""Distillation of a small stage model from a large one: trained to give the same velocity at its flow times.

x_t = t noise + (1 - t) music, latents [B, C, T]. The teacher's velocity is the mean of noise - music over all music
that fits x_t, so a student that matches it learns from one crop what plain flow matching learns from many; a target
between the two keeps part of the teacher's errors away. The condition encoder is the teacher's, frozen; the student's
weights are float32, whatever dtype it computes in.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..flow.guidance import Guidance, Guided
from ..models.velocity import prepare
from .distributed import ProcessGroup
from .loop import TrainingLoop
from .model_card import student_card, write_card
from .objective import FlowTimes, TrainableVelocity, flow_times
from .prepare import Example
from .prune import initialised, prune
from .rng import seed_of, seeded
from .settings import MUSIC_SHARE, DistillSettings, Intervals

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..spec import LatentSpec

CALIBRATION_ITEMS = 48  # crops on which the teacher's activations are recorded for pruning


class Distiller(TrainingLoop):
    """The training of one student. Every checkpoint is a stage model.

    `dtype`: of autocast and of the stored weights; while they are trained, weights are float32. Raises UserError where
    the student is larger than the teacher, or the folder holds another training.
    """

    memory_advice = "a shorter --crop or a smaller size"

    @torch.inference_mode(False)  # a host may run everything in it, and then nothing could be trained
    def __init__(
        self,
        teacher: "StageModel",
        examples: Sequence[Example],
        latents: "LatentSpec",
        work: Path,
        settings: DistillSettings,
        dtype: torch.dtype = torch.float32,
        intervals: Intervals = Intervals(),  # noqa: B008  it is frozen
        group: ProcessGroup | None = None,
    ):
        settings = settings.for_teacher(teacher.transformer.config)
        settings.check_teacher(teacher.name, teacher.transformer.config, teacher.defaults)
        self.dtype = dtype
        self.guidance = _guidance(teacher, settings)
        with seeded(seed_of(settings.seed, "start"), torch.device("cpu")):
            network = initialised(teacher.transformer, settings.size)
        super().__init__(teacher, network.train(), examples, latents, work, settings, intervals, group)
        if self.step == 0 and settings.begin == "teacher":
            network.load_state_dict(prune(teacher.transformer, settings.size, self._calibrate).state_dict())

    def flow_times(self) -> FlowTimes:
        times = flow_times(self.model.defaults, self.settings.start, self.settings.end, all_times=True)
        # A student of a guided teacher runs without a second pass, so never under the null condition.
        return replace(times, null_share=0.0) if self.guidance.scale > 1 else times

    def _calibrate(self) -> None:
        for item in range(CALIBRATION_ITEMS):
            condition, music, noise, t = self._sample(seed_of(self.settings.seed, "seen", item), item)
            prepare(self.model.transformer, condition)(t * noise + (1 - t) * music, t)

    def _loss(self, condition, music: torch.Tensor, noise: torch.Tensor, t: float) -> torch.Tensor:
        music, noise = music.to(self.device), noise.to(self.device)
        x_t = t * noise + (1 - t) * music
        share, target = MUSIC_SHARE[self.settings.match], noise - music
        if share < 1:  # the weighted sum of both squared errors has its minimum at the point between
            target = share * target + (1 - share) * self.teacher_velocity(condition, x_t, t).float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            velocity = TrainableVelocity(self.network, condition, torch.float32, self.settings.gradient_checkpointing)(
                x_t, t
            )
        return (velocity.float() - target).square().mean()

    @torch.no_grad()
    def teacher_velocity(self, condition, x_t: torch.Tensor, t: float) -> torch.Tensor:
        """The teacher's velocity [B, C, T], guided where the settings say so."""
        return Guided(prepare(self.model.transformer, condition), self.guidance)(x_t, t)

    def write_model(self, folder: Path) -> None:
        from ..checkpoints.save import save_stage_model

        teacher = self.model
        own = {name: value for name, value in asdict(teacher.defaults).items() if value is not None}
        del own["source"], own["lyric_heads"], own["lyric_heads_trained"]  # the student has other layers
        if self.guidance.scale > 1:
            own |= {"guidance": 1.0, "guidance_kind": "none"}
        origin = {"teacher": teacher.name, "teacher_hash": self.base_hash, "steps": self.step}
        extra = {
            "timbre_fix_frame": teacher.timbre_frames,
            "is_turbo": bool(teacher.transformer.config.is_turbo),
            "model_version": teacher.transformer.config.model_version,
            "acestep_cascade": own,
            "distilled": {**origin, "settings": asdict(self.settings)},
        }
        save_stage_model(
            folder,
            self.network,
            teacher.condition_encoder,
            teacher.silence,
            extra,
            dtype=self.dtype,
            tokenizer=teacher.audio_tokenizer,
            detokenizer=teacher.audio_token_detokenizer,
            family=teacher.family,
        )

    def finish(self, target: Path) -> Path:
        """Writes the student as it stands, a stage model in the original layout, and its model card."""
        self.write_model(target)
        write_card(target, self._card(target))
        return target

    def _card(self, target: Path) -> str:
        settings, size = self.settings, self.settings.size
        facts = {
            "parameters": f"{sum(p.numel() for p in self.parameters.values()) / 1e6:.0f} M",
            "hidden, intermediate, layers": f"{size.hidden}, {size.intermediate}, {size.layers}",
            "steps": f"{self.step} of {settings.accumulate} crops of up to {settings.crop_seconds:g} s",
            "flow times": f"{settings.start:g} to {settings.end:g}",
            "learning rate": settings.learning_rate,
        }
        return student_card(target, self.model.name, facts)


def _guidance(teacher: "StageModel", settings: DistillSettings) -> Guidance:
    """The teacher's own kind of guidance, without momentum from step to step: a student keeps no state."""
    if settings.guidance == 1:
        return Guidance()
    kind = teacher.defaults.guidance_kind
    return Guidance(kind if kind != "none" else "apg", settings.guidance)

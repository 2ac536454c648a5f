"""Teaches a small stage model what a large one does: at flow times of its stretch it shall give the same velocity.

x_t = t noise + (1 - t) music, latents [B, C, T]. The teacher's velocity is what remains of noise - music when all that
cannot be known from x_t is averaged out, so a student that matches it learns from each crop what plain flow matching
learns from many; what lies between both keeps it from the teacher's own mistakes. The condition encoder is the
teacher's own, frozen; the student's weights are float32, whatever they are computed in.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..flow.guidance import Guidance, Guided
from ..models.velocity import prepare
from .distributed import ProcessGroup
from .loop import Loop
from .objective import FlowTimes, Learning, flow_times
from .prepare import Example
from .prune import cut, empty
from .rng import seed_of, seeded
from .settings import MUSIC_SHARE, DistillSettings, Rhythm

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..spec import LatentSpec

SEEN_ITEMS = 48  # crops on which the teacher is watched before it is cut


class Distiller(Loop):
    """The training of one student. Every checkpoint is a stage model that plays.

    `dtype`: bfloat16 computes in it where it is safe (the weights stay float32), and stores it. Raises UserError where
    the size does not fit into the teacher, or the folder holds another training.
    """

    lighter = "--frugal, a shorter --crop or a smaller size"

    @torch.inference_mode(False)  # a host may run everything in it, and then nothing could be learnt
    def __init__(
        self,
        teacher: "StageModel",
        examples: Sequence[Example],
        latents: "LatentSpec",
        work: Path,
        settings: DistillSettings,
        dtype: torch.dtype = torch.float32,
        rhythm: Rhythm = Rhythm(),  # noqa: B008  it is frozen
        group: ProcessGroup | None = None,
    ):
        settings = settings.for_teacher(teacher.transformer.config)
        settings.check_teacher(teacher.name, teacher.transformer.config, teacher.defaults)
        self.dtype = dtype
        self.guidance = _guidance(teacher, settings)
        with seeded(seed_of(settings.seed, "start"), torch.device("cpu")):
            network = empty(teacher.transformer, settings.size)
        super().__init__(teacher, network.train(), examples, latents, work, settings, rhythm, group)
        if self.step == 0 and settings.begin == "teacher":
            network.load_state_dict(cut(teacher.transformer, settings.size, self._see).state_dict())

    def flow_times(self) -> FlowTimes:
        times = flow_times(self.model.defaults, self.settings.start, self.settings.end, taught=True)
        # Without a second pass nobody will ask it what it does when told nothing.
        return replace(times, null_share=0.0) if self.guidance.scale > 1 else times

    def _see(self) -> None:
        for item in range(SEEN_ITEMS):
            condition, music, noise, t = self._drawn(seed_of(self.settings.seed, "seen", item), item)
            prepare(self.model.transformer, condition)(t * noise + (1 - t) * music, t)

    def _loss(self, condition, music: torch.Tensor, noise: torch.Tensor, t: float) -> torch.Tensor:
        music, noise = music.to(self.device), noise.to(self.device)
        x_t = t * noise + (1 - t) * music
        share, wanted = MUSIC_SHARE[self.settings.match], noise - music
        if share < 1:  # nearest to both, so weighted, is what is nearest to a point between
            wanted = share * wanted + (1 - share) * self.wanted(condition, x_t, t).float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            made = Learning(self.network, condition, torch.float32, self.settings.frugal)(x_t, t)
        return (made.float() - wanted).square().mean()

    @torch.no_grad()
    def wanted(self, condition, x_t: torch.Tensor, t: float) -> torch.Tensor:
        """The teacher's velocity [B, C, T]."""
        return Guided(prepare(self.model.transformer, condition), self.guidance)(x_t, t)

    def keep(self, folder: Path) -> None:
        from ..checkpoints.save import save_stage_model

        teacher = self.model
        own = {name: value for name, value in asdict(teacher.defaults).items() if value is not None}
        del own["source"]
        if self.guidance.scale > 1:
            own |= {"guidance": 1.0, "guidance_kind": "none"}
        told = {"teacher": teacher.name, "teacher_hash": self.base_hash, "steps": self.step}
        extra = {
            "timbre_fix_frame": teacher.timbre_frames,
            "is_turbo": bool(teacher.transformer.config.is_turbo),
            "model_version": teacher.transformer.config.model_version,
            "acestep_cascade": own,
            "distilled": {**told, "settings": asdict(self.settings)},
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
        """Writes the student as it stands: a stage model in the original layout."""
        self.keep(target)
        return target


def _guidance(teacher: "StageModel", settings: DistillSettings) -> Guidance:
    """The teacher's own kind. What its guidance remembers from step to step is left out: a student has no memory."""
    if settings.guidance == 1:
        return Guidance()
    kind = teacher.defaults.guidance_kind
    return Guidance(kind if kind != "none" else "apg", settings.guidance)

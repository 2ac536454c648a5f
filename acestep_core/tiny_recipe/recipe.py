"""The phases of training the tiny family, in order. Each goes on from where it was stopped and is skipped when done."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..console import Clock, Console
from ..training.interrupt import deferred_interrupt
from . import channels_last, export, flow, language, latents, vocoder
from .checkpointing import finished_state

STEPS = {"vocoder": vocoder.STEPS, "text": language.STEPS, "decoder": vocoder.DECODER_STEPS}
STEPS |= {name: slot.steps for name, slot in flow.SLOTS.items()}
TELL_EVERY_STEPS = 20


@dataclass(frozen=True)
class Recipe:
    """Where the training works, on what, how long, and where its result goes."""

    work: Path
    target: Path
    device: str = "cpu"
    fused: bool = False  # torch.compile for the vocoder's activations
    steps: dict[str, int] | None = None

    def steps_of(self, phase: str) -> int:
        return (self.steps or {}).get(phase, STEPS.get(phase, 1))

    def run(self, phases: tuple[str, ...], console: Console) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        for phase in phases:
            clock = Clock()
            for step, of, told in self._phase(phase):
                if step % TELL_EVERY_STEPS == 0 or step == of:
                    console.note(f"{phase:<8} {step}/{of}  {told}  {clock.seconds:.0f} s")

    def _phase(self, phase: str) -> Iterator[tuple[int, int, str]]:
        """Yields (step, of, what is known of it)."""
        if self.fused and phase in ("vocoder", "latents", "decoder"):
            channels_last.compile_snake()
        if phase in ("vocoder", "decoder"):
            yield from self._vocoder(phase)
        elif phase == "text":
            trainer = language.Trainer(self.work, self.steps_of(phase), self.device)
            for step, loss, right in _kept(trainer):
                yield step, trainer.steps, f"loss {loss:.3f}  right {right:.1%}"
        elif phase == "latents":
            vae = export.load_vocoder(self.work)
            scale = export.latent_scale(vae, self.work)
            total = sum(count for _, count, _ in latents.SETS)
            for done in latents.encode_clips(vae.to(self.device), scale, self.work):
                yield done, total, f"scale {scale:.3f}"
        elif phase == "export":
            size = export.export(self.work, self.target)
            yield 1, 1, f"{size / 1e6:.1f} MB in {self.target}"
        else:
            yield from self._stage(phase)

    def _vocoder(self, phase: str):
        trainer = vocoder.Trainer(self.work, self.steps_of(phase), phase == "decoder", self.device)
        for step, parts, seconds in _kept(trainer):
            told = "  ".join(f"{name} {value:.4f}" for name, value in parts.items())
            yield step, trainer.steps, f"{told}  {seconds:.2f} s/step"

    def _stage(self, phase: str):
        tokenizer = language.new_tokenizer()
        finished_state(self.work / "text.pt", "text")
        text = language.Trainer(self.work, 0).model.requires_grad_(False).eval()
        vae = export.load_vocoder(self.work)
        silence = export.silence_of(vae, export.latent_scale(vae, self.work))
        library = latents.Library.open(self.work, tokenizer)
        slot = flow.SLOTS[phase]
        trainer = flow.Trainer(slot, self.work, library, text, silence, self.steps_of(phase), self.device)
        recent: dict[str, float] = {}
        for step, parts, seconds in _kept(trainer):
            recent = {name: 0.95 * recent.get(name, value) + 0.05 * value for name, value in parts.items()}
            told = "  ".join(f"{name} {value:.4f}" for name, value in recent.items())
            yield step, trainer.steps, f"{told}  {seconds:.2f} s/step"


def _kept(trainer):
    """The trainer's steps; where Ctrl-C or whoever takes them ends them, what was learnt is saved. Ctrl-C waits for the
    end of a step: weights and the number of steps must belong together.
    """
    with deferred_interrupt() as received:
        try:
            for told in trainer.run():
                yield told
                if received:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, GeneratorExit):
            trainer.save()
            raise

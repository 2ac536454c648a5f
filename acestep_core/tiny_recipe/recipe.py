"""The phases of training the tiny family, in order. A stopped phase is resumed, a finished one skipped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..console import Clock, Console
from ..training.interrupt import deferred_interrupt
from . import channels_last, export, flow, language, latents, songs, vocoder
from .checkpointing import finished_state
from .words import new_tokenizer

STEPS = {"vocoder": vocoder.STEPS, "text": language.STEPS, "decoder": vocoder.DECODER_STEPS}
STEPS |= {name: slot.steps for name, slot in flow.SLOTS.items()}
NOTE_EVERY_STEPS = 20


@dataclass(frozen=True)
class Recipe:
    """The folders, device and lengths of the training."""

    work: Path
    target: Path
    device: str = "cpu"
    fused: bool = False  # torch.compile for the vocoder's activations
    steps: dict[str, int] | None = None
    font: Path | None = None  # the soundfont that plays half of the clips
    order: songs.Order = songs.Order()

    def steps_of(self, phase: str) -> int:
        return (self.steps or {}).get(phase, STEPS.get(phase, 1))

    def run(self, phases: tuple[str, ...], console: Console) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        for phase in phases:
            clock = Clock()
            for step, of, text in self._phase(phase):
                if step % NOTE_EVERY_STEPS == 0 or step == of:
                    console.note(f"{phase:<8} {step}/{of}  {text}  {clock.seconds:.0f} s")

    def _phase(self, phase: str) -> Iterator[tuple[int, int, str]]:
        """Yields (step, number of steps, its figures as text)."""
        if self.fused and phase in ("vocoder", "latents", "decoder"):
            channels_last.compile_snake()
        if phase in ("vocoder", "decoder"):
            yield from self._vocoder(phase)
        elif phase == "text":
            trainer = language.Trainer(self.work, self.steps_of(phase), self.device)
            for step, loss, right in _saved_at_the_end(trainer):
                yield step, trainer.steps, f"loss {loss:.3f}  right {right:.1%}"
        elif phase == "latents":
            vae = export.load_vocoder(self.work)
            scale = export.latent_scale(vae, self.work)
            total = sum(count for _, count, _ in latents.SETS)
            for done in latents.encode_clips(vae.to(self.device), scale, self.work, font=self.font):
                yield done, total, f"scale {scale:.3f}"
        elif phase == "songs":
            for done, song in enumerate(songs.make(self.work / "songs", self.order, self.font), start=1):
                yield done, self.order.count, f"{song.seconds:.0f} s of {song.genre}"
        elif phase == "export":
            size = export.export(self.work, self.target)
            yield 1, 1, f"{size / 1e6:.1f} MB in {self.target}"
        else:
            yield from self._stage(phase)

    def _vocoder(self, phase: str):
        trainer = vocoder.Trainer(self.work, self.steps_of(phase), phase == "decoder", self.device, self.font)
        for step, parts, seconds in _saved_at_the_end(trainer):
            text = "  ".join(f"{name} {value:.4f}" for name, value in parts.items())
            yield step, trainer.steps, f"{text}  {seconds:.2f} s/step"

    def _stage(self, phase: str):
        tokenizer = new_tokenizer()
        finished_state(self.work / "text.pt", "text")
        encoder = language.Trainer(self.work, 0).model.requires_grad_(False).eval()
        vae = export.load_vocoder(self.work)
        silence = export.silence_of(vae, export.latent_scale(vae, self.work))
        library = latents.Library.open(self.work, tokenizer)
        slot = flow.SLOTS[phase]
        trainer = flow.Trainer(slot, self.work, library, encoder, silence, self.steps_of(phase), self.device)
        recent: dict[str, float] = {}
        for step, parts, seconds in _saved_at_the_end(trainer):
            recent = {name: 0.95 * recent.get(name, value) + 0.05 * value for name, value in parts.items()}
            text = "  ".join(f"{name} {value:.4f}" for name, value in recent.items())
            yield step, trainer.steps, f"{text}  {seconds:.2f} s/step"


def _saved_at_the_end(trainer):
    """The trainer's steps. Where Ctrl-C, or the caller, ends them, the trainer saves. Ctrl-C waits for the end of a
    step: weights and the step count must belong together.
    """
    with deferred_interrupt() as received:
        try:
            for step in trainer.run():
                yield step
                if received:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, GeneratorExit):
            trainer.save()
            raise

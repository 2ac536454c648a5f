"""The phases of training the tiny family, in order. A stopped phase is resumed, a finished one skipped."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..console import Clock, Console
from ..planner.planner import Planner
from ..training.interrupt import deferred_interrupt
from . import (
    boundaries,
    budget,
    channels_last,
    clips,
    codes,
    export,
    flow,
    language,
    latents,
    packed,
    planner,
    planner_lines,
    songs,
    vocoder,
    warm_start,
)
from .batches import Packer
from .checkpointing import finished_state, load_state
from .words import new_tokenizer

STEPS = {"vocoder": vocoder.STEPS, "text": language.STEPS, "codes": codes.STEPS, "decoder": vocoder.DECODER_STEPS}
STEPS |= {"planner": planner.STEPS}
STEPS |= {name: slot.steps for name, slot in flow.SLOTS.items()}
FILES = {"decoder": "vocoder_decoder"}  # of a phase's state, where it is not the phase's own name
NOTE_EVERY_STEPS = 20
LOSSES_EVERY_STEPS = 500
STATE_EVERY_S = 60.0


@dataclass(frozen=True)
class Recipe:
    """The folders, device and lengths of the training."""

    work: Path
    target: Path
    device: str = "cpu"
    fused: bool = False  # torch.compile for what lies between matrix products
    steps: dict[str, int] | None = None
    font: Path | None = None  # the soundfont that plays a part of the songs
    order: songs.Order = songs.Order()
    forget: bool = False  # the sounds of songs that are encoded
    seconds: float | None = None  # for all phases together

    def steps_of(self, phase: str) -> int:
        return (self.steps or {}).get(phase, STEPS.get(phase, 1))

    def run(self, phases: tuple[str, ...], console: Console) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        times = budget.plan(self.seconds, phases, self._finished(phases)) if self.seconds else {}
        kept = time.perf_counter()
        for phase in phases:
            if self.seconds and phase in budget.SHARES and phase not in times:
                continue
            clock = Clock()
            for step, of, text in self._phase(phase, times.get(phase)):
                if step % NOTE_EVERY_STEPS == 0 or step >= of:
                    console.note(f"{phase:<8} {step}/{of}  {text}  {clock.seconds:.0f} s")
                if self.seconds and time.perf_counter() - kept > STATE_EVERY_S:
                    kept = self._keep_state()
        if self.seconds:
            self._keep_state()

    def _keep_state(self) -> float:
        """What is learnt in a given time counts even where the machine is taken away. The time at which it was kept."""
        warm_start.keep_state(self.work, self.target / "state")
        return time.perf_counter()

    def _finished(self, phases: tuple[str, ...]) -> list[str]:
        """The phases whose steps are all done; in a given time a stage is never finished."""
        phases = "vocoder", "text", "codes", "planner"
        states = {phase: load_state(self.work / f"{FILES.get(phase, phase)}.pt") for phase in phases}
        return [phase for phase, state in states.items() if state and state["step"] >= self.steps_of(phase)]

    def _phase(self, phase: str, seconds: float | None) -> Iterator[tuple[int, int, str]]:
        """Yields (step, number of steps, its figures as text)."""
        if self.fused and phase in ("vocoder", "latents", "clips", "decoder"):
            channels_last.compile_snake()
        if self.fused and phase in flow.SLOTS:
            packed.fuse()
        music = {"songs": self._songs, "latents": self._latents, "clips": self._clips}
        if phase in music:
            steps = music[phase]()
            return steps if seconds is None else budget.until(steps, seconds)
        if phase == "planner":
            return self._planner(seconds)
        if phase == "export":
            return self._kept(export.export(self.work, self.target))
        if phase == "state":
            return self._kept(warm_start.keep_state(self.work, self.target, latents=True))
        return self._training(phase, seconds)

    def _kept(self, size: int) -> Iterator[tuple[int, int, str]]:
        yield 1, 1, f"{size / 1e6:.1f} MB in {self.target}"

    def _songs(self):
        gone = latents.forgotten(self.work / "latents", songs.Shelf(self.work / "songs"))
        order = self.order
        if gone:  # their sounds are not made again
            order = replace(order, first=max(gone) + 1, count=max(0, order.count - len(gone)))
        for done, song in enumerate(songs.make(self.work / "songs", order, self.font), start=len(gone) + 1):
            yield done, self.order.count, f"{song.seconds:.0f} s of {song.genre}"

    def _encoder(self) -> latents.Encoder:
        vae = export.load_vocoder(self.work)
        return latents.Encoder(vae.to(self.device), export.latent_scale(vae, self.work))

    def _latents(self):
        encode = self._encoder()
        shelf, folder = songs.Shelf(self.work / "songs"), self.work / "latents"
        for done, known in latents.encode_songs(encode, shelf, folder, self.font, self.forget):
            yield done, known, f"scale {encode.scale:.3f}"

    def _clips(self):
        for done, clip in clips.encode_clips(self._encoder(), self.work / "latents", self.order.clips, self.font):
            yield done, self.order.clips, f"{clip.seconds:.0f} s of {clip.genre}"

    def _planner(self, seconds: float | None):
        """The training, and then the planner in its own folder, for it needs no other part of the family; and how many
        lines that it has not seen become songs as they say, unless the time is given: an untrained planner writes long.
        """
        yield from self._training("planner", seconds)
        folder = self.target / export.PLANNER_FOLDER
        about = f"{export.export_planner(self.work, folder) / 1e6:.1f} MB in {folder}"
        if seconds is None:
            written = planner_lines.songs_of(Planner.load(folder, device=self.device, cache=False))
            about += f"; {planner_lines.lines_kept(written)} of {len(written)} lines give what they say"
        yield 1, 1, about

    def _training(self, phase: str, seconds: float | None):
        trainer = self._trainer(phase)
        steps = _saved_at_the_end(trainer, seconds)
        recent: dict[str, float] = {}
        for step, parts, each in steps:
            recent = {name: 0.95 * recent.get(name, value) + 0.05 * value for name, value in parts.items()}
            text = "  ".join(f"{name} {value:.4f}" for name, value in recent.items())
            yield step, trainer.steps, f"{text}  {each:.2f} s/step"
            if phase in flow.SLOTS and (step >= trainer.steps or not seconds and step % LOSSES_EVERY_STEPS == 0):
                boundaries.log_losses(trainer, self.work)

    def _trainer(self, phase: str):
        steps = self.steps_of(phase)
        if phase in ("vocoder", "decoder"):
            return vocoder.Trainer(self.work, steps, phase == "decoder", self.device)
        if phase == "text":
            return language.Trainer(self.work, steps, self.device)
        if phase == "codes":
            encoder = flow.SLOTS["l"].encoder
            return codes.Trainer(self.work, latents.Library(self.work / "latents"), encoder, steps, self.device)
        if phase == "planner":
            return planner.Trainer(self.work, steps, self.device, self._pieces())
        return self._stage(flow.SLOTS[phase], steps)

    def _pieces(self) -> planner.Pieces | None:
        """The encoded songs as codes; None where there is no audio tokenizer yet, or no song."""
        made, folder = export.load_codes(self.work), self.work / "latents"
        if made is None or not any(folder.glob("*.json")):
            return None
        vae = export.load_vocoder(self.work)
        silence = export.silence_of(vae, export.latent_scale(vae, self.work))
        return planner.Pieces(latents.Library(folder), made, silence)

    def _stage(self, slot: flow.Slot, steps: int) -> flow.Trainer:
        finished_state(self.work / "text.pt", "text")
        words = flow.Words(language.Trainer(self.work, 0).model.requires_grad_(False).eval(), new_tokenizer())
        words.model.to(self.device)
        vae = export.load_vocoder(self.work)
        silence = export.silence_of(vae, export.latent_scale(vae, self.work))
        made = export.load_codes(self.work)
        hints = None if made is None else lambda source: made.hints(source, silence)
        packer = Packer(words.tokenize, silence, slot.transformer["patch_size"], flow.TIMBRE_FRAMES, hints)
        library = latents.Library(self.work / "latents")
        return flow.Trainer(slot, self.work, library, words, packer, steps, self.device)


def _saved_at_the_end(trainer, seconds: float | None = None):
    """The trainer's steps, all or for so many seconds. Where Ctrl-C, or the caller, ends them, the trainer saves.
    Ctrl-C waits for the end of a step: weights and the step count must belong together.
    """
    with deferred_interrupt() as received:
        try:
            for step in trainer.run() if seconds is None else budget.within(trainer, seconds):
                yield step
                if received:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, GeneratorExit):
            trainer.save()
            raise

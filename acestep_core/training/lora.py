"""Training of an adapter: examples -> a LoRA, DoRA or LoKr of one stage model, by the steps of `loop.py`.

The base's weights are not changed; the adapter's are float32, whatever the base's dtype. Every checkpoint is a PEFT
adapter; previews/ in the work folder holds one song with the adapter of each step, and the same song without.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import audio
from ..errors import UserError
from ..lora.adapter import Adapter
from ..lora.apply import apply_adapter
from ..lora.deltas import Delta, Kronecker, LowRank
from ..lora.facts import BASE, BASE_HASH, TRAINING, TRIGGER_WORDS
from ..lora.save import save_adapter
from ..memory.free import total_bytes
from ..nn.module_tree import share
from ..nn.quantise import unquantised
from ..system.torchaudio_import import settle_torchaudio
from .crops import Crops, crops_of, padded_length
from .distributed import ProcessGroup
from .folders import WITHOUT, folders
from .items import Drawn, TrainingStep
from .loop import TrainingLoop
from .memory_needs import crop_bytes, crops_together, needs_checkpointing
from .model_card import adapter_card, write_card
from .objective import BatchVelocity, TrainableVelocity, flow_loss, padded_pass
from .prepare import Example
from .preview import OtherStages, Preview
from .prior_preservation import endpoints, item_at
from .recorded_passes import RecordedPasses, graphs_for
from .rng import seed_of, seeded
from .settings import KINDS, TARGETS, Intervals, LoraSettings

if TYPE_CHECKING:
    from ..models.stage_model import StageModel
    from ..models.vocoder import Vocoder

_NAME = "default"  # PEFT's, of the one adapter


class Trainer(TrainingLoop):
    """The training of one adapter.

    `facts` go into every adapter it saves. `songs`: examples that the base made itself, for a
    `settings.preserve` above 0. Raises UserError where the folder holds another training.
    """

    other_stages = OtherStages()  # of the cascade, for previews; to be set before `run`
    memory_advice = "a shorter --crop or a lower --rank"

    @torch.inference_mode(False)  # a host may run everything in it, and then nothing could be trained
    def __init__(
        self,
        model: "StageModel",
        examples: Sequence[Example],
        vocoder: "Vocoder",
        work: Path,
        settings: LoraSettings,
        intervals: Intervals = Intervals(),  # noqa: B008  it is frozen
        facts: Mapping[str, object] | None = None,
        group: ProcessGroup | None = None,
        songs: Sequence[Example] = (),
    ):
        if settings.preserve and not songs:
            raise UserError(f"preserve: got {settings.preserve:g} and no songs, expected some that {model.name} made")
        if model.transformer.dtype == torch.float16:  # the loss's gradients would vanish in it
            raise UserError(
                f"{model.name}: is loaded as float16, expected bfloat16 or float32; pass --dtype bf16 or fp32"
            )
        self.vocoder, self._dtype, self.songs = vocoder, model.transformer.dtype, tuple(songs)
        self._text_tokens = padded_length([example.states for example in (*examples, *songs)])
        network = adapted(model.transformer, settings)
        super().__init__(model, network, examples, vocoder.latents, work, settings, intervals, group, self.songs)
        if self.step == 0 and self.group.is_main:
            self._delete_previews()
        # By the memory of the device and not by what is free, so that a resumed training makes the same batches.
        room = total_bytes(self.device)
        self.together = crops_together(model.transformer, self.settings, self.crop_frames, room, self._text_tokens)
        graphs = None if settings.is_random else graphs_for(self.device, network)
        self.passes = RecordedPasses(network, self._pass, self._bytes_of, graphs) if graphs else None
        self.is_recorded = self.passes is not None
        self.facts = {BASE: model.name, BASE_HASH: self.base_hash, TRAINING: self.identity, **(facts or {})}

    def _loss(self, condition, music: torch.Tensor, noise: torch.Tensor, t: float) -> torch.Tensor:
        velocity = TrainableVelocity(self.network, condition, self._dtype, self.settings.gradient_checkpointing)
        at = torch.tensor([t], device=self.device)
        return flow_loss(velocity, music.to(self.device), noise.to(self.device), at).mean()

    def _batch_loss(self, batch: list[Drawn]) -> torch.Tensor:
        if len(batch) == 1:
            return super()._batch_loss(batch)
        conditions = [item.condition for item in batch]
        velocity = BatchVelocity(self.network, conditions, self._dtype, self.settings.gradient_checkpointing)
        music, noise = (torch.cat([getattr(item, name) for item in batch]) for name in ("music", "noise"))
        at = torch.tensor([item.t for item in batch], device=self.device)
        return flow_loss(velocity, music.to(self.device), noise.to(self.device), at).sum()

    def _needs_checkpointing(self, settings: LoraSettings) -> bool:
        about = self.model.transformer, settings, self.crop_frames
        return needs_checkpointing(*about, total_bytes(self.device), self._text_tokens)

    def _make_room(self) -> bool:
        if self.passes and self.passes.count:
            self.passes.stop("out of memory")
            return True
        return super()._make_room()

    def run(self) -> Iterator[TrainingStep]:
        try:
            yield from super().run()
        finally:
            if self.passes:
                self.passes.release()  # the memory of the recordings is for others

    # ---- recorded passes ---------------------------------------------------------------------------------------------

    def _batches(self, step: int) -> "Iterator[Crops | Sequence[Drawn]]":
        batches, to = super()._batches(step), (self._text_tokens, self.device, self._dtype)
        return (crops_of(batch, *to) for batch in batches) if self.passes else batches

    def _add_gradients(self, batch: Crops | Sequence[Drawn]) -> torch.Tensor:
        return self.passes.add(batch) if self.passes else super()._add_gradients(batch)

    def _pass(self, crops: Crops):
        settings = self.settings
        return padded_pass(self.network, crops, self._dtype, settings.accumulate, settings.gradient_checkpointing)

    def _bytes_of(self, crops: Crops) -> float:
        about = self.model.transformer, self.settings, crops.music.shape[-1], self._text_tokens
        return len(crops) * crop_bytes(*about)

    # ---- items -------------------------------------------------------------------------------------------------------

    def _example_at(self, position: int) -> Example:
        number, is_own = item_at(position, self.settings.preserve)
        return self.songs[number % len(self.songs)] if is_own else super()._example_at(number)

    def _sample(self, seed: int, position: int):
        condition, music, noise, t = super()._sample(seed, position)
        if item_at(position, self.settings.preserve)[1]:
            music, noise = endpoints(self.model, condition, music, noise, t)
        return condition, music, noise, t

    def _seeded(self, seed: int) -> AbstractContextManager:
        return seeded(seed, self.device) if self.settings.is_random else nullcontext()

    def _delete_previews(self) -> None:
        """Those of a training that saved no step: the song without the adapter follows its settings too."""
        folder = self.work / "previews"
        for file in (*folders(folder, "step"), folder / WITHOUT):
            file.unlink(missing_ok=True)

    def preview(self) -> tuple[Path, Path]:
        """The song of one example with the adapter and, made once, without it, as files."""
        example = (self.held_out or self.train_set)[0]
        frames = min(example.latents.shape[-1], self.crop_frames)
        preview = Preview(self.model, example, frames, self.vocoder, self.settings, self.other_stages)
        folder = self.work / "previews"
        folder.mkdir(parents=True, exist_ok=True)
        without = folder / WITHOUT
        if not without.is_file():
            audio.write(without, preview.generate(self.model))
        adapted_model, _ = apply_adapter(self.model, self.adapter())
        return audio.write(folder / f"step-{self.step:06}.flac", preview.generate(adapted_model)), without

    def adapter(self) -> Adapter:
        """The adapter as it stands."""
        return Adapter(self.model.name, deltas(self.network))

    def write_model(self, folder: Path) -> None:
        save_adapter(self.adapter(), folder, "peft", self._metadata())

    def finish(self, target: Path) -> Path:
        """Writes the adapter and its model card: one file for ComfyUI where the name says .safetensors, else a PEFT
        folder.
        """
        layout = "comfyui" if target.suffix == ".safetensors" else "peft"
        path = save_adapter(self.adapter(), target, layout, self._metadata())
        write_card(path, self._card(path))
        return path

    def _card(self, target: Path) -> str:
        """The model card: what the adapter needs and how it was trained."""
        settings = self.settings
        facts = {
            "clips": f"{len(self.train_set)}, and {len(self.held_out)} held out",
            "steps": f"{self.step} of {settings.accumulate} crops of up to {settings.crop_seconds:g} s",
            "rank and alpha": f"{settings.rank}, {settings.alpha or settings.rank:g}",
            "layers": ", ".join(settings.targets),
            "flow times": f"{settings.start:g} to {settings.end:g}",
            "learning rate": settings.learning_rate,
            "lowest loss on clips held out": self.best if math.isfinite(self.best) else None,
        }
        return adapter_card(target, KINDS[settings.kind], self.model.name, self.facts.get(TRIGGER_WORDS), facts)

    def _metadata(self) -> dict[str, object]:
        course = {"steps": self.step, "learning rate": self.settings.learning_rate, "songs": len(self.train_set)}
        return {**self.facts, **course, "settings": asdict(self.settings)}


# ---- the network -----------------------------------------------------------------------------------------------------


def adapted(transformer: torch.nn.Module, settings: LoraSettings) -> torch.nn.Module:
    """The transformer with PEFT's layers around those that are adapted, ready to be trained: a module tree of its own
    over the same, frozen weights.
    """
    settle_torchaudio()
    from peft import inject_adapter_in_model

    with seeded(seed_of(settings.seed, "start"), torch.device("cpu")):
        network = inject_adapter_in_model(_config(settings), share(transformer), adapter_name=_NAME)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if settings.kind == "dora":
        _set_magnitudes(network)
    return network.train()


def _set_magnitudes(network: torch.nn.Module) -> None:
    """Sets DoRA's magnitudes to the exact norms of the base's rows: PEFT rounds them to the base's dtype, which changes
    rows by up to 0.4 % in bfloat16.
    """
    from peft.tuners.lora import LoraLayer

    for layer in network.modules():
        if isinstance(layer, LoraLayer):
            weight = unquantised(layer.get_base_layer().weight.detach()).float()
            layer.lora_magnitude_vector[_NAME].weight.data = torch.linalg.norm(weight, dim=1)


def _config(settings: LoraSettings):
    """PEFT's config. Dropout of a LoKr is over rows of its change."""
    from peft import LoKrConfig, LoraConfig

    alpha = settings.alpha or settings.rank
    targets = "|".join(TARGETS[name] for name in settings.targets)
    if settings.kind == "lokr":
        return LoKrConfig(
            r=settings.rank,
            alpha=alpha,
            rank_dropout=settings.dropout,
            rank_dropout_scale=True,
            target_modules=targets,
        )
    return LoraConfig(
        r=settings.rank,
        lora_alpha=alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.kind == "dora",
        target_modules=targets,
    )


def deltas(network: torch.nn.Module) -> dict[str, Delta]:
    """Path of a layer -> the change that PEFT's layer adds to it, copied."""
    from peft.tuners.lokr import LoKrLayer
    from peft.tuners.lora import LoraLayer

    makers = {LoraLayer: _low_rank, LoKrLayer: _kronecker}
    layers = network.named_modules()
    return {path: make(layer) for path, layer in layers for kind, make in makers.items() if isinstance(layer, kind)}


def _low_rank(layer) -> LowRank:
    a, b = (part[_NAME].weight.detach().clone() for part in (layer.lora_A, layer.lora_B))
    magnitude = None
    if layer.use_dora[_NAME]:
        magnitude = layer.lora_magnitude_vector[_NAME].weight.detach().clone().reshape(-1, 1)
    return LowRank(a, b, layer.scaling[_NAME], magnitude)


def _kronecker(layer) -> Kronecker:
    def factors(name: str) -> tuple[torch.Tensor, ...]:
        whole = getattr(layer, name)
        parts = (whole,) if _NAME in whole else (getattr(layer, f"{name}_a"), getattr(layer, f"{name}_b"))
        return tuple(part[_NAME].detach().clone() for part in parts)

    return Kronecker(factors("lokr_w1"), factors("lokr_w2"), layer.scaling[_NAME])

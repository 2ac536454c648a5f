"""From what a user asks for to the Trainer of an adapter: models loaded, clips prepared. torch comes with the start.

The command line and the server share it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..lora.facts import TRIGGER_WORDS
from ..song import Song
from .dataset import Dataset
from .settings import Intervals, LoraSettings, with_own_times

if TYPE_CHECKING:
    import torch

    from ..checkpoints.cascade_models import CascadeModels
    from .distributed import ProcessGroup
    from .prepare import Example


@dataclass(frozen=True)
class Said:
    """A line about the start of a training. `stays`: it is worth keeping, and not replaced by the next one."""

    line: str
    stays: bool = False


@dataclass(frozen=True)
class LoraCourse:
    """The training of one adapter, before anything is loaded. `songs`: those that the model makes itself for prior
    preservation. `work`: the folder of checkpoints and logs; `cache`: that of prepared clips.
    """

    found: "CascadeModels"
    dataset: Dataset
    settings: LoraSettings
    intervals: Intervals
    work: Path
    cache: Path
    trigger: str | None = None
    songs: Sequence[Song] = ()
    device: str | None = None
    dtype: str | None = None

    def check(self) -> None:
        """Raises UserError for settings that this model, or this machine, cannot train with."""
        from .objective import flow_times
        from .optimisers import optimiser_class

        optimiser_class(self.settings.optimiser)
        flow_times(self.found.defaults[0], self.settings.start, self.settings.end, self.settings.all_times)

    def begin(self, group: "ProcessGroup"):
        """Loads the models and prepares the clips. Yields Said. -> Trainer

        Raises UserError for a folder without clips to train on, and for one that holds another training.
        """
        import torch

        from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
        from ..nn.dtypes import pick_device, pick_dtype, suitable_dtype
        from .lora import Trainer
        from .prepare import Preparation

        yield Said("loading models ...")
        settings, stage = self.settings, self.found.stages[0]
        device = torch.device(group.device or pick_device(self.device))
        at = {"device": device, "dtype": suitable_dtype(device, pick_dtype(self.dtype))}
        model = replace(load_stage_model(stage.path, **at), name=stage.name)
        model.transformer.to("cpu")  # so that the others have a small device's memory for themselves
        vocoder = load_vocoder(self.found.vocoder.path, device=device, dtype=torch.float32)
        text = load_text_encoder(self.found.text.path, **at)
        examples = yield from self._examples(Preparation(model, text, vocoder, self.cache, settings.crop_seconds))
        others = self._other_stages(examples, text, group, **at)
        # Only the transformer, and the vocoder where there are previews, are needed from here on.
        own = yield from self._own_examples(model, text, vocoder.latents.frames(settings.crop_seconds), device)
        del text
        model.condition_encoder.to("cpu")
        model.transformer.to(device)
        if not self.intervals.preview:
            vocoder.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        facts = {TRIGGER_WORDS: self.trigger}
        trainer = Trainer(model, examples, vocoder, self.work, settings, self.intervals, facts, group, own)
        trainer.other_stages = others
        return trainer

    def _examples(self, preparation) -> "Iterator[Said]":
        """-> list[Example]"""
        from .prepare import prepare_steps

        steps, of = prepare_steps(preparation, self.dataset, self.trigger), len(self.dataset.clips)
        while True:
            try:
                yield Said(f"prepared clip {next(steps)} of {of}")
            except StopIteration as end:
                examples, left_out = end.value
                break
        for line in (*map(str, left_out), *self.dataset.remarks):
            yield Said(line, stays=True)
        return examples

    def _other_stages(self, examples: "Sequence[Example]", text, group: "ProcessGroup", **at):
        """The other stages of the cascade, for previews."""
        from .held_out import preview_example
        from .preview import OtherStages, other_stages_of

        if not self.intervals.preview or not group.is_main:
            return OtherStages()
        example, defaults = preview_example(examples, self.settings), self.found.defaults[0]
        return other_stages_of(self.found.stages[0], defaults.boundaries, example, text, **at)

    def _own_examples(self, model, text, frames: int, device: "torch.device") -> "Iterator[Said]":
        """Examples that the model makes itself, with all of it on the device. -> list[Example]"""
        from .generated_clips import generated_examples

        examples = []
        if not self.songs:
            return examples
        model.transformer.to(device)
        for example in generated_examples(model, text, self.songs, frames, self.settings.seed, self.cache):
            examples.append(example)
            yield Said(f"made song {len(examples)} of {len(self.songs)} of the model's own")
        return examples


def own_times(settings: LoraSettings, found: "CascadeModels") -> LoraSettings:
    """Settings with the flow times of the model's slot in its cascade."""
    known = found.stages[0].known
    return with_own_times(settings, known.slot if known else "", found.defaults[0])

"""The pack's own sockets, and the values that travel on them between nodes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..acestep_core.memory.lru import LruCache

if TYPE_CHECKING:
    from ..acestep_core.checkpoints.text_cache import TextCache
    from ..acestep_core.models.stage_model import StageModel
    from ..acestep_core.models.text_encoder import TextEncoder
    from ..acestep_core.models.vocoder import Vocoder
    from ..acestep_core.training.dataset import Dataset
    from .host.devices import Managed

Model = io.Custom("ACESTEP_MODEL")
Encoder = io.Custom("ACESTEP_TEXT_ENCODER")
VocoderSocket = io.Custom("ACESTEP_VOCODER")
SongSocket = io.Custom("ACESTEP_SONG")
Text = io.Custom("ACESTEP_TEXT")
ReferenceSocket = io.Custom("ACESTEP_REFERENCE")
AdapterSocket = io.Custom("ACESTEP_ADAPTER")
DatasetSocket = io.Custom("ACESTEP_DATASET")

REMEMBERED_TEXTS, REMEMBERED_CONDITIONS = 4, 4
ACTIVATION_NUMBERS_PER_SAMPLE = 128 * 8  # of a vocoder: eight copies of its widest layer at the full sample rate


class Handle:
    """Networks under ComfyUI's memory management; `get_models` shows them to its caches."""

    networks: "tuple[Managed, ...]"

    def get_models(self) -> list:
        return [network.patcher for network in self.networks]


@dataclass(frozen=True)
class VocoderHandle(Handle):
    vocoder: "Vocoder"
    network: "Managed"

    @property
    def networks(self):
        return (self.network,)

    @property
    def activation_bytes(self) -> float:
        """Memory that one tile takes while it is decoded or encoded."""
        samples = self.vocoder.tile_frames * self.vocoder.latents.samples_per_frame
        return samples * ACTIVATION_NUMBERS_PER_SAMPLE * self.vocoder.dtype.itemsize


@dataclass(frozen=True)
class EncoderHandle(Handle):
    """`cache` keeps text states on disk, `texts` the last ones in memory: the same objects, which stages compare."""

    encoder: "TextEncoder"
    network: "Managed"
    cache: "TextCache | None" = None
    texts: LruCache = field(default_factory=lambda: LruCache(REMEMBERED_TEXTS))

    @property
    def networks(self):
        return (self.network,)


@dataclass(frozen=True)
class ModelHandle(Handle):
    """A stage model; `preview` is the vocoder that lets a stage show the song while it is made. `adapters` are those
    on its transformer, whose own weights it shares with the model without adapters.
    """

    model: "StageModel"
    transformer: "Managed"
    condition_encoder: "Managed"
    preview: VocoderHandle | None = None
    adapters: "tuple[Managed, ...]" = ()
    conditions: LruCache = field(
        default_factory=lambda: LruCache(REMEMBERED_CONDITIONS)
    )  # of texts, lengths, references

    @property
    def networks(self):
        return (self.transformer, self.condition_encoder, *self.adapters)

    def activation_bytes(self, frames: int, passes: int = 1) -> float:
        """Of so many passes at once: a few streams [B, N, hidden], the widest layer's [B, N, inter], in float32."""
        config = self.model.transformer.config
        return 4 * passes * frames / config.patch_size * (8 * config.hidden_size + 3 * config.intermediate_size)

    def load_transformer(self, activation_bytes: float) -> None:
        """Puts the transformer and its adapters on the device where they compute."""
        for adapter in self.adapters:
            adapter.load(0)
        self.transformer.load(activation_bytes)


@dataclass(frozen=True)
class LabelledDataset:
    """Clips to learn from, and the word that every caption of theirs begins with."""

    dataset: "Dataset"
    trigger: str | None = None


@dataclass(frozen=True)
class TrainedAdapter:
    """The file of an adapter that was trained in the graph."""

    place: Path

"""The pack's own sockets, and the values that travel on them between nodes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..acestep_core.lora.apply import branch_copies
from ..acestep_core.memory.loaded import stage_needs_of, text_bytes, tile_bytes
from ..acestep_core.memory.lru import LruCache
from ..acestep_core.memory.needs import AdapterNeeds

if TYPE_CHECKING:
    from ..acestep_core.checkpoints.text_cache import TextCache
    from ..acestep_core.models.stage_model import StageModel
    from ..acestep_core.models.text_encoder import TextEncoder
    from ..acestep_core.models.vocoder import Vocoder
    from ..acestep_core.planner.planner import Planner
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
PlannerSocket = io.Custom("ACESTEP_PLANNER")
Regions = io.Custom(
    "ACESTEP_REGIONS"
)  # (start, end) in seconds each, as Edit.regions has them; an end of None is the end

REMEMBERED_TEXTS, REMEMBERED_CONDITIONS, REMEMBERED_MUSICS = 4, 4, 2


class Handle:
    """Networks under ComfyUI's memory management; `get_models` shows them to its caches."""

    networks: "tuple[Managed, ...]"

    def get_models(self) -> list:
        return [network.patcher for network in self.networks]


@dataclass(frozen=True)
class VocoderHandle(Handle):
    """`musics` keeps the last music that edits encoded."""

    vocoder: "Vocoder"
    network: "Managed"
    musics: LruCache = field(default_factory=lambda: LruCache(REMEMBERED_MUSICS))

    @property
    def networks(self):
        return (self.network,)

    @property
    def activation_bytes(self) -> int:
        """Bytes beside the weights while one tile is decoded or encoded."""
        return tile_bytes(self.vocoder)


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

    @property
    def activation_bytes(self) -> int:
        """Bytes beside the weights while a song's text is encoded."""
        return text_bytes(self.encoder)


@dataclass(frozen=True)
class ModelHandle(Handle):
    """A stage model; `preview` is the vocoder that lets a stage show the song while it is made. `adapters` are those
    on its transformer, whose own weights it shares with the model without adapters. `place`: its file or folder.
    """

    model: "StageModel"
    transformer: "Managed"
    condition_encoder: "Managed"
    preview: VocoderHandle | None = None
    adapters: "tuple[Managed, ...]" = ()
    conditions: LruCache = field(
        default_factory=lambda: LruCache(REMEMBERED_CONDITIONS)
    )  # of texts, lengths, references
    place: Path | None = None

    @property
    def networks(self):
        return (self.transformer, self.condition_encoder, *self.adapters)

    @property
    def encoding_bytes(self) -> int:
        """Bytes beside the weights while a condition is encoded."""
        return stage_needs_of(self.model).encoding_bytes

    def activation_bytes(self, frames: int, passes: int = 1) -> int:
        """Bytes beside the weights, adapters' included, in a step of so many passes at once."""
        adapters = AdapterNeeds(copies=branch_copies(self.model.transformer))
        return stage_needs_of(self.model, adapters).step_bytes(frames, passes)

    def load_transformer(self, activation_bytes: float) -> None:
        """Puts the transformer and its adapters on the device where they compute."""
        for adapter in self.adapters:
            adapter.load(0)
        self.transformer.load(activation_bytes)


@dataclass(frozen=True)
class PlannerHandle(Handle):
    """A planner that puts its network on the device when a request needs it. `release` it after each request."""

    planner: "Planner"
    network: "Managed"

    @property
    def networks(self):
        return (self.network,)


@dataclass(frozen=True)
class LabelledDataset:
    """Clips to learn from, and the word that every caption of theirs begins with."""

    dataset: "Dataset"
    trigger: str | None = None


@dataclass(frozen=True)
class TrainedAdapter:
    """The file of an adapter that was trained in the graph."""

    place: Path

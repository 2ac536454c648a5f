"""The same song with and without what a model has learnt: what its cascade makes of an example's words, from one seed.

A model that was made for one stage of a cascade plays that stage, and its fellows the others. Any other model plays
the whole song, and wears what it learns on the stretch that it is taught.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..audio.waveform import Waveform
from ..checkpoints.cascade_models import CASCADES, find_cascade
from ..flow.stage_plan import SamplingSettings, plan
from ..flow.stages import Stage, noise, run
from ..generation.cascade import finished
from ..models.condition import Condition, encode_condition
from .prepare import Example, over_new_music
from .settings import Course

if TYPE_CHECKING:
    from ..checkpoints.locate import LocalModel
    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder
    from ..models.vocoder import Vocoder


@dataclass(frozen=True, eq=False)
class Player:
    """A model with the states [1, L, D] in which it reads a song's words."""

    model: "StageModel"
    states: torch.Tensor

    def condition(self, frames: int) -> Condition:
        return over_new_music(self.model, self.states, frames)

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Its transformer there, and back where it was."""
        home = next(self.model.transformer.parameters()).device
        self.model.transformer.to(device)
        yield
        self.model.transformer.to(home)


@dataclass(frozen=True)
class Fellows:
    """The players of a cascade's other stages."""

    before: tuple[Player, ...] = ()
    after: tuple[Player, ...] = ()


def fellows_of(model: "LocalModel", boundaries: Sequence[float] | None, example: Example, text: "TextEncoder", **at):
    """Those of a known model that was made for one stage of a cascade; else none.

    `boundaries`: of the cascade it was made for. They stay in the main memory until they play. `at`: device and dtype
    to load them with. Raises CheckpointError where they are not all here.
    """
    name = next((name for name, models in CASCADES.items() if model.name in models), None)
    if not boundaries or name is None:
        return Fellows()
    players = []
    for found in find_cascade(name).stages:
        players.append(None if found.name == model.name else _player(found, example, text, **at))
    place = players.index(None)
    return Fellows(tuple(players[:place]), tuple(players[place + 1 :]))


def _player(found: "LocalModel", example: Example, text: "TextEncoder", **at) -> Player:
    from ..checkpoints.load import load_stage_model

    model = load_stage_model(found.path, **at)
    with torch.no_grad():
        states = encode_condition(model, text.encode(example.song), 1).states.cpu()
    for network in (model.transformer, model.condition_encoder):
        network.to("cpu")
    return Player(model, states)


class Preview:
    """One song of an example's words, so many frames long."""

    def __init__(
        self, model: "StageModel", example: Example, frames: int, vocoder: "Vocoder", settings: Course, fellows: Fellows
    ):
        self._piece, self._frames, self._vocoder, self._seed = example, frames, vocoder, settings.seed
        boundaries = None
        if fellows == Fellows():
            bare, edges = Player(model, example.states), (settings.start, settings.end)
            fellows = Fellows((bare,) * (settings.start < 1), (bare,) * (settings.end > 0))
            boundaries = tuple(edge for edge in edges if 0 < edge < 1) or None
        self._fellows = fellows
        models = [player.model for player in self._players(model)]
        self._plan = plan([one.defaults for one in models], SamplingSettings(boundaries=boundaries))

    def _players(self, model: "StageModel") -> tuple[Player, ...]:
        return (*self._fellows.before, Player(model, self._piece.states), *self._fellows.after)

    @torch.no_grad()
    def play(self, model: "StageModel") -> Waveform:
        """[1, 2, N], with the model bare or wearing what it learns."""
        device = next(model.transformer.parameters()).device
        latents = noise([self._seed], self._piece.latents.shape[1], self._frames)
        for player, part in zip(self._players(model), self._plan, strict=True):
            stage = Stage(player.model, times=part.times, solver=part.solver, guidance=part.guidance)
            with player.on(device):
                for step in run([stage], latents, [player.condition(self._frames)], [self._seed]):
                    latents = step.latents
        return finished(self._vocoder.decode(latents))

"""Assigns adapters to the stages of a cascade, before anything is made."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UserError
from ..spec import SLOTS
from .adapter import Adapter, read_adapter
from .bases import Shapes, fit, titled
from .find import Lora
from .scales import NOWHERE

logger = logging.getLogger(__name__)

StageAdapters = tuple[tuple[Adapter, float], ...]


def stage_adapters(wanted: "Iterable[Lora | str | Path]", stages: Sequence[tuple[str, Shapes]]) -> list[StageAdapters]:
    """Adapters and strengths for each stage, given by its model's name and layers. Raises UserError.

    An adapter for one stage must fit it. An adapter for all stages is applied wherever it fits, since the models of a
    cascade may be of different families; an adapter that fits no stage is an error.
    """
    assigned: list[list[tuple[Adapter, float]]] = [[] for _ in stages]
    for one in wanted:
        lora = one if isinstance(one, Lora) else Lora.parse(str(one))
        adapter = read_adapter(lora.adapter)
        if NOWHERE in adapter.scale_source:
            logger.warning("%s: %s", adapter.name, adapter.scale_source)
        for index in _stages_for(lora, adapter, stages):
            assigned[index].append((adapter, lora.strength))
    return [tuple(adapters) for adapters in assigned]


def _stages_for(lora: Lora, adapter: Adapter, stages: Sequence[tuple[str, Shapes]]) -> list[int]:
    if lora.stage is not None:
        index = _index(lora, len(stages))
        fit(adapter.name, adapter.shapes, *stages[index])
        return [index]
    fitting, refused = [], []
    for index, (name, layers) in enumerate(stages):
        try:
            fit(adapter.name, adapter.shapes, name, layers)
        except UserError as error:
            refused.append((name, layers, error))
        else:
            fitting.append(index)
    if not fitting:
        raise refused[0][2]
    for name, layers, _ in refused:
        logger.warning("%s is not applied to %s: it was trained on another base", adapter.name, titled(name, layers))
    return fitting


def _index(lora: Lora, count: int) -> int:
    index = SLOTS.index(lora.stage) if lora.stage in SLOTS else int(lora.stage) - 1
    if not 0 <= index < count:
        names = ", ".join(SLOTS[:count]).upper() if count <= len(SLOTS) else f"1 to {count}"
        raise UserError(
            f"lora: got the stage {lora.stage.upper()} for {lora.adapter}, but this run has {count} "
            f"stage{'s' if count > 1 else ''}, {names}; name one of these, or leave `{lora.stage.upper()}=` out"
        )
    return index

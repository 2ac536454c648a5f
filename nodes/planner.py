"""Load Planner: a language model under ComfyUI's memory management, and how nodes put a request to it."""

import contextlib
import time

from comfy_api.latest import io

from ..acestep_core.checkpoints.locate import LocalModel
from ..acestep_core.checkpoints.registry import DEFAULT_PLANNER, PLANNER, TINY_PLANNER, usual_planner
from ..acestep_core.nn.quantise import QUANTISED
from ..acestep_core.spec import PLANNER_DTYPE_NAMES
from .host import devices, locations, messages
from .load import CATEGORY, NONE
from .model_choice import AUTO, check, choices, fetched, fingerprint, reference_to
from .types import PlannerHandle, PlannerSocket

DTYPES = (AUTO, *PLANNER_DTYPE_NAMES)
CACHED_TOKENS = 3 * 4096  # of a long song's metadata, and of its codes with and without guidance
SHOWN_EVERY_S = 0.1


def load_planner(local: LocalModel, dtype: str, quantised: str = NONE) -> PlannerHandle:
    """Raises CheckpointError, and UserError where torchao is wanted and is not here."""
    from ..acestep_core.nn.quantise import check_quantise
    from ..acestep_core.planner.language_model import LanguageModel
    from ..acestep_core.planner.load import PART, read_planner
    from ..acestep_core.planner.planner import Planner

    kind = None if quantised == NONE else quantised
    check_quantise(kind)
    files = read_planner(reference_to(local), locations.models_shelf().all_folders)
    chosen = devices.stage_dtype(dtype, files.checkpoint.part(PART).parameters)
    with devices.weights_for_all():
        model = files.model("cpu", chosen, kind)
    network, place = devices.manage(model.network, "stage"), model.place

    def on_device() -> LanguageModel:
        network.load(CACHED_TOKENS * model.bytes_per_token)
        return LanguageModel(model.network, place)

    planner = Planner(files, network.patcher.load_device, chosen, kind, on_device)
    planner.keep_results()
    return PlannerHandle(planner, network)


def answered(handle: PlannerHandle, request, seed: int, sampling, node_id: str):
    """The SongPlan of a request, with its progress on the node. Cancel holds within a token."""
    show = _Shown(node_id)
    with contextlib.closing(handle.planner.iterate(request, seed=seed, sampling=sampling)) as steps:
        try:
            for progress in steps:
                show(progress)
        finally:
            handle.planner.release()
    return progress.result


class _Shown:
    """Shows tokens on a node: as text, and as a bar where their number is known."""

    def __init__(self, node_id: str):
        self._node_id, self._bars, self._last = node_id, {}, 0.0

    def __call__(self, progress) -> None:
        messages.check_cancelled()
        now = time.monotonic()
        if now - self._last < SHOWN_EVERY_S and progress.tokens != progress.of or progress.result is not None:
            return
        self._last = now
        if progress.of is None:
            messages.say(progress.line, self._node_id)
            return
        if progress.phase not in self._bars:
            self._bars[progress.phase] = messages.Progress(self._node_id, progress.of)
        self._bars[progress.phase].report(progress.tokens, progress.line)


def named(choice: str, node_id: str) -> LocalModel:
    """The planner of a choice; auto is the usual one of those that are here."""
    return fetched(_chosen(choice), PLANNER, node_id)


def _chosen(choice: str) -> str:
    return usual_planner(locations.models_shelf().here(PLANNER)) if choice == AUTO else choice


class LoadPlanner(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLoadPlanner",
            display_name="Load Planner",
            category=CATEGORY,
            description="A language model that fills songs in, writes them from a line, and describes music.",
            search_aliases=["5hz lm", "language model", "llm", "qwen", "lyrics writer", "audio codes", "caption"],
            inputs=[
                io.Combo.Input(
                    "planner",
                    options=[AUTO, *choices(PLANNER)],
                    default=AUTO,
                    tooltip=f"auto: {DEFAULT_PLANNER} if it is here, else any that is, {TINY_PLANNER} last. The list "
                    "has the planners that are here, then known ones, which are downloaded when you choose them and "
                    "press Run.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default=AUTO,
                    advanced=True,
                    tooltip="Number format of the weights. auto: suits this machine; on a CPU the file's own, or fp32 "
                    "where the CPU has no instructions for bf16 and there is memory enough.",
                ),
                io.Combo.Input(
                    "quantise",
                    options=[NONE, *QUANTISED],
                    default=NONE,
                    advanced=True,
                    tooltip="Weights in 8 bits: half the memory of bf16, slightly different words. Needs torchao in "
                    "ComfyUI's Python. none: the weights keep their dtype.",
                ),
            ],
            outputs=[PlannerSocket.Output("planner", display_name="planner", tooltip="For Plan Song and the like.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, planner):
        return check(PLANNER, planner)

    @classmethod
    def fingerprint_inputs(cls, planner, **form):
        return fingerprint(PLANNER, _chosen(planner))

    @classmethod
    def execute(cls, planner, dtype, quantise) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            return io.NodeOutput(load_planner(named(planner, node_id), dtype, quantise), ui=notes.ui)

"""ComfyUI, seen from this pack: devices, loading and eviction, progress and Cancel, files and folders, routes.

The only file that imports comfy, folder_paths or server. Networks are ComfyUI's to place: each sits in a ModelPatcher,
is asked for before every use, and may be evicted between two uses.
"""

import asyncio
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import folder_paths
import server
import torch
from aiohttp import web
from comfy.cli_args import args

from ..acestep_core.checkpoints.choices import FOLDERS_OF_KIND, Shelf
from ..acestep_core.errors import AceStepError, UserError
from ..acestep_core.memory.needs import LAYERS, Plan, free_main_memory
from ..acestep_core.memory.oom_fallback import Sparing
from ..acestep_core.nn.dtypes import settled, warn_if_emulated
from ..acestep_core.nn.quantise import stored

logger = logging.getLogger(__name__)

MODELS_FOLDER = "acestep"
KEPT = "acestep_kept"
TRAININGS = "acestep-training"  # below the output folder, from where the front end plays previews
SHARE_OF_A_NETWORK = 0.3  # of free memory: others of a cascade follow, and a song's own work
PREVIEW_PIXELS = 512
PREVIEW_SHARE = 0.1  # of the time that sampling takes
QUICK_PICTURE_SECONDS = 1.0


# ---- networks --------------------------------------------------------------------------------------------------------


class _Holder(torch.nn.Module):
    """ModelPatcher writes a module's `device`, which networks of diffusers and transformers only let it read."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.device = network, None


def weights_for_all() -> torch.inference_mode:
    """Nodes run in inference mode; weights that are loaded or moved in it could never be trained upon."""
    return torch.inference_mode(False)


class _Patcher(comfy.model_patcher.ModelPatcher):
    """Plain layers, which are on a device whole or not at all: `size` is what they take there. ComfyUI would sum up
    what a state dict says it holds, which is wrong of weights in 8 bits.
    """

    def loaded_size(self) -> int:
        return self.size if super().loaded_size() else 0

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False) -> int:
        """Bytes freed: none, so that ComfyUI puts the whole network out."""
        return 0


@dataclass(frozen=True)
class Managed:
    """A network under ComfyUI's memory management."""

    patcher: comfy.model_patcher.ModelPatcher

    def load(self, activation_bytes: float) -> None:
        """Puts the network whole on the device it computes on, with so much memory free beside it. Before every use:
        whatever was loaded since may have put it out.
        """
        load_together((self,), activation_bytes)

    @property
    def is_in_place(self) -> bool:
        """Whether it is where it computes, and not where it rests."""
        return next(self.patcher.model.parameters()).device.type == self.patcher.load_device.type


def load_together(networks: "tuple[Managed, ...]", activation_bytes: float) -> None:
    """As Managed.load, for several that are used by turns: none of them puts another one out."""
    patchers = [network.patcher for network in networks]
    # Plain layers cannot be split between devices, hence the full load.
    with weights_for_all():
        management.load_models_gpu(patchers, memory_required=activation_bytes, force_full_load=True)


def manage(network: torch.nn.Module, kind: str) -> Managed:
    """A network that lies on the CPU -> one that ComfyUI places. `kind`: "stage", "text" or "vocoder"."""
    device, rest = {
        "stage": (management.get_torch_device, management.unet_offload_device),
        "text": (management.text_encoder_device, management.text_encoder_offload_device),
        "vocoder": (management.vae_device, management.vae_offload_device),
    }[kind]
    # ComfyUI counts what a state dict holds; adapters are buffers that no state dict holds.
    size = sum(part.nbytes for weight in (*network.parameters(), *network.buffers()) for part in stored(weight))
    # Not CoreModelPatcher: its dynamic form would keep plain layers in video memory beside an image model.
    return Managed(_Patcher(_Holder(network.eval()), device(), rest(), size))


def free_unused() -> None:
    """Gives memory that nothing holds any more back to the device."""
    management.soft_empty_cache()


class Room(Sparing):
    """A node's work: where memory runs out, every other model is put out first, then it goes on by a smaller plan."""

    def can_use(self, plan: Plan) -> bool:
        return plan.holds != LAYERS  # ComfyUI places whole networks

    def make_room(self, plan: Plan) -> None:
        with weights_for_all():
            management.unload_all_models()
        management.soft_empty_cache()


def device_gigabytes() -> int:
    """Memory of the device that stages compute on: a GPU's own, else the machine's."""
    return round(management.get_total_memory(management.get_torch_device()) / 2**30)


def stage_dtype(name: str, parameters: int) -> torch.dtype | None:
    """The dtype of a widget; "auto" is what ComfyUI computes image models in. On a CPU it is what the file holds, or
    float32 where the CPU has no instructions for bfloat16 and there is memory enough.
    """
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
    device = management.get_torch_device()
    if named is None and not management.is_device_cpu(device):
        return management.unet_dtype(device, parameters, supported_dtypes=[torch.bfloat16, torch.float32])
    fits = parameters * torch.float32.itemsize <= free_main_memory() * SHARE_OF_A_NETWORK
    return settled(device, named, fits)


def vocoder_dtype(name: str) -> torch.dtype:
    """The dtype of a widget; "auto" is float32, or what ComfyUI was started with for VAEs (--bf16-vae)."""
    if name == "auto":
        asked = management.vae_dtype(management.vae_device())
        return asked if asked == torch.bfloat16 else torch.float32
    dtype = torch.bfloat16 if name == "bf16" else torch.float32
    warn_if_emulated(management.vae_device(), dtype)
    return dtype


# ---- progress --------------------------------------------------------------------------------------------------------

Cancelled = management.InterruptProcessingException  # what reports raise; no Exception, so that nobody swallows it


class Progress:
    """A node's bar, its line of text and its picture. Every report is a place where Cancel takes effect."""

    _last_picture_seconds = 0.0

    def __init__(self, node_id: str, total: int):
        self._total = total
        self._bar, self._node_id = comfy.utils.ProgressBar(total, node_id=node_id), node_id
        self._began, self._spent_on_pictures = time.monotonic(), 0.0

    def report(self, done: int, text: str, picture: Callable | None = None) -> None:
        """`picture` makes a PIL image; it is asked for only as often as its cost allows."""
        management.throw_exception_if_processing_interrupted()
        shown = self._shown(done, picture)
        self._bar.update_absolute(done, preview=shown and ("JPEG", shown, PREVIEW_PIXELS))
        say("\n".join((text, *_noted.get(self._node_id, ()))), self._node_id)

    def _shown(self, done: int, picture: Callable | None):
        now = time.monotonic()
        sampling = now - self._began - self._spent_on_pictures
        if picture is None or self._spent_on_pictures > PREVIEW_SHARE * (now - self._began):
            return None
        # What the last one took, in whichever node: slow ones are made in long stages only.
        if self._last_picture_seconds > max(QUICK_PICTURE_SECONDS, PREVIEW_SHARE * sampling / done * self._total):
            return None
        image = picture()
        Progress._last_picture_seconds = time.monotonic() - now
        self._spent_on_pictures += self._last_picture_seconds
        return image


def told_seconds(node_id: str, total: float) -> Callable[[float], None]:
    """Hears how many of so many seconds are done, for a node's bar."""
    progress = Progress(node_id, max(1, round(total)))
    return lambda done: progress.report(round(done), f"{done:.0f} of {total:.0f} s")


def say(text: str, node_id: str) -> None:
    """Live text on a node."""
    server.PromptServer.instance.send_progress_text(text, node_id)


def show(event: str, view: dict) -> None:
    """Tells the pages that are open; the pack's own scripts listen."""
    instance = server.PromptServer.instance
    instance.send_sync(event, view, instance.client_id)


def note(lines: tuple[str, ...], node_id: str) -> None:
    """What a user should know before a node goes on, in the log and on the node."""
    for line in lines:
        logger.warning("%s", line)
    _note_on(node_id, lines)


# What was noted on the nodes that run now: it stays on them below whatever they tell of their progress.
_noted: dict[str, list[str]] = {}


def _note_on(node_id: str, lines: Iterable[str]) -> None:
    noted = _noted.get(node_id, [])
    noted += lines
    if noted:
        say("\n".join(noted), node_id)


class _OnNode(logging.Handler):
    def __init__(self, node_id: str):
        super().__init__(logging.WARNING)
        self.node_id = node_id

    def emit(self, record: logging.LogRecord):
        _note_on(self.node_id, [record.getMessage()])


@contextmanager
def notes_on(node_id: str) -> Iterator[None]:
    """What the library notes while a node runs is shown on that node as well as in the log."""
    handler, logger = _OnNode(node_id), logging.getLogger(__package__.rsplit(".", 1)[0] + ".acestep_core")
    logger.addHandler(handler)
    _noted[node_id] = []
    try:
        yield
    finally:
        logger.removeHandler(handler)
        del _noted[node_id]


# ---- files and routes -----------------------------------------------------------------------------------------------


def offer_models_folder() -> None:
    """A models folder of our own, beside those that a user's extra_model_paths.yaml has already named."""
    known, _ = folder_paths.folder_names_and_paths.get(MODELS_FOLDER, ([], set()))
    default = str(Path(folder_paths.models_dir) / MODELS_FOLDER)
    paths = [*known, *([] if default in known else [default])]
    folder_paths.folder_names_and_paths[MODELS_FOLDER] = (paths, {".safetensors"})


def models_shelf() -> Shelf:
    """Where this ComfyUI keeps models of each kind; ours first, and downloads go there."""
    own = [Path(folder) for folder in folder_paths.get_folder_paths(MODELS_FOLDER)]
    kinds = {kind: _folders(names) for kind, names in FOLDERS_OF_KIND.items()}
    return Shelf(tuple(own), kinds)


def adapter_folders() -> tuple[Path, ...]:
    """Where this ComfyUI keeps LoRAs."""
    return _folders(("loras",))


def new_adapter(name: str) -> Path:
    """The file that an adapter of this name is written to: in the first of ComfyUI's loras folders."""
    return adapter_folders()[0] / f"{name}.safetensors"


def training_folder(name: str) -> Path:
    """What is kept of a training."""
    return Path(folder_paths.get_output_directory()) / TRAININGS / name


def clips_folder(name: str) -> Path:
    """A folder of a user's clips: below ComfyUI's input folder, or named in full where this ComfyUI serves none but its
    own machine. Raises UserError.
    """
    name, inputs = name.strip(), Path(folder_paths.get_input_directory())
    path = Path(name).expanduser()
    if not name:
        raise UserError(f"folder: is empty, expected the name of a folder below {inputs}, or a whole path")
    if name.startswith(("//", "\\\\")):  # asking for it would hand a stranger's server the user's credentials
        raise UserError(f"folder: got {name!r}, which is on another machine; copy the clips to this one")
    if path.is_absolute():
        if not _serves_its_own_machine():
            raise UserError(
                f"folder: got the whole path {name!r}, which is read only where ComfyUI listens to its own machine "
                f"alone (no --listen); put or link the folder into {inputs}"
            )
        return path
    if path.anchor or ".." in path.parts:
        raise UserError(f"folder: got {name!r}, which is outside {inputs}; give a folder below it, or a whole path")
    return inputs / path


def _serves_its_own_machine() -> bool:
    return all(
        address.strip() in ("localhost", "::1") or address.strip().startswith("127.")
        for address in args.listen.split(",")
    )


def _folders(names: tuple[str, ...]) -> tuple[Path, ...]:
    known = [name for name in names if name in folder_paths.folder_names_and_paths]
    return tuple(dict.fromkeys(Path(folder) for name in known for folder in folder_paths.get_folder_paths(name)))


def serve(path: str, answer: Callable[[dict], dict]) -> None:
    """GET `path`: its query -> JSON; a user's mistake is answered with 400 and its one line."""

    @functools.wraps(answer)
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await asyncio.to_thread(answer, dict(request.query)))  # it may look into folders
        except AceStepError as exc:
            return web.json_response({"error": str(exc)}, status=400)

    server.PromptServer.instance.routes.get(path)(handle)


def check_choice(name: str, given: object, options: Iterable[str]) -> str | None:
    """Why a DynamicCombo cannot be read, if it cannot: ComfyUI gives the choice with its widgets as a dict, None for
    one that it does not know, and what comes through a link as it is.
    """
    if isinstance(given, dict):
        return None
    return f"{name}: expected one of {', '.join(options)}, chosen on the node; it cannot come through a link"


def chosen(name: str, given: object, options: Iterable[str]) -> dict:
    """A DynamicCombo's choice with its widgets. Raises UserError."""
    if wrong := check_choice(name, given, options):
        raise UserError(wrong)
    return given


def check_prefix(prefix: str) -> str | None:
    """Why files cannot be named so, if they cannot."""
    if not prefix.strip() or prefix.endswith(("/", "\\")) or "\0" in prefix:
        return f"filename_prefix: got {prefix!r}, expected the beginning of a file's name, such as audio/song"
    folder = os.path.join(folder_paths.get_output_directory(), os.path.dirname(os.path.normpath(prefix)))
    if not folder_paths.is_within_directory(folder_paths.get_output_directory(), folder):
        return f"filename_prefix: got {prefix!r}, which is outside ComfyUI's output folder; give a name below it"
    return None


def output_path(prefix: str, extension: str, item: int) -> Path:
    """A file below the output folder that is not there yet; its folder is made. Raises UserError, OSError."""
    wrong = check_prefix(prefix)
    if wrong:
        raise UserError(wrong)
    # Put in before ComfyUI counts the files of that name, so that each item has its own count.
    return _next(prefix.replace("%batch_num%", str(item)), extension, folder_paths.get_output_directory())


def kept_path(extension: str) -> Path:
    """A file in the temp folder, which ComfyUI empties when it starts and ends."""
    return _next(KEPT, extension, folder_paths.get_temp_directory())


def _next(prefix: str, extension: str, folder: str) -> Path:
    where, name, count, _, _ = folder_paths.get_save_image_path(prefix, folder)
    return Path(where) / f"{name}_{count:05}.{extension}"


def saved(path: Path) -> dict[str, str]:
    """A file below the output folder, as results name it."""
    below = path.relative_to(folder_paths.get_output_directory())
    folder = "" if below.parent == Path() else str(below.parent)
    return {"filename": below.name, "subfolder": folder, "type": "output"}


def workflow_tags(hidden) -> dict[str, str]:
    """The prompt and workflow that a node ran in, for tags in which the front end finds them when a file is dropped.

    It reads them as plain ASCII from flac, mp3, ogg and opus, and not at all from wav. Of ogg and opus it sees the
    first 64 kB: the workflow comes last, so that the prompt, which can be laid out anew, is cut off only after it.
    """
    if args.disable_metadata:
        return {}
    others = hidden.extra_pnginfo or {}
    found = {"prompt": hidden.prompt, **{name: others[name] for name in sorted(others, key="workflow".__eq__)}}
    return {name: json.dumps(value, separators=(",", ":")) for name, value in found.items() if value is not None}

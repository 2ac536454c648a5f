"""ComfyUI's output and temp folders, and what its front end looks for in a saved file."""

import json
import os
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ..acestep_core.errors import UserError

KEPT = "acestep_kept"


def check_prefix(prefix: str) -> str | None:
    """Why files cannot be named so, if they cannot."""
    folder = os.path.join(folder_paths.get_output_directory(), os.path.dirname(os.path.normpath(prefix)))
    if not prefix.strip() or prefix.endswith(("/", "\\")):
        return f"filename_prefix: got {prefix!r}, expected the beginning of a file's name, such as audio/song"
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

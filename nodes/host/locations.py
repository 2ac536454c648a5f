"""ComfyUI's folders: where models, adapters, clips and trainings lie, and where files of results are written."""

import os
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ...acestep_core.checkpoints.choices import FOLDERS_OF_KIND, Shelf
from ...acestep_core.checkpoints.locate import COMFYUI_FOLDER as MODELS_FOLDER
from ...acestep_core.errors import UserError, shown
from ...acestep_core.system.folders import user_path
from . import names

SCORE_ENDINGS = (".mid", ".midi")
FOLDER_KINDS = ("input", "output", "temp")
TRAININGS = "acestep-training"  # below the output folder, from where the front end plays previews


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
    """The folder of a training."""
    return Path(folder_paths.get_output_directory()) / TRAININGS / name


def clips_folder(name: str) -> Path:
    """A folder of a user's clips: below ComfyUI's input folder, or an absolute path if ComfyUI accepts no connections
    from other machines. Raises UserError.
    """
    name, inputs = name.strip(), Path(folder_paths.get_input_directory())
    if not name:
        raise UserError(f"folder: is empty, expected the name of a folder below {inputs}, or an absolute path")
    # Windows takes either slash; opening such a path would hand a stranger's server the user's credentials.
    if name.replace("\\", "/").startswith("//"):
        raise UserError(f"folder: got {name!r}, which is on another machine; copy the clips to this one")
    path = user_path(name)
    if path.is_absolute():
        if not _serves_its_own_machine():
            raise UserError(
                f"folder: got the absolute path {name!r}, which is read only if ComfyUI accepts no connections from "
                f"other machines (no --listen); copy or link the folder into {inputs}"
            )
        return path
    if path.anchor or ".." in path.parts:
        raise UserError(f"folder: got {name!r}, which is outside {inputs}; give a folder below it, or an absolute path")
    return inputs / path


def is_input(path: Path) -> bool:
    """Whether a path lies below ComfyUI's input folder."""
    return path.is_relative_to(folder_paths.get_input_directory())


def scores() -> list[str]:
    """Names of the MIDI files in ComfyUI's input folder."""
    folder = Path(folder_paths.get_input_directory())
    return sorted(path.name for path in folder.glob("*") if path.suffix.lower() in SCORE_ENDINGS and path.is_file())


def score(name: str) -> Path:
    """A MIDI file of the input folder by its name. Raises UserError for another file."""
    if name not in scores():
        raise UserError(
            f"score: got {name!r}, which is no MIDI file in {folder_paths.get_input_directory()}; put it there, and "
            f"press R on the page (the names of such files end in {' or '.join(SCORE_ENDINGS)})"
        )
    return Path(folder_paths.get_input_directory()) / name


def without_paths(text: str) -> str:
    """The text without this machine's paths: folders of ComfyUI by their names, a home folder as ~."""
    named = {folder_paths.base_path: "ComfyUI", os.path.expanduser("~"): "~", folder_paths.models_dir: "models"}
    for name in ("output", "input", "temp", "user"):
        named[getattr(folder_paths, f"get_{name}_directory")()] = name
    named |= {
        str(folder): Path(folder).name
        for folders, _ in folder_paths.folder_names_and_paths.values()
        for folder in folders
        if not Path(folder).is_relative_to(folder_paths.models_dir)
    }
    for path in sorted(named, key=len, reverse=True):
        if len(path) > 1:  # not the root of the disk
            text = text.replace(path, named[path])
    return text


def _serves_its_own_machine() -> bool:
    return all(
        address.strip() in ("localhost", "::1") or address.strip().startswith("127.")
        for address in args.listen.split(",")
    )


def _folders(names: tuple[str, ...]) -> tuple[Path, ...]:
    known = [name for name in names if name in folder_paths.folder_names_and_paths]
    return tuple(dict.fromkeys(Path(folder) for name in known for folder in folder_paths.get_folder_paths(name)))


def check_prefix(prefix: str) -> str | None:
    """The error for a prefix that names of files cannot have; None where they can."""
    plain, output = prefix.replace("\\", "/"), folder_paths.get_output_directory()
    if not prefix.strip() or plain.endswith("/") or "\0" in prefix:
        return f"filename_prefix: got {prefix!r}, expected the beginning of a file's name, such as audio/song"
    # The text is checked first: Windows would log in to another machine only to see whether its folder is there.
    folder = os.path.join(output, os.path.dirname(os.path.normpath(plain)))
    if plain.startswith("//") or not folder_paths.is_within_directory(output, folder):
        return f"filename_prefix: got {prefix!r}, which is outside ComfyUI's output folder; give a name below it"
    return None


def check_output(prefix: str) -> None:
    """Raises UserError for a prefix that names of files cannot have."""
    if wrong := check_prefix(prefix):
        raise UserError(wrong)


def output_path(prefix: str, extension: str, item: int) -> Path:
    """A file below the output folder that is not there yet; its folder is made. Raises UserError, OSError."""
    # Filled in before ComfyUI counts the files of that name, so that each item has its own count.
    prefix = prefix.replace("%batch_num%", str(item))
    check_output(prefix)
    return _next(names.portable(prefix), extension, folder_paths.get_output_directory())


def temp_path(name: str, extension: str) -> Path:
    """A file in the temp folder, which ComfyUI empties when it starts and ends."""
    return _next(name, extension, folder_paths.get_temp_directory())


def _next(prefix: str, extension: str, folder: str) -> Path:
    where, name, count, _, _ = folder_paths.get_save_image_path(prefix, folder)
    return Path(where) / f"{name}_{count:05}.{extension}"


def temp_file(name: str) -> Path:
    """The file of this very name in the temp folder, whether it is there or not."""
    return Path(folder_paths.get_temp_directory()) / name


def input_files() -> list[str]:
    """Names of the sound and video files of the input folder, as core's Load Audio lists them."""
    folder = folder_paths.get_input_directory()
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if os.path.isdir(folder) else []
    return sorted(folder_paths.filter_files_content_types(names, ["audio", "video"]))


def input_file(name: str) -> Path:
    """A file below the input folder, or as core writes names of others, "song.flac [output]". Raises UserError."""
    below, folder = folder_paths.annotated_filepath(name)
    return _file_below(folder or folder_paths.get_input_directory(), below, name)


def file_of_query(query: dict) -> Path:
    """A file below ComfyUI's input, output or temp folder, as results name it: filename, subfolder, type.

    Raises UserError.
    """
    name, kind = str(query.get("filename") or ""), str(query.get("type") or "output")
    if kind not in FOLDER_KINDS:
        raise UserError(f"type: got {shown(kind)}, expected one of {', '.join(FOLDER_KINDS)}")
    folder = folder_paths.get_directory_by_type(kind)
    return _file_below(folder, os.path.join(str(query.get("subfolder") or ""), name), name)


def _file_below(folder: str, below: str, name: str) -> Path:
    # The text is checked first: Windows would log in to another machine only to see whether its file is there.
    plain = below.replace("\\", "/")
    is_inside = not plain.startswith("/") and folder_paths.is_within_directory(folder, os.path.join(folder, below))
    path = Path(folder, below) if is_inside else None
    if path is None or not path.is_file():
        raise UserError(f"file: got {shown(name)}, expected a sound file that is in ComfyUI's folders; choose it again")
    return path


def saved(path: Path) -> dict[str, str]:
    """A file below one of ComfyUI's folders, as results of nodes name it."""
    for kind in FOLDER_KINDS:
        folder = folder_paths.get_directory_by_type(kind)
        if path.is_relative_to(folder):
            below = path.relative_to(folder)
            subfolder = "" if below.parent == Path() else below.parent.as_posix()
            return {"filename": below.name, "subfolder": subfolder, "type": kind}
    raise ValueError(f"{path} is below none of ComfyUI's folders")

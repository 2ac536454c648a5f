"""Finds and lists adapters, and reads "L=warm.safetensors:0.8" as stage, file and strength. No torch.

An adapter is a .safetensors file or a folder with one in it. By name it is looked for in the folders given by the
caller, then in the folder `loras` of every models folder of this machine (see checkpoints.locate), then among those
of the embedded models.
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.digest import files_digest
from ..checkpoints.locate import TINY_FOLDER, models_folders
from ..checkpoints.weights import PICKLES, header_text, read_header
from ..errors import CheckpointError, UserError, did_you_mean
from ..spec import SLOTS
from ..system.folders import user_path
from ..system.listing import files_below
from ..system.verdicts import Verdicts, WordsOf, last_of, now_of, package_files
from .layouts import CONFIG_FILE, WEIGHTS_FILE, adapts_known, mentions_known

FOLDER, _SUFFIX = "loras", ".safetensors"
EMBEDDED_FOLDER = TINY_FOLDER / FOLDER  # adapters of the embedded models; searched last
_USUAL_FILES = (
    WEIGHTS_FILE,
    "pytorch_lora_weights.safetensors",
    "lokr_weights.safetensors",
    "loha_weights.safetensors",
)
_STAGE = re.compile(r"(?P<stage>[A-Za-z]|\d+)=(?P<rest>.+)")


@dataclass(frozen=True)
class Lora:
    """An adapter to apply: a file, a folder or a name, its strength, and on which stage ("l", "m", "s" or a number from
    1; None is every stage that it fits). Raises UserError for a strength that is no finite number.
    """

    adapter: str
    strength: float = 1.0
    stage: str | None = None

    def __post_init__(self):
        if not math.isfinite(self.strength):
            raise UserError(f"lora: got the strength {self.strength} for {self.adapter}, expected a number such as 0.8")

    @classmethod
    def parse(cls, text: str) -> "Lora":
        """From "FILE", "FILE:0.8" or "L=FILE:0.8". A drive's colon, as in C:\\x.safetensors, is part of the file."""
        staged = None if os.path.exists(text) else _STAGE.fullmatch(text)
        stage, rest = (staged["stage"].lower(), staged["rest"]) if staged else (None, text)
        if stage and stage not in SLOTS and not stage.isdigit():
            raise UserError(
                f"lora: got the stage {stage!r} in {text!r}, expected one of {', '.join(SLOTS)} or a number"
            )
        file, colon, end = rest.rpartition(":")
        try:
            strength = float(end)
        except ValueError:
            file, strength = rest, 1.0
        if not colon or os.path.exists(rest):
            file, strength = rest, 1.0
        if not file.strip():
            raise UserError(f"lora: got {text!r}, expected FILE, FILE:STRENGTH or L=FILE:STRENGTH")
        return cls(file, strength, stage)

    def __str__(self) -> str:
        return f"{f'{self.stage}=' if self.stage else ''}{self.adapter}:{self.strength:g}"


def find_adapter(name_or_path: str | Path, folders: Sequence[Path | str] = ()) -> Path:
    """The file or folder of an adapter, by path or by name. Raises UserError."""
    given = user_path(name_or_path)
    places = _folders(folders)
    names = (str(name_or_path), f"{name_or_path}.safetensors")
    for place in (given, *(folder / name for folder in (*places, EMBEDDED_FOLDER) for name in names)):
        if os.path.exists(place):  # unlike Path.exists, it is False for a name too long for a file
            return place
    near = near_adapter(str(name_or_path), folders)
    raise UserError(
        f"{name_or_path}: there is no such adapter{near}; searched as a path and by name in "
        f"{', '.join(map(str, places))}; check the path, or put the file there"
    )


def near_adapter(name: str, folders: Sequence[Path | str] = ()) -> str:
    """ " (did you mean ...?)" with the adapter of the most similar name; "" where none is similar."""
    return did_you_mean(name, list_adapters(folders, quick=True))


def adapter_digest(place: Path) -> str:
    """Twelve hex digits for the contents of an adapter, a file or a folder. Raises UserError, OSError."""
    weights = weights_file(place)
    config = weights.parent / CONFIG_FILE
    return files_digest([weights, *([config] if place.is_dir() and config.is_file() else [])])


def list_adapters(folders: Sequence[Path | str] = (), quick: bool = False) -> dict[str, Path]:
    """Name -> place of every adapter for ACE-Step 1.5 in the folders of adapters; of two with one name the first.

    `quick`: no file is opened. A file that was never judged is listed and judged in the background. Later lists leave
    it out if it is foreign.
    """
    return _listed(folders, last_of if quick else now_of)


def listed_adapter(name: str, folders: Sequence[Path | str] = ()) -> Path | None:
    """The place of an adapter by its name in the list, with no other file opened; None where it is not listed."""
    return _listed(folders, now_of, only=name).get(name)


def finish_judging() -> None:
    """Waits until all adapters that are judged in the background are done."""
    _verdicts.wait()


def why_not(name: str, folders: Sequence[Path | str] = ()) -> str | None:
    """Why a file of that name in the folders of adapters is not listed; None where there is no such file."""
    for folder in _folders(folders):
        if not name.endswith(_SUFFIX) or name not in files_below(folder):
            continue
        try:
            read_header(folder / name)
        except (CheckpointError, OSError) as exc:
            return str(exc)
        return f"{folder / name}: adapts no layer of an ACE-Step 1.5 transformer; choose an adapter made for one"
    return None


def weights_file(path: Path) -> Path:
    """The one file with an adapter's weights. Raises UserError where there is none, or several."""
    if not path.is_dir():
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path}: is neither a file nor a folder; expected a .safetensors file")
        return path
    for folder in (path, path / "adapter"):
        usual = next((folder / name for name in _USUAL_FILES if (folder / name).is_file()), None)
        files = sorted(folder.glob("*.safetensors"))
        if usual or len(files) == 1:
            return usual or files[0]
        if files:
            raise UserError(
                f"{folder} holds {len(files)} .safetensors files, {files[0].name} the first; name one of them"
            )
    pickle = next((file.name for file in sorted(path.iterdir()) if file.suffix in PICKLES), None)
    if pickle:
        raise UserError(
            f"{path} has its weights only as {pickle}: a pickle, which can run any code when it is opened, so it is "
            "refused; get the .safetensors version"
        )
    raise UserError(f"{path} holds no adapter: expected {CONFIG_FILE} and {WEIGHTS_FILE}, or one .safetensors file")


def _folders(folders: Sequence[Path | str]) -> list[Path]:
    return [*(user_path(folder) for folder in folders), *(folder / FOLDER for folder in models_folders())]


def _listed(folders: Sequence[Path | str], words_of: "WordsOf", only: str | None = None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in (*_folders(folders), EMBEDDED_FOLDER):
        files = {f"{folder}{os.sep}{file}": name for file, name in _in_folder(folder) if only in (None, name)}
        words = words_of(_verdicts, files)
        for name in sorted(name for path, name in files.items() if words[path] != ""):
            found.setdefault(name, folder / name)
    return found


def _in_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, name) of each safetensors file; its name is that of its folder where PEFT's config lies beside it."""
    names = files_below(folder)
    configs = {name.removesuffix(CONFIG_FILE) for name in names if name.rpartition("/")[2] == CONFIG_FILE} - {""}
    for name in names:
        if name.endswith(_SUFFIX):
            place = name[: name.rfind("/") + 1]
            yield name, place.rstrip("/") if place in configs else name


def _judge(path: str) -> str:
    """ "adapter" for a file that adapts a layer of some ACE-Step 1.5 transformer, else nothing."""
    try:
        if not mentions_known(header_text(Path(path)).decode(errors="replace")):
            return ""  # most files of a folder are of other models, and parsing takes longer than this
        return "adapter" if adapts_known(read_header(Path(path))) else ""
    except (CheckpointError, OSError):
        return ""


_verdicts = Verdicts("adapters", _judge, package_files("lora/find.py", "lora/layouts.py", "checkpoints/weights.py"))

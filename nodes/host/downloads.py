"""Which models may be downloaded on Run: those that a user chose on a node of this ComfyUI.

A workflow of a stranger names models as well, and must not download gigabytes by being run. The names are kept in
ComfyUI's user folder, so that a model chosen today may be downloaded tomorrow.
"""

from pathlib import Path

import folder_paths

from ...acestep_core.errors import AceStepError
from ...acestep_core.system.files import write_whole


def _file() -> Path:
    return Path(folder_paths.get_user_directory()) / "acestep-cascade" / "allowed_downloads.txt"


def allowed() -> tuple[str, ...]:
    """Names of models that may be downloaded; none where the list is absent or cannot be read."""
    try:
        return tuple(filter(None, _file().read_text("utf-8", "replace").splitlines()))
    except OSError:
        return ()


def allow(name: str) -> None:
    """Raises AceStepError where the list cannot be written."""
    names = dict.fromkeys((*allowed(), name))
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise AceStepError(f"{_file().parent}: could not be made ({exc.strerror}); make it writable") from exc
    write_whole(_file(), "".join(f"{one}\n" for one in names).encode())

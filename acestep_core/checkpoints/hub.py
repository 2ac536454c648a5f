"""Downloads a known model from the Hugging Face hub into the models folder; the one place that uses the network.

NAME.CONTENT_HASH.incomplete grows until it is whole, is checked against the hub's own SHA-256, and only then gets its
name. A download that broke off, in this process or another, resumes; a running one holds a lock on that file. Only
the files that a model needs are fetched: configs, safetensors, tokenizers, silence_latent.pt; never code or pickles.

huggingface_hub's `hf_hub_download` does not replace this: its unfinished files have random names, so that another
process begins anew; it waits without end for a file that another process fetches; and it compares no SHA-256.
"""

import errno
import fnmatch
import glob
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from ..errors import AceStepError, CheckpointError, did_you_mean
from .checkpoint import SILENCE_FILE
from .locate import ENVIRONMENT, LocalModel, find, find_here, is_complete, models_folders
from .registry import KNOWN, KnownModel, known_model

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_SAFE_SUFFIXES = (".json", ".safetensors")
_HASH_CHUNK_BYTES = 1 << 22
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Progress:
    """How far a download is: the file it is at, and bytes of the whole model."""

    file: str
    done_bytes: int
    total_bytes: int


class DownloadError(AceStepError):
    """A download could not begin or broke off; the fetched part stays, and the same command resumes."""


def download(
    name: str, progress: Callable[[Progress], None] | None = None, folder: Path | str | None = None
) -> LocalModel:
    """Fetch a known model unless it is here already; LocalModel of where it lies now.

    `folder` is the models folder to use, by default the first of `models_folders()`. `progress` is called after every
    piece; an exception from it stops the download, which a later call resumes. Raises CheckpointError for an unknown
    name, DownloadError when the hub fails, the disk is full or another process fetches the same file.
    """
    known = known_model(name)
    if name.lower() == "tiny":
        raise CheckpointError("tiny comes with this package; there is nothing to download")
    if known is None:
        published = [model for model in KNOWN if KNOWN[model].repo]
        near = did_you_mean(name, published)
        raise CheckpointError(f"{name} is no known model{near}; known are {', '.join(published)}")
    if not known.repo:
        return find(known.name, known.kinds[0])  # embedded
    folders = [folder] if folder is not None else []
    place = find_here(known, folders)
    if place is not None and is_complete(place):
        return LocalModel(known.name, place, known)
    target = _target(folders) / known.repo.split("/")[1]
    try:
        _fetch_all(known, target, progress or (lambda step: None))
    except _network_errors() as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        remedy = f"make room in {target}" if full else "check the connection"
        raise DownloadError(
            f"{known.name} could not be fetched from {known.repo}: {reason}; "
            f"{remedy} and run the same command again, which resumes the download"
        ) from error
    return find(known.name, known.kinds[0], folders)


def _target(folders: Sequence[Path | str]) -> Path:
    place = next(iter(models_folders(folders)), None)
    if place is None:
        raise DownloadError(f"this user has no home folder to download into; name a models folder in {ENVIRONMENT}")
    return place


def _fetch_all(known: KnownModel, target: Path, progress: Callable[[Progress], None]) -> None:
    from huggingface_hub import HfApi

    info = HfApi().model_info(known.repo, files_metadata=True)
    files = [file for file in info.siblings or () if _wanted(known, file.rfilename)]
    for file in files:
        _check_entry(known.repo, file)
    if not files:
        raise CheckpointError(f"{known.repo} no longer has {', '.join(known.patterns)}; choose another model")
    # Weights come last: a model whose config and weights are there counts as whole.
    files.sort(key=lambda file: file.rfilename.endswith(".safetensors"))
    total, before = sum(file.size for file in files), 0
    _check_space(target, total - sum(_bytes_here(target / file.rfilename, file) for file in files))
    for file in files:

        def report(done: int, name: str = file.rfilename, before: int = before) -> None:
            progress(Progress(name, before + done, total))

        _fetch(known.repo, info.sha, file, target / file.rfilename, report)
        before += file.size


def _check_entry(repo: str, file: "RepoSibling") -> None:
    """Raises DownloadError for a file that would lie outside the model's folder, or has no size or hash to check."""
    parts = PurePosixPath(file.rfilename).parts
    if not parts or ".." in parts or parts[0] == "/" or any(mark in file.rfilename for mark in "\\:\0"):
        raise DownloadError(
            f"{repo} lists {file.rfilename!r}, which would lie outside the model's folder; nothing was fetched, set "
            "HF_ENDPOINT to a hub that you trust"
        )
    if not isinstance(file.size, int) or not _HASH.fullmatch(str(_content(file))):
        raise DownloadError(
            f"{repo} lists {file.rfilename!r} without its size or hash, so it could not be checked; nothing was fetched"
        )


def _fetch(repo: str, revision: str, file: "RepoSibling", target: Path, report: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_url

    if _is_whole(target, file):
        report(file.size)
        return
    unfinished = _unfinished(target, file)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    for stale in set(target.parent.glob(f"{glob.escape(target.name)}.*.incomplete")) - {unfinished}:
        stale.unlink()  # of a version that the hub no longer has
    with unfinished.open("a+b") as out:
        _lock(out, file.rfilename)
        _fill(out, hf_hub_url(repo, file.rfilename, revision=revision), file.size, report)
        os.fsync(out.fileno())
        intact = _is_intact(out, file)
    # Windows removes and renames only what is closed, so the lock is gone by now and another process may come first.
    if not intact:
        unfinished.unlink(missing_ok=True)
        raise DownloadError(
            f"{file.rfilename} arrived damaged (its checksum is not the hub's) and was removed; "
            "run the same command again"
        )
    if not _is_whole(target, file):
        os.replace(unfinished, target)
    report(file.size)


def _lock(out: BinaryIO, name: str) -> None:
    # A lock of the system on the file itself leaves no lock file behind, and a killed process releases it.
    try:
        if sys.platform == "win32":
            import msvcrt

            out.seek(0)  # msvcrt locks from this position: all processes must lock the same byte
            msvcrt.locking(out.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise DownloadError(
            f"another process is fetching {name} now; wait for it, then run the same command again"
        ) from error
    except OSError:
        pass  # a file system without locks is no reason to refuse a download


def _fill(out: BinaryIO, url: str, size: int, report: Callable[[int], None]) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if out.seek(0, os.SEEK_END) > size:  # larger than the whole file, so not its beginning: start again
        out.seek(0)
        out.truncate()
    http_get(
        url,
        out,
        resume_size=out.tell(),
        headers=build_hf_headers(),
        expected_size=size,
        tqdm_class=_Counter(report),
    )


class _Counter:
    """Stands in for the progress bar of huggingface_hub: called as its class, then used as its object."""

    def __init__(self, report: Callable[[int], None]):
        self.report, self.done = report, 0

    def __call__(self, *, initial: int = 0, **rest) -> "_Counter":
        self.done = initial
        return self

    def update(self, more: int) -> None:
        self.done += more
        self.report(self.done)

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(self, *error) -> None:
        pass


def _wanted(known: KnownModel, name: str) -> bool:
    safe = name.endswith(_SAFE_SUFFIXES) or name.rsplit("/", 1)[-1] == SILENCE_FILE
    return safe and any(fnmatch.fnmatchcase(name, pattern) for pattern in known.patterns)


def _is_whole(target: Path, file: "RepoSibling") -> bool:
    return target.is_file() and target.stat().st_size == file.size


def _content(file: "RepoSibling") -> str:
    # Large files are known by the SHA-256 of their content, small ones by git's own hash of it.
    return file.lfs.sha256 if file.lfs else file.blob_id


def _unfinished(target: Path, file: "RepoSibling") -> Path:
    return target.with_name(f"{target.name}.{_content(file)[:12]}.incomplete")


def _bytes_here(target: Path, file: "RepoSibling") -> int:
    if _is_whole(target, file):
        return file.size
    unfinished = _unfinished(target, file)
    return unfinished.stat().st_size if unfinished.is_file() else 0


def _is_intact(content: BinaryIO, file: "RepoSibling") -> bool:
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    content.seek(0)
    while chunk := content.read(_HASH_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest() == _content(file)


def _check_space(target: Path, missing_bytes: int) -> None:
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if missing_bytes > free:
        raise DownloadError(
            f"{target} has {free / 1e9:.1f} GB free, the model needs {missing_bytes / 1e9:.1f} GB more; make room "
            f"there, or name another folder in {ENVIRONMENT}"
        )


def _network_errors() -> tuple[type[Exception], ...]:
    # huggingface_hub has changed its HTTP library more than once; whichever it uses is loaded by now.
    loaded = (sys.modules.get(name) for name in ("httpx", "httpx2", "requests"))
    return (OSError, *(module.HTTPError for module in loaded if hasattr(module, "HTTPError")))

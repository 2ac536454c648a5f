"""Runs one case in a forked process: copies the valid files, mutates one of them, gives it to the target."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import bad_targets, forked, targets
from .cases import SUBJECTS, VALID, Case
from .draw import Draw
from .messages import Notes, control_character
from .mutate import mutate
from .outcome import Outcome, judge
from .targets import ERRORS_FOR_USERS, WITHOUT_NAME, Place

MATERIAL_CPU_SECONDS = 120  # some of it is trained
BAD_TARGET_CPU_SECONDS = 4  # some of them compute until they are stopped
TRAINING = "training"  # torch runs no backward pass in a fork of a process that ran one
TARGETS = {**targets.TARGETS, **bad_targets.TARGETS}
KEEP_FOLDER = os.environ.get("ACESTEP_MUTATION_KEEP")
_HOME = ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HOME", "ACESTEP_MODELS")


def build_material(material: Path, scratch: Path) -> None:
    """Writes the valid files, each folder in a process of its own. One that fails is left out; stderr says why."""
    from .material import FOLDERS

    def write(make: Callable[[Path, Path], None]) -> dict:
        _isolate(scratch / "home")
        make(material / make.__name__, material / "family" / "family")
        return {}

    for make in FOLDERS:
        ending = forked.run(lambda report, make=make: write(make), scratch, cpu_seconds=MATERIAL_CPU_SECONDS)
        if ending.returned is None:
            sys.stderr.write(f"{make.__name__}: {ending}\n")
            shutil.rmtree(material / make.__name__, ignore_errors=True)


def warm_up(material: Path, scratch: Path) -> None:
    """Runs every target once on valid files, so that forks find all imports and caches ready."""
    import librosa  # noqa: F401
    import peft  # noqa: F401

    _isolate(scratch / "home")
    for case in {SUBJECTS[case.subject].target: case for case in VALID}.values():
        if SUBJECTS[case.subject].target != TRAINING and _source(case, material).is_dir():
            with _case_folder(case, material, scratch) as folder:
                _run(case, folder, material, lambda line: None)


def outcome_of(case: Case, material: Path, scratch: Path) -> Outcome:
    """Raises nothing for whatever the library does."""
    if case.subject in SUBJECTS and not _source(case, material).is_dir():
        return Outcome("the valid files could not be made; the reason is on stderr")
    with _case_folder(case, material, scratch) as folder:

        def child(report: forked.Report) -> dict:
            _isolate(scratch / "home")
            return _run(case, folder, material, report)

        cpu_seconds = forked.CPU_SECONDS if case.subject in SUBJECTS else BAD_TARGET_CPU_SECONDS
        return Outcome.of(forked.run(child, scratch, cpu_seconds=cpu_seconds))


def _source(case: Case, material: Path) -> Path:
    return material / SUBJECTS[case.subject].folder


@contextlib.contextmanager
def _case_folder(case: Case, material: Path, scratch: Path) -> Iterator[Path]:
    """A copy of the subject's folder, which is the working folder meanwhile."""
    folder = scratch / case.id
    if case.subject in SUBJECTS:
        shutil.copytree(_source(case, material), folder)
    else:
        folder.mkdir()
    try:
        with contextlib.chdir(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(case: Case, folder: Path, material: Path, report: forked.Report) -> dict:
    """Fields of an Outcome."""
    if case.subject in SUBJECTS:
        report(_mutate(case, folder))
    target = _target(case)
    with Notes() as notes:
        try:
            target(Place(folder, material))
        except Exception as exc:  # noqa: BLE001  which exception comes is the question
            return judge(exc, isinstance(exc, ERRORS_FOR_USERS), target not in WITHOUT_NAME, folder)
    found = next(filter(None, map(control_character, notes.lines)), None)
    return {"fault": found and f"a note has a control character: {found}"}


def _target(case: Case) -> Callable[[Place], None]:
    return TARGETS[SUBJECTS[case.subject].target if case.subject in SUBJECTS else case.mutation]


def _mutate(case: Case, folder: Path) -> str:
    """Which file was changed (of several, each in turn), and where."""
    files = sorted(folder.glob(SUBJECTS[case.subject].file))
    draw = Draw(f"{case.subject}-{case.mutation}", case.number)
    change = mutate(files[case.number % len(files)], case.mutation, draw)
    if KEEP_FOLDER:
        shutil.copytree(folder, Path(KEEP_FOLDER, case.id), dirs_exist_ok=True)
    return change


def _isolate(home: Path) -> None:
    """No model, cache or setting of this machine is found, and none of another case."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(_HOME, str(home)), ACESTEP_CACHE="off", HF_HUB_OFFLINE="1")

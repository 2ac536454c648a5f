"""What a nursery does for each case, in a child: its folder, its mutation, its target."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from . import faults, forked, judge, targets
from .cases import SUBJECTS, WHOLE, Case
from .draw import Draw
from .mutate import mutate
from .targets import NAMELESS, REFUSALS, Place
from .tidy import Notes, steering

DONE = "whole"
LEARNING = "training"  # torch refuses to learn in a fork of a process that has learnt
TARGETS = {**targets.TARGETS, **faults.TARGETS}
KEPT_IN = os.environ.get("ACESTEP_MUTATION_KEEP")  # a folder in which the mutated files stay
_HOME = ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HOME", "ACESTEP_MODELS")


def build(whole: Path, scratch: Path) -> None:
    """The material, each folder made by a child: some train. What cannot be made fails those cases alone."""
    from . import material

    def made(make: Callable[[Path, Path], None]) -> dict:
        _settle(scratch / "home")
        make(whole / make.__name__, whole / "family" / "family")
        return {}

    for make in material.FOLDERS:
        ending = forked.run(lambda tell, make=make: made(make), scratch)
        if ending.said is None:
            shutil.rmtree(whole / make.__name__, ignore_errors=True)
    (whole / DONE).touch()


def warm(whole: Path, scratch: Path) -> None:
    """Imports what the targets import, and does once what they do, so that children find it done."""
    import librosa  # noqa: F401
    import peft  # noqa: F401

    _settle(scratch / "home")
    seen = {SUBJECTS[case.subject].target: case for case in WHOLE if SUBJECTS[case.subject].target != LEARNING}
    for case in seen.values():
        if not _source(case, whole).is_dir():
            continue
        with _folder(case, whole, scratch) as folder:
            _at_work(case, folder, whole, lambda line: None)


def tried(asked: dict, whole: Path, scratch: Path) -> str:
    """The outcome of one case, as JSON."""
    case = Case(**asked)
    if case.subject in SUBJECTS and not _source(case, whole).is_dir():
        return judge.as_json(judge.Outcome("its whole files could not be made, see above"))
    with _folder(case, whole, scratch) as folder:

        def child(tell: forked.Tell) -> dict:
            _settle(scratch / "home")
            return _at_work(case, folder, whole, tell)

        return judge.as_json(judge.judged(forked.run(child, scratch)))


def _target(case: Case) -> Callable[[Place], None]:
    return TARGETS[SUBJECTS[case.subject].target if case.subject in SUBJECTS else case.mutation]


def _mutated(case: Case, folder: Path) -> str:
    """Which of the subject's files, each in its turn, was changed, and where."""
    files = sorted(folder.glob(SUBJECTS[case.subject].file))
    draw = Draw(f"{case.subject}-{case.mutation}", case.number)
    change = mutate(files[case.number % len(files)], case.mutation, draw)
    if KEPT_IN:
        shutil.copytree(folder, Path(KEPT_IN, case.id), dirs_exist_ok=True)
    return change


def _source(case: Case, whole: Path) -> Path:
    return whole / SUBJECTS[case.subject].folder


@contextlib.contextmanager
def _folder(case: Case, whole: Path, scratch: Path):
    folder = scratch / case.id
    if case.subject in SUBJECTS:
        shutil.copytree(_source(case, whole), folder)
    else:
        folder.mkdir()
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def _at_work(case: Case, folder: Path, whole: Path, tell: forked.Tell) -> dict:
    if case.subject in SUBJECTS:
        tell(_mutated(case, folder))
    target = _target(case)
    with Notes() as notes:
        try:
            target(Place(folder, whole))
        except Exception as exc:  # noqa: BLE001  what may come out of it is what is asked
            return judge.said_of(exc, isinstance(exc, REFUSALS), target in NAMELESS, folder)
    if found := next(filter(None, (steering(line) for line in notes.lines)), None):
        return {"fault": f"a note holds what is no text: {found}"}
    return {"fault": None}


def _settle(home: Path) -> None:
    """Nothing of this machine's is found, and nothing of one case by the next."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(_HOME, str(home)), ACESTEP_CACHE="off", HF_HUB_OFFLINE="1")

"""The pool with workers in this process: every task is made once, whoever is lost; nothing hangs."""

import threading
from dataclasses import dataclass, field

import pytest
from acestep_pack.acestep_core.cluster.bundles import bundle_of, bundles_of, renamed
from acestep_pack.acestep_core.cluster.pool import ATTEMPTS, RESTARTS, Failure, Pool, Slot, WorkerLost, retried
from acestep_pack.acestep_core.cluster.worker import WorkerProcess
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.generation.settings import GenerationSettings


@dataclass(frozen=True)
class Task:
    name: str
    bundles: dict = field(default_factory=dict)


class Maker:
    """Three steps and a result; "bad" is a user's mistake, "two" has two results."""

    def __init__(self):
        self.closed = []

    def steps(self, task, places):
        try:
            for step in range(3):
                yield f"step {step}"
            if task.name == "bad":
                raise UserError(f"{places.get('clip.wav', 'caption')}: is bad")
            if "clip.wav" in places:
                with open(places["clip.wav"]) as file:
                    yield {"made": file.read()}
            yield {"made": task.name}
            if task.name == "two":
                yield "another step"
                yield {"made": "two again"}
        finally:
            self.closed.append(task.name)


class LocalWorker:
    """A WorkerProcess in this process, which dies at the steps that `dies_at` yields numbers of."""

    def __init__(self, dies_at=None):
        self._process, self._dies_at, self._calls = WorkerProcess(Maker), dies_at, 0

    def __getattr__(self, name):
        return getattr(self._process, name)

    def next(self):
        self._calls += 1
        if self._calls == self._dies_at:
            raise WorkerLost("a worker was lost")
        return self._process.next()


def is_result(event):
    return isinstance(event, dict)


def made_by(slots, *names):
    """(results by task, failures by task)"""
    tasks, results, failures = [Task(name) for name in names], {}, {}
    for number, event in Pool(slots, is_result).run(tasks):
        if isinstance(event, Failure):
            failures[names[number]] = str(event.error)
        elif is_result(event):
            results.setdefault(names[number], []).append(event["made"])
    return results, failures


def slots_of(*starts):
    """A slot for each list of steps at which its workers die, one after the other; then they live."""

    def starter(deaths):
        left = iter(deaths)
        return lambda: LocalWorker(next(left, None))

    return [Slot(starter(deaths), number) for number, deaths in enumerate(starts, start=1)]


def test_every_task_is_made_once_and_mistakes_stop_nobody():
    results, failures = made_by(slots_of([], []), "a", "bad", "two", "b")
    assert results == {"a": ["a"], "two": ["two", "two again"], "b": ["b"]}
    assert failures == {"bad": "caption: is bad"}


def test_what_a_lost_worker_had_is_made_elsewhere_and_results_come_once():
    # The first dies in its first task's middle; the second after the first of two results.
    results, failures = made_by(slots_of([2], [6]), "two", "two", "a", "b")
    assert sorted(results["two"]) == ["two", "two", "two again", "two again"]  # two workers make them at a time
    assert results["a"] == ["a"] and results["b"] == ["b"]
    assert failures == {}


def test_a_task_that_ends_its_workers_is_given_up_and_the_others_are_made():
    class Killing(LocalWorker):
        def begin(self, task, names):
            if task.name == "huge":
                raise WorkerLost("a worker was lost")
            self._process.begin(task, names)

    started = []

    def start():
        started.append(1)
        return Killing()

    results, failures = made_by([Slot(start)], "a", "huge", "b")
    assert results == {"a": ["a"], "b": ["b"]} and f"{ATTEMPTS} workers were lost" in failures["huge"]
    assert len(started) == ATTEMPTS + 1


def test_without_workers_it_ends_with_a_line():
    def start():
        raise WorkerLost("there is no device")

    with pytest.raises(AceStepError, match="no worker is left, and 2 songs are; the same command makes the rest"):
        made_by([Slot(start), Slot(start)], "a", "b")
    results, _ = made_by([Slot(start), *slots_of([])], "a", "b")
    assert results == {"a": ["a"], "b": ["b"]}
    with pytest.raises(AceStepError, match="no worker is left"):
        made_by(slots_of([1] * (RESTARTS + 9)), *"abcdefgh")


def test_whoever_iterates_no_further_cancels_the_task():
    slot = Slot(LocalWorker)
    steps = slot.run(Task("a"))
    assert next(steps) == "step 0"
    steps.close()
    assert slot.ready()._maker.closed == ["a"]
    assert list(slot.run(Task("b")))[-1] == {"made": "b"}
    course = Pool([slot], is_result).run([Task("c"), Task("d")])
    next(course)
    course.close()
    assert threading.active_count() < 50


def test_a_job_goes_on_after_its_worker_and_says_so(caplog):
    [slot] = slots_of([6])
    events = list(retried(slot, Task("two"), is_result))
    assert [event["made"] for event in events if is_result(event)] == ["two", "two again"]
    assert "what it made is made again" in caplog.text
    [slot] = slots_of([1] * ATTEMPTS)
    with pytest.raises(WorkerLost):
        list(retried(slot, Task("a"), is_result))


# ---- files that travel -----------------------------------------------------------------------------------------------


def test_files_are_sent_once_and_mistakes_name_them_as_they_were_asked_for(tmp_path):
    clip = tmp_path / "clip.wav"
    clip.write_text("sound")
    sent = []

    class Counting(LocalWorker):
        def attach(self, key, files):
            sent.append(sorted(files))
            self._process.attach(key, files)

    slot, bundles = Slot(Counting), {"clip.wav": bundle_of(clip)}
    assert {"made": "sound"} in list(slot.run(Task("a", bundles)))
    list(slot.run(Task("b", bundles)))
    assert sent == [["clip.wav"]]
    with pytest.raises(UserError, match="^clip.wav: is bad"):
        list(slot.run(Task("bad", bundles)))
    clip.write_text("another")
    assert {"made": "another"} in list(slot.run(Task("a", {"clip.wav": bundle_of(clip)})))


def test_settings_are_renamed_and_named_again(tmp_path):
    for name in ("a.wav", "b.wav", "b.wav.latents.safetensors", "x.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "peft").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "peft" / name).write_bytes(b"x")
    a, b, x, peft = (str(tmp_path / name) for name in ("a.wav", "b.wav", "x.safetensors", "peft"))
    settings = GenerationSettings(
        seed=1, reference=(a, a), source=b, edit={"task": "cover"}, lora=(f"l={x}:0.5", f"{peft}:1")
    )
    bundles = bundles_of(settings)
    assert {name: len(one.files) for name, one in bundles.items()} == {a: 1, b: 2, x: 1, peft: 2}
    assert [name for name, _ in bundles[peft].files] == ["peft/adapter_config.json", "peft/adapter_model.safetensors"]
    places = {name: f"/there/{one.name}" for name, one in bundles.items()}
    there = renamed(settings, places)
    assert there.reference == ("/there/a.wav",) * 2 and there.lora == ("l=/there/x.safetensors:0.5", "/there/peft:1")
    assert renamed(there, {here: given for given, here in places.items()}) == settings

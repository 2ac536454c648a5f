"""Datasets, trainings and adapters by the web: our own routes, the original's, and a real training of a few steps."""

import io
import time

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")
pytest.importorskip("httpx", reason="httpx, fastapi's test client, is not installed; it comes with [test]")

from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.making import Machine
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.server import training_making
from acestep_pack.acestep_core.server.jobs import Preview
from acestep_pack.acestep_core.server.making import SongMaker
from acestep_pack.acestep_core.server.shelf import LibraryShelf
from acestep_pack.acestep_core.song import Song
from core_tests.conftest import tiny_family  # noqa: F401  the fixture

WAIT = 30
BAD_NAMES = ["../x", "/etc", "a/b", "", ".", "..", "~", "x" * 65, "\x00", None, 7, ["x"], {"a": 1}]


@pytest.fixture(autouse=True)
def own_models(monkeypatch, tmp_path):
    """Adapters of nobody else."""
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


def ended(client, job):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        shown = client.get(f"/v1/jobs/{job}").json()
        if shown["state"] not in ("queued", "running"):
            return shown
        time.sleep(0.02)
    raise AssertionError(shown)


@pytest.fixture
def dataset(client, wav):
    """A dataset of two clips; the first has labels."""
    client.post("/v1/datasets", json={"name": "soul"})
    handles = [client.post("/v1/uploads", files={"file": ("x.wav", wav)}).json()["id"] for _ in range(2)]
    labels = [{"caption": "warm soul", "bpm": 92, "filename": "one.wav"}, {}]
    for handle, own in zip(handles, labels):
        assert client.post("/v1/datasets/soul/clips", json={"clip": handle, "labels": own}).status_code == 201
    return "soul"


# ---- our own routes --------------------------------------------------------------------------------------------------


def test_a_dataset_is_sent_clip_by_clip_and_labelled_row_by_row(client, dataset, wav):
    first, second = client.get("/v1/datasets/soul").json()["clips"]
    assert (first["caption"], first["bpm"], first["labelled"], first["file"]) == ("warm soul", 92, True, "one.wav")
    assert second["labelled"] is False and client.get(second["audio"]).content == wav
    place = second["audio"].removesuffix("/audio")
    changed = client.put(place, json={"caption": "slow jam", "keyScale": "C Major", "repeat": 2}).json()
    assert (changed["caption"], changed["key"], changed["labelled"]) == ("slow jam", "C Major", True)
    assert client.put(place, json={"repeat": None}).json().get("repeat") is None
    for wrong in (
        {"bpm": 900},
        {"caption": 7},
        {"mood": "warm"},
        {"regions": "x"},
        {"caption": ["x"] * 3, "repeat": -1},
    ):
        answer = client.put(place, json=wrong)
        assert answer.status_code == 400, wrong
    assert client.get("/v1/datasets").json() == {"datasets": [{"name": "soul", "clips": 2}]}
    assert client.delete(place).json()["removed"] is True and client.get(place + "/audio").status_code == 404
    assert client.delete("/v1/datasets/soul").json()["removed"] is True
    assert client.get("/v1/datasets/soul").status_code == 404


def test_no_name_is_a_path(client, dataset, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for name in BAD_NAMES:
        refused_everywhere(client, name)
    assert sorted(tmp_path.rglob("*")) == before


def refused_everywhere(client, name):
    train = {"kind": "train_lora", "dataset": "soul", "name": "x", "model": "tiny-s"}
    for given in ({**train, "name": name}, {**train, "dataset": name}, {**train, "model": name or "/etc"}):
        assert client.post("/v1/jobs", json=given).status_code == 400
    for path, field in {
        "/v1/datasets": "name",
        "/v1/dataset/scan": "audio_dir",
        "/v1/dataset/load": "dataset_path",
        "/v1/lora/load": "lora_path",
        "/v1/training/export": "lora_output_dir",
    }.items():
        answer = client.post(path, json={field: name})
        assert answer.status_code in (400, 404) and "root:" not in answer.text, path
    assert client.post("/v1/datasets/soul/clips", json={"clip": name}).status_code == 400


MISTAKES = [
    ({"dataset": "none"}, "dataset: there is none of the name 'none'"),
    ({"model": "tiny"}, "model: tiny is a whole cascade"),
    ({"settings": {"rank": "many"}}, "rank: got 'many'"),
    ({"settings": {"rank": 10_000}}, "rank: got 10000, expected something like 16, at most 512"),
    ({"settings": {"steps": True}}, "steps: got True"),
    ({"settings": {"stepz": 1}}, "unknown setting 'stepz' (did you mean steps?)"),
    ({"settings": {"targets": ["all"]}}, "targets: got 'all'"),
    ({"settings": {"learning_rate": -1}}, "learning rate: got -1"),
    ({"trigger": 7}, "trigger: got 7"),
    ({"epochs": 3}, "unknown field 'epochs'"),
    ({"preserve_captions": ["folk"]}, "got some and no settings.preserve"),
    ({"settings": {"preserve": 0.5}, "preserve_captions": []}, "expected a list of 1 to 1000 captions"),
    ({"settings": {"preserve": 0.5}, "preserve_captions": [7]}, "caption: got 7"),
    ({"preview_every": -1}, "preview_every: got -1, expected a whole number from 0"),
    ({"keep": 0}, "keep: got 0, expected a whole number from 1"),
    ({"dtype": "int4"}, "dtype: got 'int4', expected one of fp32, bf16"),
    ({"vocoder": "/etc/passwd"}, "vocoder: got '/etc/passwd'"),
]


def test_mistakes_of_trainings_are_named_at_once(client, dataset):
    for given, message in MISTAKES:
        asked = {"kind": "train_lora", "dataset": dataset, "name": "soul", "model": "tiny-s", **given}
        answer = client.post("/v1/jobs", json=asked)
        assert answer.status_code in (400, 404) and message in answer.json()["error"]["message"]


def test_a_training_is_a_job_like_others(client, dataset):
    asked = {"kind": "train_lora", "dataset": dataset, "name": "warm", "model": "tiny-s", "settings": {"steps": 4}}
    job = client.post("/v1/jobs", json=asked)
    assert job.status_code == 202 and job.json()["title"] == "warm, an adapter of tiny-s"
    assert ended(client, job.json()["id"])["answer"] == {"made": "warm, an adapter of tiny-s"}
    assert client.get("/v1/loras/warm").status_code == 404  # this maker trains nothing


# ---- a real training -------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(make_server, tiny_family, make_sound):  # noqa: F811
    """(a server whose own model is tiny, a request of a training on four clips of 2 s)"""
    model = str(tiny_family / "s")
    server = make_server(defaults=GenerationSettings(models=model))
    datasets = server.requests.training.datasets
    datasets.create("soul")
    for number in range(4):
        upload = server.uploads.put(io.BytesIO(make_sound(10 + number)))
        datasets.add("soul", upload.path, {"caption": f"soul {number}", "bpm": 90, "key": "A minor"})
    settings = {"steps": 4, "rank": 2, "accumulate": 1, "warm_up": 1, "crop_seconds": 1.0, "hold_out": 0.0}
    return server, {"kind": "train_lora", "dataset": "soul", "name": "warm", "model": model, "settings": settings}


def steps_of(server, given):
    return SongMaker(LibraryShelf(server.requests), Machine("cpu")).steps(server.requests.order(given))


def test_a_cancelled_training_resumes_and_songs_wear_its_adapter(asked, client_for):
    server, given = asked
    steps, losses = steps_of(server, given), []
    for event in steps:
        losses += [event.loss] if event.phase == "training" else []
        if len(losses) == 2:
            break
    steps.close()  # as the queue cancels
    [row] = [row for row in server.requests.training.loras() if row["name"] == "warm"]
    assert (row["steps"], row["finished"], row["trained_here"]) == (2, False, True)
    events = list(steps_of(server, given))
    resumed = [event.step for event in events[:-1] if event.phase == "training"]
    assert resumed == [3, 4] and events[-2].share == 1
    assert events[-1].answer["steps"] == 4 and events[-1].answer["loss"] > 0
    assert [row[0] for row in server.requests.training.losses("warm")] == [1, 2, 3, 4]
    order = server.requests.order({"song": {"caption": "x"}, "settings": {"lora": ["warm:0.5"]}})
    assert order.settings[0].lora == ("warm:0.5",)
    client = client_for(server)
    shown = client.get("/v1/loras/warm").json()
    assert shown["finished"] and [loss[1] for loss in shown["losses"][:2]] == pytest.approx(losses, abs=1e-6)
    assert client.get("/v1/loras/warm/file").content[8:9] == b"{"
    with pytest.raises(UserError, match="4 steps of warm are trained already"):
        server.requests.order({**given, "settings": {**given["settings"], "steps": 3}})
    assert client.delete("/v1/loras/warm").json()["removed"] is True and client.get("/v1/loras/warm").status_code == 404


def test_a_training_makes_previews_and_preserves_what_the_base_plays(asked, client_for):
    server, given = asked
    given = {**given, "preserve_captions": ["folk", {"caption": "techno", "bpm": 130}], "preview_every": 2}
    given["settings"] = {**given["settings"], "steps": 2, "preserve": 0.5}
    order = server.requests.order(given)
    assert [(song.caption, song.seconds) for song in order.songs] == [("folk", 10), ("techno", 10)]
    events = list(SongMaker(LibraryShelf(server.requests), Machine("cpu")).steps(order))
    assert "made song 2 of 2 of the model's own" in [getattr(event, "phase", "") for event in events]
    [early] = [event for event in events if isinstance(event, Preview)]
    client = client_for(server)
    assert client.get("/v1/loras/warm").json()["previews"] == [0, 2]
    assert client.get("/v1/loras/warm/previews/2").content == early.data
    without = client.get("/v1/loras/warm/previews/0").content
    assert without[:4] == b"fLaC" and without != early.data
    assert client.get("/v1/loras/warm/previews/1").status_code == 404
    without_captions = {name: value for name, value in given.items() if name != "preserve_captions"}
    assert len(server.requests.order({**without_captions, "name": "x"}).songs) > 20  # many styles


@pytest.fixture
def client_for(connect):
    return lambda server: connect(server)


def test_a_planner_labels_what_has_no_labels(asked, monkeypatch):
    server, _ = asked
    datasets = server.requests.training.datasets
    bare, odd, *_ = datasets.rows("soul")
    for row in (bare, odd):
        datasets.label("soul", row.id, {"caption": None, "bpm": None})
    released = []

    class Heard:
        @classmethod
        def load(cls, name, device):
            return cls()

        def release(self):
            released.append(True)

    def heard(row, *given):
        if row.id == odd.id:
            raise UserError("the music is silent")
        datasets.label("soul", row.id, {"lyrics": "what a user types meanwhile"})
        return Song("slow piano", "la", bpm=70, key="C major", seconds=10)

    monkeypatch.setattr("acestep_pack.acestep_core.planner.planner.Planner", Heard)
    monkeypatch.setattr(training_making, "_heard", heard)
    order = training_making.LabelOrder("soul", None, "tiny", 1)
    *_, made = training_making.label_steps(order, datasets, Machine("cpu"))
    assert made.answer == {"dataset": "soul", "labelled": 1, "of": 2} and released == [True]
    labels = datasets.row("soul", bare.id).labels
    assert (labels["caption"], labels["bpm"], labels["key"]) == ("slow piano", 70, "A minor")  # its own key stays
    assert labels["lyrics"] == "what a user types meanwhile"
    assert "caption" not in datasets.row("soul", odd.id).labels


# ---- the original's --------------------------------------------------------------------------------------------------


def data(answer):
    assert answer.status_code == 200 and answer.json()["code"] == 200, answer.text
    return answer.json()["data"]


def test_a_client_of_the_original_prepares_trains_and_exports(client, server, dataset):
    scanned = data(client.post("/v1/dataset/scan", json={"audio_dir": "./soul", "custom_tag": "zz"}))
    assert scanned["num_samples"] == 2 and scanned["samples"][0]["filename"] == "one.wav"
    sample = {"caption": "slow jam", "keyscale": "C major", "timesignature": "4", "is_instrumental": True, "bpm": 80}
    assert data(client.put("/v1/dataset/sample/1", json={"sample_idx": 1, **sample}))["sample"]["labeled"] is True
    assert data(client.get("/v1/dataset/sample/1"))["keyscale"] == "C major"
    assert len(data(client.get("/v1/dataset/samples"))["samples"]) == 2
    prepared = data(client.post("/v1/dataset/preprocess_async", json={"output_dir": "./tensors"}))
    done = data(client.get(f"/v1/dataset/preprocess_status/{prepared['task_id']}"))
    assert (prepared["num_tensors"], done["status"]) == (2, "completed")
    assert data(client.post("/v1/training/load_tensor_info", json={"tensor_dir": "tensors"}))["dataset_name"] == "soul"
    assert data(client.get("/v1/training/status"))["is_training"] is False
    given = {"tensor_dir": "./tensors", "lora_output_dir": "./warm", "lora_rank": 8, "lora_alpha": 16}
    given |= {"train_epochs": 6, "gradient_accumulation": 1, "training_seed": 42, "save_every_n_epochs": 2}
    started = data(client.post("/v1/training/start", json=given))
    order = server.queue.get(started["run_id"]).order
    assert (order.name, order.settings.steps, order.settings.rank, order.settings.alpha) == ("warm", 12, 8, 16)
    assert (order.settings.seed, order.intervals.save, order.model) == (42, 4, "tiny-l")
    ended(client, started["run_id"])
    assert data(client.get("/v1/training/status"))["status"] == "Done"
    lokr = {"tensor_dir": "tensors", "output_dir": "lokr", "lokr_linear_dim": 4, "train_epochs": 1}
    run = data(client.post("/v1/training/start_lokr", json=lokr))["run_id"]
    assert server.queue.get(run).order.settings.kind == "lokr"
    ended(client, run)
    assert data(client.post("/v1/training/stop"))["message"] == "No training in progress"
    unknown = client.post("/v1/training/load_tensor_info", json={"tensor_dir": "nothing"})
    assert unknown.status_code == 404 and "dataset" in unknown.json()["detail"]


def test_the_originals_adapters_are_worn_in_all_its_tasks(client, server):
    name = "tiny-l-chiptune"
    assert name in [row["name"] for row in client.get("/v1/loras").json()["loras"]]
    assert data(client.get("/v1/lora/status"))["lora_loaded"] is False
    assert (
        data(client.post("/v1/lora/load", json={"lora_path": name, "adapter_name": "main"}))["adapter_name"] == "main"
    )
    assert data(client.post("/v1/lora/scale", json={"scale": 0.5}))["adapter_name"] == "main"
    status = data(client.get("/v1/lora/status"))
    assert (status["lora_loaded"], status["lora_scale"], status["adapters"]) == (True, 0.5, ["main"])

    def worn():
        task = data(client.post("/release_task", json={"prompt": "x", "batch_size": 1}))["task_id"]
        return server.queue.get(task).order.settings[0].lora

    assert worn()[0].endswith(":0.5") and name in worn()[0]
    data(client.post("/v1/lora/toggle", json={"use_lora": False}))
    assert worn() is None
    data(client.post("/v1/lora/unload"))
    assert data(client.get("/v1/lora/status"))["adapters"] == []


def test_labels_by_what_is_no_planner_are_refused(asked):
    server, _ = asked
    for wrong in (5, ["x"], {"a": 1}, "/etc/passwd"):
        with pytest.raises(UserError, match="planner: got"):
            server.requests.training.label({"kind": "label", "dataset": "soul", "planner": wrong})

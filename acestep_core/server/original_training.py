"""The original's routes of adapters, datasets and trainings, for its clients. Where it takes paths, we take names."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from ..checkpoints.cascade_models import find_cascade
from ..errors import UserError, shown
from .answers import json_body
from .body_schemas import body_docs
from .datasets import ClipRow, Datasets
from .fields import name_of
from .jobs import DONE, QUEUED, RUNNING, Job
from .original_requests import Fields
from .original_routes import envelope
from .server import Server

LOSSES_SHOWN = 200
_STATES = {QUEUED: "pending", RUNNING: "running", DONE: "completed"}
_DATASET = {"audio_dir": "my-style", "custom_tag": "zzsoul", "tag_position": "prepend"}
_TRAINING = {"tensor_dir": "my-style", "lora_output_dir": "soul", "lora_rank": 16, "train_epochs": 100}
_LOKR = {"tensor_dir": "my-style", "output_dir": "soul", "lokr_linear_dim": 16, "train_epochs": 100}
# The original's field of a label -> ours.
_LABELS = {"keyscale": "key", "timesignature": "time_signature", "is_instrumental": "instrumental"}
_EPOCHS, _EPOCHS_LOKR, _WARM_UP = 10, 500, 50


@dataclass
class _State:
    """What clients of the original have chosen: they name it once, and then no longer."""

    dataset: str | None = None
    tensors: dict[str, str] = field(default_factory=dict)  # the name of prepared clips -> their dataset
    jobs: dict[str, str] = field(default_factory=dict)  # "label" or "train" -> the id of the last job
    training: dict = field(default_factory=dict)  # the config of the last training


def name_from(fields: Fields, name: str, shown_as: str, usual: str | None = None) -> str:
    """A name where the original has a path; ./NAME is one too. Raises UserError for any other path."""
    given = fields.get(name, usual)
    text = given.removeprefix("./").rstrip("/").removesuffix(".json") if isinstance(given, str) else given
    return name_of({shown_as: text}, shown_as)


def original_training_routes(server: Server) -> APIRouter:
    """Routes as the original's server has them. Each answers in its envelope."""
    router, training = APIRouter(tags=["the original's"]), OriginalTraining(server)

    def post(path: str, act: Callable[[Fields], object], summary: str, example: Mapping) -> None:
        async def route(request: Request) -> dict:
            fields = Fields.of(await json_body(request))
            return envelope(await run_in_threadpool(act, fields))

        extra = body_docs({"application/json": example})
        router.add_api_route(path, route, methods=["POST"], summary=summary, openapi_extra=extra, name=path)

    def get(path: str, act: Callable, summary: str) -> None:
        router.add_api_route(path, act, methods=["GET"], summary=summary, name=path)

    def states(path: str, jobs: str) -> None:
        get(path, lambda: envelope(training.task(jobs)), "How far that is")
        get(f"{path}/{{task}}", lambda task: envelope(training.task(jobs, task)), "How far a task is")

    for path, (act, summary, example) in training.posts().items():
        post(path, act, summary, example)
    get("/v1/lora/status", lambda: envelope(server.used.status()), "Which adapters are in use")
    get("/v1/dataset/samples", lambda: envelope(training.samples()), "The clips of the dataset")
    states("/v1/dataset/auto_label_status", "label")
    states("/v1/dataset/preprocess_status", "prepare")
    get("/v1/dataset/sample/{number}", lambda number: envelope(training.sample(number)), "A clip by its number")
    get("/v1/training/status", lambda: envelope(training.status()), "How far the training is")

    extra = body_docs({"application/json": {"caption": "warm soul", "keyscale": "A minor"}})

    @router.put("/v1/dataset/sample/{number}", summary="Labels of a clip", openapi_extra=extra)
    async def label(number: str, request: Request) -> dict:
        given = await json_body(request)
        return envelope(await run_in_threadpool(training.label, number, given))

    return router


class OriginalTraining:
    """What the original's routes of training do here."""

    def __init__(self, server: Server):
        self._server, self._state, self._training = server, _State(), server.requests.training

    @property
    def _datasets(self) -> Datasets:
        return self._training.datasets

    def posts(self) -> Mapping[str, tuple[Callable[[Fields], object], str, Mapping]]:
        """Path -> (what it does, its summary, an example)"""
        labels = (self.auto_label, "Queue a job: a planner labels the clips", {"only_unlabeled": True})
        prepare = (self.prepare, "Name the clips for a training, which prepares them itself", {"output_dir": "tensors"})
        return {
            "/v1/lora/load": (self.load_lora, "Use an adapter in all tasks", {"lora_path": "soul"}),
            "/v1/lora/unload": (self.unload_lora, "Use no adapters", {}),
            "/v1/lora/toggle": (self.switch_lora, "Switch the adapters on or off", {"use_lora": True}),
            "/v1/lora/scale": (self.scale_lora, "The strength of an adapter", {"scale": 0.8}),
            "/v1/dataset/scan": (self.scan, "Choose a dataset", _DATASET),
            "/v1/dataset/load": (self.load, "Choose a dataset", {"dataset_path": "my-style"}),
            "/v1/dataset/save": (self.save, "Nothing: labels are saved as they are given", {"save_path": "my-style"}),
            "/v1/dataset/auto_label": labels,
            "/v1/dataset/auto_label_async": labels,
            "/v1/dataset/preprocess": prepare,
            "/v1/dataset/preprocess_async": prepare,
            "/v1/training/load_tensor_info": (self.tensors, "The clips of a name", {"tensor_dir": "tensors"}),
            "/v1/training/start": (self.start, "Queue a training of a LoRA", _TRAINING),
            "/v1/training/start_lokr": (self.start_lokr, "Queue a training of a LoKr", _LOKR),
            "/v1/training/stop": (self.stop, "Stop the training; an equal one resumes it", {}),
            "/v1/training/export": (
                self.export,
                "The finished adapter",
                {"lora_output_dir": "soul", "export_path": "x"},
            ),
        }

    # ---- adapters ----------------------------------------------------------------------------------------------------

    def load_lora(self, fields: Fields) -> dict:
        given = fields.get("lorapath")
        path = given.removeprefix("./") if isinstance(given, str) else given
        name = fields.get("adaptername")
        name = self._server.used.load(path, None if name is None else name_of({"adapter_name": name}, "adapter_name"))
        return {"message": f"adapter {name} is used", "lora_path": path, "adapter_name": name}

    def unload_lora(self, fields: Fields) -> dict:
        self._server.used.unload()
        return {"message": "no adapter is used"}

    def switch_lora(self, fields: Fields) -> dict:
        self._server.used.switch(fields.is_on("uselora", True))
        return {"message": "switched", "use_lora": self._server.used.status()["use_lora"]}

    def scale_lora(self, fields: Fields) -> dict:
        strength, name = fields.number("scale", 1.0), fields.get("adaptername")
        if not 0 <= strength <= 10:
            raise UserError(f"scale: got {strength:g}, expected 0 to 10")
        name = self._server.used.scale(strength, None if name is None else str(name))
        return {"message": f"{name}: {strength:g}", "scale": strength, "adapter_name": name}

    # ---- datasets ----------------------------------------------------------------------------------------------------

    def scan(self, fields: Fields) -> dict:
        """Chooses a dataset, and writes what holds for all of its clips into their labels."""
        self._state.dataset = self._known(name_from(fields, "audiodir", "audio_dir"))
        tag = fields.get("customtag")
        more = (
            {} if tag is None else {"custom_tag": str(tag), "tag_position": str(fields.get("tagposition", "prepend"))}
        )
        more |= {"instrumental": True} if fields.is_on("allinstrumental") else {}
        if more:
            for row in self._rows():
                self._datasets.label(self._state.dataset, row.id, more)
        return self._chosen()

    def load(self, fields: Fields) -> dict:
        self._state.dataset = self._known(name_from(fields, "datasetpath", "dataset_path"))
        return self._chosen()

    def save(self, fields: Fields) -> dict:
        self._rows()
        return {"message": "labels are saved as they are given", "save_path": self._state.dataset}

    def _known(self, name: str) -> str:
        return self._datasets.path(name).name

    def _rows(self) -> list[ClipRow]:
        if self._state.dataset is None:
            raise UserError("dataset: none is chosen; send /v1/dataset/scan with audio_dir, the name of a dataset")
        return self._datasets.rows(self._state.dataset)

    def _chosen(self) -> dict:
        rows = self._rows()
        shown = {"num_samples": len(rows), "labeled_count": sum(row.is_labelled for row in rows)}
        message = f"{self._state.dataset}: {len(rows)} clips"
        return {"message": message, "dataset_name": self._state.dataset, **shown, **self.samples()}

    def samples(self) -> dict:
        """The clips of the dataset that was chosen."""
        rows = self._rows()
        return {"samples": [_sample(number, row) for number, row in enumerate(rows)], "num_samples": len(rows)}

    def sample(self, number: str) -> dict:
        return _sample(int(number), self._row(number))

    def _row(self, number: str) -> ClipRow:
        rows = self._rows()
        if not number.isdecimal() or int(number) >= len(rows):
            raise UserError(f"sample: got {shown(number)}, expected 0 to {len(rows) - 1}")
        return rows[int(number)]

    def label(self, number: str, given: Mapping) -> dict:
        """Labels of a clip by its number, as the original names them."""
        unused = ("sample_idx", "prompt_override", "raw_lyrics", "formatted_lyrics", "labeled")
        labels = {_LABELS.get(name, name): value for name, value in given.items() if name not in unused}
        labels = {name: None if value == "" else value for name, value in labels.items()}
        row = self._datasets.label(self._state.dataset or "", self._row(number).id, labels)
        return {"message": "saved", "sample": _sample(int(number), row)}

    def auto_label(self, fields: Fields) -> dict:
        rows = self._rows()
        given = {"dataset": self._state.dataset, "all": not fields.is_on("onlyunlabeled")}
        given |= {"planner": fields.get("lmmodelpath"), "models": fields.get("model")}
        job = self._queued("label", self._training.label(given))
        return {"task_id": job.id, "message": "queued", "total": len(rows)}

    def prepare(self, fields: Fields) -> dict:
        """Clips are prepared as their training begins; here they get the name by which it asks for them."""
        rows, name = self._rows(), name_from(fields, "outputdir", "output_dir", self._state.dataset)
        self._state.tensors[name] = self._state.dataset
        self._state.jobs["prepare"] = name
        shown = {"task_id": name, "message": "clips are prepared as the training begins", "output_dir": name}
        return {**shown, "status": "completed", "num_tensors": len(rows), "total": len(rows)}

    def task(self, kind: str, task: str | None = None) -> dict:
        """How far labels or preparation are; `idle` where there was none."""
        last = self._state.jobs.get(kind)
        if last is None or kind == "prepare":
            status = "idle" if last is None else "completed"
            return {"task_id": last, "status": status, "progress": status, "current": 0, "total": 0}
        job = self._server.queue.get(task or last)
        step, of = (job.progress.step, job.progress.of) if job.progress else (0, 0)
        shown = {"task_id": job.id, "status": _STATES.get(job.state, "failed"), "progress": f"{step} / {of}"}
        return {**shown, "current": step, "total": of, "result": job.made[0] if job.made else None, "error": job.error}

    # ---- trainings ---------------------------------------------------------------------------------------------------

    def tensors(self, fields: Fields) -> dict:
        name = self._dataset_of(fields)
        return {"dataset_name": name, "num_samples": len(self._datasets.rows(name)), "message": f"{name}: found"}

    def _dataset_of(self, fields: Fields) -> str:
        name = name_from(fields, "tensordir", "tensor_dir", self._state.dataset)
        return self._known(self._state.tensors.get(name, name))

    def start(self, fields: Fields) -> dict:
        adapter = {"rank": fields.whole("lorarank", 16), "alpha": fields.number("loraalpha")}
        adapter |= {"dropout": fields.number("loradropout", 0.0), "kind": "lora"}
        return self._start(
            fields, name_from(fields, "loraoutputdir", "lora_output_dir", "lora_output"), adapter, _EPOCHS
        )

    def start_lokr(self, fields: Fields) -> dict:
        adapter = {"rank": fields.whole("lokrlineardim", 16), "alpha": fields.number("lokrlinearalpha"), "kind": "lokr"}
        return self._start(fields, name_from(fields, "outputdir", "output_dir", "lokr_output"), adapter, _EPOCHS_LOKR)

    def _start(self, fields: Fields, name: str, adapter: Mapping, epochs: int) -> dict:
        if (running := self._job("train")) is not None and not running.has_ended:
            raise UserError("training: one is under way already; stop it with /v1/training/stop, or wait")
        dataset = self._dataset_of(fields)
        accumulate = max(1, fields.whole("gradientaccumulation", 4)) * max(1, fields.whole("trainbatchsize", 1))
        epoch = -(-len(self._datasets.rows(dataset)) // accumulate)
        steps = max(1, fields.whole("trainepochs", epochs) * epoch)
        settings = {**adapter, "steps": steps, "accumulate": accumulate, "warm_up": min(_WARM_UP, steps // 10)}
        settings |= {"learning_rate": fields.number("learningrate"), "seed": fields.whole("trainingseed")}
        settings |= {"gradient_checkpointing": fields.is_on("gradientcheckpointing")}
        given = {"dataset": dataset, "name": name, "model": fields.get("model", self._usual_model())}
        given |= {"settings": settings, "save_every": max(1, fields.whole("saveeverynepochs", 5) * epoch)}
        job = self._queued("train", self._training.train_lora(given))
        self._state.training = {**given, "steps_of_an_epoch": epoch}
        shown = {"message": "queued", "run_id": job.id, "tensor_dir": dataset, "output_dir": name}
        return {**shown, "config": self._state.training}

    def _usual_model(self) -> str:
        """The first stage of the server's own cascade: the original has one model, and this one makes the form."""
        return find_cascade(**self._server.requests.defaults.model_names).stages[0].name

    def status(self) -> dict:
        """How far the last training is."""
        job = self._job("train")
        if job is None:
            return {"is_training": False, "status": "Idle", "current_step": 0, "current_epoch": 0, "loss_history": []}
        step, of, phase = (job.progress.step, job.progress.of, job.progress.phase) if job.progress else (0, 0, "")
        losses = self._training.losses(self._state.training["name"])[-LOSSES_SHOWN:]
        rate = step / max(time.time() - (job.started or time.time()), 1e-6)
        return {
            "is_training": not job.has_ended,
            "should_stop": job.cancelled,
            "status": f"{job.state}: {phase}" if phase and not job.has_ended else job.state.capitalize(),
            "run_id": job.id,
            "current_step": step,
            "total_steps": of,
            "current_epoch": step // self._state.training["steps_of_an_epoch"],
            "current_loss": losses[-1][1] if losses else None,
            "loss_history": [{"step": row[0], "loss": row[1]} for row in losses],
            "steps_per_second": round(rate, 4),
            "estimated_time_remaining": round((of - step) / rate, 1) if rate and step else 0.0,
            "config": self._state.training,
            "error": job.error,
        }

    def stop(self, fields: Fields) -> dict:
        job = self._job("train")
        if job is None or job.has_ended:
            return {"message": "No training in progress"}
        self._server.queue.cancel(job.id)
        return {"message": "Stopping training..."}

    def export(self, fields: Fields) -> dict:
        """Where the finished adapter is found: it is a file that songs may name, and clients may fetch."""
        name = name_from(fields, "loraoutputdir", "lora_output_dir", self._state.training.get("name"))
        self._training.file(name)
        return {"message": f"{name} is finished", "export_path": f"/v1/loras/{name}/file", "lora_path": name}

    def _queued(self, kind: str, order) -> Job:
        [job] = self._server.queue.submit(order)
        self._state.jobs[kind] = job.id
        return job

    def _job(self, kind: str) -> Job | None:
        job_id = self._state.jobs.get(kind)
        return None if job_id is None else self._server.queue.get(job_id)


def _sample(number: int, row: ClipRow) -> dict:
    """A clip as the original's clients read it."""
    labels = row.labels
    return {
        "index": number,
        "filename": labels.get("file") or row.path.name,
        "audio_path": row.id,
        "caption": labels.get("caption") or "",
        "genre": labels.get("genre") or "",
        "lyrics": labels.get("lyrics") or "",
        "bpm": labels.get("bpm"),
        "keyscale": labels.get("key") or "",
        "timesignature": labels.get("time_signature") or "",
        "language": labels.get("language") or "unknown",
        "is_instrumental": labels.get("instrumental") is True,
        "labeled": row.is_labelled,
    }

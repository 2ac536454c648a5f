"""Our own routes of trainings: datasets whose clips are sent and labelled row by row, and the adapters of trainings."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from .answers import job_json, json_body, post
from .body_schemas import HANDLE, LABEL_BODY, LABELS_OF_A_CLIP, body_docs, of_object
from .datasets import ClipRow
from .fields import name_of, object_of
from .server import Server

_CLIP = {"clip": "u_0123456789abcdef0123456789abcdef", "labels": {"caption": "warm soul, female voice", "bpm": 92}}
_LABELS = {"caption": "warm neo-soul with electric piano", "bpm": 92, "key": "A minor"}
_NAMED = of_object({"name": {"type": "string", "description": "letters, digits, - and _"}}, ("name",))
_LABEL_FIELDS = of_object(LABELS_OF_A_CLIP)
_CLIP_FIELDS = of_object({"clip": {"type": "string", "description": HANDLE}, "labels": _LABEL_FIELDS}, ("clip",))
_LABELLING = of_object({name: one for name, one in LABEL_BODY.items() if name not in ("kind", "dataset")})


def dataset_routes(server: Server, folders: Mapping[Path, str]) -> APIRouter:
    """Routes of datasets. A clip is the handle of an upload or of a song, as everywhere."""
    router, datasets = APIRouter(prefix="/v1/datasets", tags=["training"]), server.requests.training.datasets

    def shown(name: str) -> dict:
        rows = datasets.rows(name)
        return {"name": name, "clips": [clip_json(name, row) for row in rows]}

    def create(given: dict) -> JSONResponse:
        name = name_of(given, "name")
        datasets.create(name)
        return JSONResponse(shown(name), 201)

    @router.get("", summary="All datasets")
    def every() -> dict:
        return {"datasets": [{"name": name, "clips": len(datasets.rows(name))} for name in datasets.names()]}

    docs = body_docs({"application/json": {"name": "my-style"}}, _NAMED)
    post(router, "", create, docs=docs, summary="Begin a dataset", status=201)

    @router.get("/{name}", summary="A dataset: its clips with their labels")
    def dataset(name: str) -> dict:
        return shown(name)

    @router.delete("/{name}", summary="Remove a dataset with its clips")
    def remove(name: str) -> dict:
        datasets.remove(name)
        return {"name": name, "removed": True}

    @router.get("/{name}/clips/{clip}/audio", summary="A clip's sound")
    def sound(name: str, clip: str) -> FileResponse:
        return FileResponse(datasets.row(name, clip).path, headers={"x-content-type-options": "nosniff"})

    @router.delete("/{name}/clips/{clip}", summary="Remove a clip from a dataset")
    def remove_clip(name: str, clip: str) -> dict:
        datasets.remove_clip(name, clip)
        return {"id": clip, "removed": True}

    extra = body_docs({"application/json": _CLIP}, _CLIP_FIELDS)

    @router.post("/{name}/clips", summary="Put an upload, or a song, into a dataset", openapi_extra=extra)
    async def add(name: str, request: Request) -> JSONResponse:
        given = await json_body(request)

        def put() -> dict:
            sound = Path(server.requests.clip(given.get("clip")))
            return clip_json(name, datasets.add(name, sound, object_of(given, "labels")))

        return JSONResponse(await run_in_threadpool(put), 201)

    extra = body_docs({"application/json": _LABELS}, _LABEL_FIELDS)

    @router.put("/{name}/clips/{clip}", summary="Labels of a clip; null takes one away", openapi_extra=extra)
    async def label(name: str, clip: str, request: Request) -> dict:
        given = await json_body(request)
        return clip_json(name, await run_in_threadpool(datasets.label, name, clip, given))

    extra = body_docs({"application/json": {"models": "published", "all": False}}, _LABELLING)

    @router.post("/{name}/label", summary="Queue a job: a planner labels the clips", openapi_extra=extra)
    async def label_all(name: str, request: Request) -> JSONResponse:
        given = {**await json_body(request), "dataset": name}
        [job] = server.queue.submit(await run_in_threadpool(server.requests.training.label, given))
        return JSONResponse(job_json(job, server.queue, folders), 202, {"location": f"/v1/jobs/{job.id}"})

    return router


def clip_json(dataset: str, row: ClipRow) -> dict:
    """A clip as clients see it."""
    return {**row.shown(), "audio": f"/v1/datasets/{dataset}/clips/{row.id}/audio"}


def lora_routes(server: Server) -> APIRouter:
    """Routes of adapters. They are trained by jobs of the kind train_lora."""
    router, training = APIRouter(prefix="/v1/loras", tags=["training"]), server.requests.training

    @router.get("", summary="Adapters that songs may name, and trainings that are not finished")
    def every() -> dict:
        return {"loras": training.loras()}

    @router.get("/{name}", summary="An adapter, with the losses of its training, and the steps of its previews")
    def lora(name: str) -> dict:
        return training.lora(name)

    @router.get("/{name}/file", summary="The file of an adapter that was trained here")
    def file(name: str) -> FileResponse:
        return FileResponse(training.file(name), filename=f"{name}.safetensors", media_type="application/octet-stream")

    @router.get("/{name}/previews/{step}", summary="The song of a step of its training; step 0: without the adapter")
    def preview(name: str, step: str) -> FileResponse:
        return FileResponse(training.preview(name, step), media_type="audio/flac")

    @router.delete("/{name}", summary="Remove an adapter that was trained here, and its checkpoints")
    def remove(name: str) -> dict:
        training.remove(name)
        return {"name": name, "removed": True}

    return router

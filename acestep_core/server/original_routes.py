"""The original's routes, for its clients: their fields, their envelope, and their key in the body."""

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from ..errors import UserError
from ..json_text import parse_json
from .answers import ended, json_body, without_places
from .body_schemas import body_docs
from .job_routes import audio_file
from .jobs import CANCELLED, DONE, FAILED, LOST, QUEUED, RUNNING, Job, NoSuchJob
from .library import SONG_ID, NoSuchSong
from .openai_routes import model_list
from .original_requests import OriginalRequests
from .security import Access, key_of
from .server import Server

FILES = {"reference_audio": "reference_audio_path", "ref_audio": "reference_audio_path"}
FILES |= {"src_audio": "src_audio_path", "ctx_audio": "src_audio_path"}
KEY_FIELD = "ai_token"
TASKS_MOST = 200  # of one query
SAMPLE_SECONDS = 30.0
_JSON, _FORM, _MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
_TASK = {"prompt": "upbeat pop song", "lyrics": "[Verse]\nHello world", "audio_duration": 30, "batch_size": 1}
_STATUS = {DONE: 1, FAILED: 2, CANCELLED: 2, LOST: 2}


def original_routes(server: Server, access: Access, folders: Mapping[Path, str], version: str) -> APIRouter:
    """Routes as the original's REST server has them."""
    router, queue = APIRouter(tags=["the original's"]), server.queue
    reader = OriginalRequests(server.requests, server.used)

    async def body(request: Request) -> dict:
        given = await _fields(request, server)
        key = key_of(request.headers) or given.pop(KEY_FIELD, None)
        given.pop(KEY_FIELD, None)
        if not access.has_key(None if key is None else str(key)):
            raise HTTPException(401, "key: is missing or wrong; send ai_token, or the header Authorization: Bearer KEY")
        return given

    def post(path: str, example: Mapping, summary: str):
        extra = body_docs({_JSON: example, _MULTIPART: example})
        return router.post(path, summary=summary, openapi_extra=extra)

    @post("/release_task", _TASK, "Queue a task")
    async def release_task(request: Request) -> dict:
        order, said = await run_in_threadpool(reader.task, await body(request))
        [job] = queue.submit(order)
        job.notes.extend(said)
        return envelope({"task_id": job.id, "status": "queued", "queue_position": queue.place(job) or 0})

    @post("/query_result", {"task_id_list": ["j_0123456789abcdef"]}, "The states and results of tasks")
    async def query_result(request: Request) -> dict:
        return envelope([_result(server, folders, one) for one in _task_ids(await body(request))])

    @post("/format_input", {"prompt": "pop rock", "lyrics": "Walking down the street"}, "Words written anew")
    async def format_input(request: Request) -> dict:
        order = await run_in_threadpool(reader.format_input, await body(request))
        [job] = queue.submit(order)
        await ended(job, queue, request)
        return envelope(_described(job.made[0]["song"]))

    @post("/create_random_sample", {"sample_type": "simple_mode"}, "Words of a song that could be")
    async def create_random_sample(request: Request) -> dict:
        await body(request)
        return envelope(_described(await run_in_threadpool(random_song)))

    @router.get("/v1/audio", summary="The file of a result, by the handle in its address")
    def audio(path: str) -> FileResponse:
        handle = path.partition(".")[0]
        if not SONG_ID.fullmatch(handle):
            raise NoSuchSong("path: is no handle of a song; take the address of the result as it is")
        return audio_file(server, handle)

    @router.get("/v1/models", summary="Models that are here; in OpenAI's form for its clients")
    def models(request: Request) -> dict:
        if _is_openai(request):
            return model_list(server)
        names, inventory = server.models(), server.inventory()
        listed = [{"name": name, "is_default": name == server.default_model} for name in names]
        more = {name: inventory[name] for name in ("planners", "adapters")}
        return envelope({"models": listed, "default_model": server.default_model, **more})

    @router.get("/v1/stats", summary="How many jobs there are, and how long they take")
    def stats() -> dict:
        counts = queue.counts()
        jobs = {"total": sum(counts.values()), "queued": counts[QUEUED], "running": counts[RUNNING]}
        jobs |= {"succeeded": counts[DONE], "failed": counts[FAILED] + counts[LOST], "cancelled": counts[CANCELLED]}
        size = {"queue_size": counts[QUEUED], "queue_maxsize": queue.waiting_most}
        return envelope({"jobs": jobs, **size, "avg_job_seconds": round(queue.mean_seconds, 2)})

    @router.get("/health", summary="Whether the server is up; needs no key")
    def health() -> dict:
        return envelope({"status": "ok", "service": "acestep-cascade", "version": version})

    return router


def envelope(data: object) -> dict:
    """The form of all answers of the original."""
    return {"data": data, "code": 200, "error": None, "timestamp": int(time.time() * 1000), "extra": None}


def random_song() -> dict:
    """The words of a song that the band could play."""
    from dataclasses import asdict

    from ..band.caption import song_of
    from ..band.sketch import Sketch

    sketch = Sketch.draw(secrets.randbelow(2**31), SAMPLE_SECONDS)
    return asdict(song_of(sketch, complete=True))


async def _fields(request: Request, server: Server) -> dict:
    """The fields of a request in JSON or of a form, with files of a form as handles. Raises UserError."""
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind == _JSON:
        return await json_body(request)
    if kind not in (_FORM, _MULTIPART):
        raise HTTPException(415, f"request: got the content type {kind[:60]!r}, expected JSON or a form")
    async with request.form(max_files=2, max_fields=100) as form:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        for name, path in FILES.items():
            if name in form and not isinstance(form[name], str):
                fields[path] = (await run_in_threadpool(server.uploads.put, form[name].file)).id
    return fields


def _task_ids(given: Mapping) -> list[str]:
    ids = given.get("task_id_list", given.get("task_ids", given.get("task_id")))
    if isinstance(ids, str):
        ids = parse_json(ids, "task_id_list", remedy="send a list of ids") if ids.lstrip().startswith("[") else [ids]
    if not isinstance(ids, list) or len(ids) > TASKS_MOST:
        raise UserError(f"task_id_list: expected a list of at most {TASKS_MOST} ids")
    return [str(one) for one in ids]


def _result(server: Server, folders: Mapping[Path, str], task_id: str) -> dict:
    """A task as the original tells it: its results are JSON in a text."""
    try:
        job = server.queue.get(task_id)
    except NoSuchJob:
        return {"task_id": task_id, "status": 2, "result": "[]", "error": "there is no such task"}
    results = [_song(job, made) for made in job.made] if job.order.kind == "songs" else []
    error = job.error and without_places(job.error, folders)
    progress = {"progress": job.progress.share if job.progress else 0.0, "stage": job.progress and job.progress.phase}
    if not job.has_ended:
        results = [{"file": "", "status": 0, "create_time": int(job.created), **progress}]
    elif job.state != DONE and not results:
        results = [{"file": "", "status": 2, "create_time": int(job.created), "error": error or job.state}]
    status = _STATUS.get(job.state, 0)
    return {"task_id": task_id, "status": status, "result": json.dumps(results, ensure_ascii=False), "error": error}


def _song(job: Job, made: Mapping) -> dict:
    song, models = made["song"], made["models"]
    metas = {"bpm": song["bpm"], "duration": made["seconds"], "genres": "", "keyscale": song["key"] or ""}
    metas["timesignature"] = song["time_signature"] or ""
    stages = [name for slot, name in models.items() if slot not in ("text", "vocoder")]
    ending = made["file"].rpartition(".")[2]
    return {
        "file": f"/v1/audio?path={made['id']}.{ending}",
        "wave": "",
        "status": 1,
        "create_time": int(job.created),
        "env": "production",
        "prompt": song["caption"],
        "lyrics": song["lyrics"],
        "metas": metas,
        "generation_info": "; ".join((f"{made['made_in_seconds']} s", *job.notes)),
        "seed_value": str(made["seed"]),
        "lm_model": made["settings"].get("planner", ""),
        "dit_model": " > ".join(dict.fromkeys(stages)),
    }


def _described(song: Mapping) -> dict:
    return {
        "caption": song["caption"],
        "lyrics": song["lyrics"],
        "bpm": song["bpm"],
        "key_scale": song["key"] or "",
        "time_signature": song["time_signature"] or "",
        "duration": song["seconds"],
        "vocal_language": song["language"],
    }


def _is_openai(request: Request) -> bool:
    headers = request.headers
    return headers.get("user-agent", "").lower().startswith("openai") or "x-stainless-lang" in headers

"""What the routes share: bodies of requests read within bounds, errors as answers, jobs as JSON and as events."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import AceStepError, UserError
from ..json_text import parse_json_object
from .datasets import NoSuchDataset
from .jobs import DONE, Job, JobQueue, NoSuchJob, QueueFull
from .library import NoSuchSong
from .orders import SONGS
from .security import error_body
from .training_reader import NoSuchLora
from .uploads import TooLarge

POLL_SECONDS, KEEP_ALIVE_SECONDS = 0.1, 15.0
LISTED_MOST, LIST_POLL_SECONDS = 50, 0.25  # of events of all jobs
_FAILED = "failed: an unexpected error, of which the server's log has more"


class JobFailed(AceStepError):
    """A job, for whose end a client waited, did not end well."""


_STATUS = {NoSuchJob: 404, NoSuchSong: 404, NoSuchDataset: 404, NoSuchLora: 404, QueueFull: 429, TooLarge: 413}


async def json_body(request: Request) -> dict:
    """The object in the body of a request. Raises UserError."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"request: got the content type {kind[:60]!r}, expected application/json")
    return parse_json_object(await request.body() or b"{}", "request", remedy="send a JSON object")


def post(
    router: APIRouter, path: str, act: Callable[[dict], object], *, docs: dict, summary: str, status: int = 200
) -> None:
    """A route that takes a JSON object and answers with what `act`, in a thread, makes of it. `docs`: of its body."""

    async def route(request: Request):
        return await run_in_threadpool(act, await json_body(request))

    route.__name__ = act.__name__
    router.add_api_route(
        path, route, methods=["POST"], summary=summary, status_code=status, response_model=None, openapi_extra=docs
    )


def add_error_handlers(app: FastAPI, own_folders: Mapping[Path, str]) -> None:
    """Errors become answers: as the command line says them, without the places of this machine's folders."""

    def answer(request: Request, status: int, message: str) -> JSONResponse:
        headers = {"retry-after": "5"} if status == 429 else None
        return JSONResponse(error_body(request.url.path, status, without_places(message, own_folders)), status, headers)

    def library_error(request: Request, exc: Exception) -> JSONResponse:
        usual = 400 if isinstance(exc, UserError) else 500
        message = str(exc) if isinstance(exc, UserError | QueueFull | TooLarge | JobFailed) else f"failed: {exc}"
        return answer(request, next((code for kind, code in _STATUS.items() if isinstance(exc, kind)), usual), message)

    def http_error(request: Request, exc: Exception) -> JSONResponse:
        return answer(request, exc.status_code, str(exc.detail))

    def validation_error(request: Request, exc: Exception) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(request, 400, f"{where or 'request'}: {first['msg']}")

    app.add_exception_handler(AceStepError, library_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(Exception, lambda request, exc: answer(request, 500, _FAILED))


def own_folders(*named: tuple[Path, str]) -> dict[Path, str]:
    """Folders of this machine that messages do not show, each with what stands in its place; inner ones first."""
    usual = [(Path.cwd(), ""), (Path(os.path.expanduser("~")), "~/"), (Path(tempfile.gettempdir()), ""), _package()]
    folders = dict([*usual, *named])
    return dict(sorted(folders.items(), key=lambda pair: len(str(pair[0])), reverse=True))


def _package() -> tuple[Path, str]:
    return Path(__file__).resolve().parents[1], ""


def without_places(message: str, folders: Mapping[Path, str]) -> str:
    """A message whose paths below own folders are relative ones."""
    for folder, stand_in in folders.items():
        if len(folder.parts) > 1:
            message = message.replace(f"{folder}/", stand_in).replace(f"{folder}\\", stand_in)
    return message


def job_json(job: Job, queue: JobQueue, folders: Mapping[Path, str]) -> dict:
    """A job as clients see it."""
    shown = {name: value for name, value in job.record().items() if name != "made"}
    shown["notes"] = [without_places(note, folders) for note in job.notes]
    shown["error"] = job.error and without_places(job.error, folders)
    shown["progress"] = job.progress and vars(job.progress)
    shown |= {"place": queue.place(job), "cancelled": job.cancelled, "links": _links(job)}
    if job.order.kind == SONGS:
        return {**shown, "songs": [song_json(one) for one in job.made]}
    return {**shown, "answer": job.made[0] if job.made else None}


def song_json(made: Mapping) -> dict:
    """A finished song with the addresses of its sound, of its details, and of the times of its lyrics."""
    here = f"/v1/songs/{made['id']}"
    lrc = f"{here}/lrc" if made.get("lrc") else None
    return {**made, "audio": f"{here}/audio", "details": here, "lrc": lrc}


def _links(job: Job) -> dict:
    here = f"/v1/jobs/{job.id}"
    links = {"self": here, "events": f"{here}/events"}
    early = {"preview": job.preview, "sound": job.live}
    return links | {name: f"{here}/{name}" for name, there in early.items() if there}


async def job_versions(job: Job) -> AsyncIterator[bool]:
    """True whenever a job has changed, and False when it has not for a while; ends after the job has."""
    version, quiet = -1, 0.0
    while True:
        ended = job.has_ended  # before its version is read: nothing comes after the end
        if job.version != version:
            version, quiet = job.version, 0.0
            yield True
        elif quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield False
        if ended:
            return
        await asyncio.sleep(POLL_SECONDS)
        quiet += POLL_SECONDS


async def changed_jobs(queue: JobQueue) -> AsyncIterator[Job | None]:
    """The newest jobs, the oldest of them first, then each that has changed; None when none has for a while."""
    seen, quiet = {}, 0.0
    while True:
        newest = queue.jobs()[:LISTED_MOST]
        versions = {job.id: (job.version, queue.place(job), job.cancelled) for job in newest}
        changed = [job for job in reversed(newest) if seen.get(job.id) != versions[job.id]]
        seen, quiet = versions, 0.0 if changed else quiet + LIST_POLL_SECONDS
        for job in changed:
            yield job
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield None
        await asyncio.sleep(LIST_POLL_SECONDS)


async def ended(job: Job, queue: JobQueue, request: Request) -> Job:
    """The job once it has ended; it is cancelled where its client goes away. Raises AceStepError for any other end."""
    while not job.has_ended:
        if await request.is_disconnected():
            queue.cancel(job.id)
        await asyncio.sleep(POLL_SECONDS)
    if job.state != DONE:
        raise JobFailed(job.error or f"the job was {job.state}")
    return job


def event(name: str, data: object, number: int | None = None) -> str:
    """A server-sent event."""
    head = f"event: {name}\n" + (f"id: {number}\n" if number is not None else "")
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"

"""Our own job API: jobs and their events, songs of the library, uploads."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from ..audio.song_tags import TIMED_TAG, without_words
from ..audio.tags import read_tags
from ..errors import UserError
from .answers import changed_jobs, event, job_json, job_versions, post
from .body_schemas import JOB, body_docs, of_object
from .library import NoSuchSong, SongRow
from .server import Server

_EXAMPLE = {
    "song": {"caption": "warm lo-fi beat with piano", "seconds": 20, "bpm": 84, "key": "A minor"},
    "settings": {"models": "tiny", "seed": 7},
    "count": 2,
    "format": "flac",
    "preview_seconds": 5,
}
_UPLOAD = of_object({"file": {"type": "string", "format": "binary", "description": "wav, flac, ogg, mp3, m4a ..."}})
SPOOLED_BYTES = 1 << 20  # of an upload in memory; the rest goes to disk
MEDIA_TYPES = {
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
}


def job_routes(server: Server, folders) -> APIRouter:
    """Routes of jobs."""
    router, queue = APIRouter(prefix="/v1/jobs", tags=["jobs"]), server.queue

    def shown(job) -> dict:
        return job_json(job, queue, folders)

    def submit(given: dict) -> JSONResponse:
        [job] = queue.submit(server.requests.order(given))
        return JSONResponse(shown(job), 202, {"location": f"/v1/jobs/{job.id}"})

    docs = body_docs({"application/json": _EXAMPLE}, JOB)
    post(router, "", submit, docs=docs, summary="Queue a job: songs, an answer of a planner, a training, ...")

    @router.get("", summary="All jobs that are kept, the newest first")
    def jobs() -> dict:
        return {"jobs": [shown(job) for job in queue.jobs()]}

    @router.get("/events", summary="Server-sent events: `job` for each of the newest jobs, and after every change")
    def all_events() -> StreamingResponse:
        async def stream() -> AsyncIterator[str]:
            async for job in changed_jobs(queue):
                yield event("job", shown(job)) if job else ": still there\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @router.get("/{job_id}", summary="A job: its state, place, progress, songs, notes and error")
    def job(job_id: str) -> dict:
        return shown(queue.get(job_id))

    @router.delete("/{job_id}", summary="Cancel a job; one that runs ends after its step")
    def cancel(job_id: str) -> dict:
        return shown(queue.cancel(job_id))

    @router.get("/{job_id}/preview", summary="The first seconds, before the song is finished")
    def preview(job_id: str) -> Response:
        made = queue.get(job_id).preview
        if made is None:
            return Response(status_code=204)
        return Response(made.data, media_type=made.media_type)

    @router.get("/{job_id}/sound", summary="The song that is being decoded, as a wav that comes as it is made")
    def sound(job_id: str) -> Response:
        live = queue.get(job_id).live
        if live is None:
            return Response(status_code=204)
        return StreamingResponse(live.parts(), media_type="audio/wav", headers={"cache-control": "no-store"})

    @router.get("/{job_id}/events", summary="Server-sent events: `job` after each change, the last with its end")
    def events(job_id: str) -> StreamingResponse:
        found = queue.get(job_id)

        async def stream() -> AsyncIterator[str]:
            async for changed in job_versions(found):
                yield event("job", shown(found), found.version) if changed else ": still there\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    return router


def song_routes(server: Server) -> APIRouter:
    """Routes of the library and of uploads."""
    router, library = APIRouter(prefix="/v1", tags=["library"]), server.library

    @router.get("/songs", summary="Search the library")
    def songs(q: str = "", limit: int = 50, offset: int = 0, order: str = "newest") -> dict:
        page = library.songs(q[:1000], most=limit, skip=offset, order=order)
        return {"songs": [row_json(row) for row in page.songs], "total": page.total}

    @router.get("/songs/{song_id}", summary="A song's words and settings, from its tags")
    def song(song_id: str) -> dict:
        row, made = library.get(song_id), library.tagged(song_id)
        settings = server.requests.shown_settings(made.settings)
        shown = {"song": asdict(made.song), "settings": settings, "digests": made.digests, "scores": made.scores}
        return {**row_json(row), **shown, "lrc": read_tags(library.path(song_id)).get(TIMED_TAG, "")}

    @router.get("/songs/{song_id}/audio", summary="A song's file; parts of it by Range")
    def audio(song_id: str) -> FileResponse:
        return audio_file(server, song_id)

    @router.get("/songs/{song_id}/lrc", summary="When its lines are sung, as LRC; words too where they were timed")
    def lrc(song_id: str, words: bool = True) -> Response:
        timed = library.lyric_times(song_id)
        return PlainTextResponse(f"{timed if words else without_words(timed)}\n")

    @router.get("/songs/{song_id}/score", summary="What the judges found of a song that was chosen among takes")
    def score(song_id: str) -> dict:
        scores = library.tagged(song_id).scores
        if not scores:
            raise NoSuchSong(f"song: {song_id} was not judged; make it with best_of 2 or more")
        return {"id": song_id, "scores": scores}

    @router.delete("/songs/{song_id}", summary="Move a song to the trash of the library")
    def remove(song_id: str) -> dict:
        library.remove(song_id)
        return {"id": song_id, "removed": True}

    @router.get("/model_inventory", summary="What requests may name: models, planners, adapters; what is loaded")
    def inventory() -> dict:
        return server.inventory()

    docs = body_docs({"multipart/form-data": {"file": "(a sound file)"}, "audio/wav": {}}, _UPLOAD)

    @router.post("/uploads", summary="Send a sound; its handle stands for it in requests", openapi_extra=docs)
    async def upload(request: Request) -> dict:
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as file:
                async for part in request.stream():
                    file.write(part)
                file.seek(0)
                return await run_in_threadpool(kept, server, file)
        async with request.form(max_files=1, max_fields=8) as form:
            return await run_in_threadpool(kept, server, file_of(form, "file"))

    return router


def kept(server: Server, file) -> dict:
    """An upload as clients see it."""
    made = server.uploads.put(file)
    return {"id": made.id, "seconds": made.seconds, "size": made.size}


def file_of(form, name: str):
    """The open file of a form's field. Raises UserError."""
    field = form.get(name)
    if field is None or isinstance(field, str):
        raise UserError(f"upload: the form has no file {name!r}; send one, such as -F {name}=@clip.wav")
    return field.file


def audio_file(server: Server, song_id: str) -> FileResponse:
    """The answer with a song's file."""
    path = server.library.path(song_id)
    kind = MEDIA_TYPES.get(path.suffix[1:].lower(), "application/octet-stream")
    headers = {"x-content-type-options": "nosniff"}
    return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline", headers=headers)


def row_json(row: SongRow) -> dict:
    """A row of the library as clients see it."""
    hidden = ("path", "changed_ns", "is_song")
    shown = {name: value for name, value in asdict(row).items() if name not in hidden}
    return {**shown, "file": row.path, "audio": f"/v1/songs/{row.id}/audio"}

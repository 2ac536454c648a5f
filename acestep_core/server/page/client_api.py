"""The endpoint /generate for clients of Gradio's own package, gradio_client. Sounds come by handles, as everywhere: of
Gradio's routes for files none is open.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from ...errors import AceStepError
from ...song import INSTRUMENTAL
from ...spec import DEFAULT_SECONDS
from ..answers import POLL_SECONDS, job_json, without_places
from ..job_routes import audio_file
from ..jobs import DONE, Job, message_of
from ..orders import SONGS
from ..server import Server
from .desk import Desk

# What gradio_client asks for beside what the page does.
CLIENT_PATHS = ("/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel")


def client_endpoint(desk: Desk) -> None:
    """The endpoint /generate of a page."""
    queue, requests = desk.server.queue, desk.server.requests

    async def generate(
        caption: str,
        lyrics: str = INSTRUMENTAL,
        seconds: float = DEFAULT_SECONDS,
        format: str = "flac",
        request: dict | None = None,
    ) -> tuple[dict, dict]:
        """Makes a song: its file, and the job with all that is known of it. `request` has more fields of /v1/jobs."""
        given = _request({"caption": caption, "lyrics": lyrics, "seconds": seconds}, format, request or {})
        try:
            [job] = queue.submit(await run_in_threadpool(requests.order, given))
        except (AceStepError, OSError, MemoryError) as exc:
            raise _error(without_places(message_of(exc), desk.folders)) from exc
        await _end_of(job, desk.server)
        shown = job_json(job, queue, desk.folders)
        if job.state != DONE:
            raise _error(shown["error"] or f"the job was {job.state}")
        made = shown["songs"][0]
        return {"path": f"{made['id']}/{Path(made['file']).name}"}, shown

    gr.api(generate, api_name="generate", concurrency_limit=None)  # jobs wait in the server's own queue


def _request(song: Mapping, format: str, more: Mapping) -> dict:
    words = more.get("song")
    return {"format": format, **more, "kind": SONGS, "song": {**song, **(words if isinstance(words, Mapping) else {})}}


async def _end_of(job: Job, server: Server) -> None:
    """Waits; a client that cancels cancels the job."""
    try:
        while not job.has_ended:
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if not job.has_ended:
            server.queue.cancel(job.id)


def _error(message: str) -> gr.Error:
    return gr.Error(message, print_exception=False)


def add_client_files(app: FastAPI, server: Server) -> None:
    """The address at which gradio_client fetches the file of a song."""

    @app.get("/gradio_api/file={song_id}/{name}", include_in_schema=False)
    def file(song_id: str, name: str) -> FileResponse:
        return audio_file(server, song_id)

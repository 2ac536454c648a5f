"""Routes of ComfyUI's server that the pack's own scripts call."""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path

import server
from aiohttp import web

from ...acestep_core.errors import AceStepError
from ...acestep_core.json_text import parse_json_object
from .locations import without_paths

REMEDY = "send a JSON object"


def serve(path: str, answer: Callable[[dict], dict], method: str = "GET") -> None:
    """Answers `path` with JSON: of its query, or for POST of its body, a JSON object. A user's mistake is answered with
    400 and its one line, without this machine's paths.
    """

    @functools.wraps(answer)
    async def handle(request: web.Request) -> web.Response:
        try:
            body = await request.read()
            query = parse_json_object(body, "request", remedy=REMEDY) if method == "POST" else dict(request.query)
            return web.json_response(await asyncio.to_thread(answer, query))  # it may read folders and files
        except AceStepError as exc:
            return web.json_response({"error": without_paths(str(exc))}, status=400)

    server.PromptServer.instance.routes.route(method, path)(handle)


def serve_folder(path: str, folder: Path) -> None:
    """Answers paths below `path` with the files of a folder."""
    if folder.is_dir():  # else ComfyUI could not start
        server.PromptServer.instance.routes.static(path, folder)

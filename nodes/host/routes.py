"""Routes of ComfyUI's server that the pack's own scripts call."""

import asyncio
import functools
import json
from collections.abc import Callable

import server
from aiohttp import web

from ...acestep_core.errors import AceStepError, UserError
from .locations import without_paths


def serve(path: str, answer: Callable[[dict], dict], method: str = "GET") -> None:
    """Answers `path` with JSON: of its query, or for POST of its body, a JSON object. A user's mistake is answered with
    400 and its one line, without this machine's paths.
    """

    @functools.wraps(answer)
    async def handle(request: web.Request) -> web.Response:
        try:
            query = dict(request.query) if method == "GET" else _object(await request.read())
            return web.json_response(await asyncio.to_thread(answer, query))  # it may read folders and files
        except AceStepError as exc:
            return web.json_response({"error": without_paths(str(exc))}, status=400)

    server.PromptServer.instance.routes.route(method, path)(handle)


def _object(body: bytes) -> dict:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise UserError("request: is not JSON; expected an object") from exc
    if not isinstance(found, dict):
        raise UserError(f"request: got a JSON {type(found).__name__}, expected an object")
    return found

"""Routes of ComfyUI's server that the pack's own scripts ask."""

import asyncio
import functools
from collections.abc import Callable

import server
from aiohttp import web

from ...acestep_core.errors import AceStepError


def serve(path: str, answer: Callable[[dict], dict]) -> None:
    """GET `path`: its query -> JSON; a user's mistake is answered with 400 and its one line."""

    @functools.wraps(answer)
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await asyncio.to_thread(answer, dict(request.query)))  # it may look into folders
        except AceStepError as exc:
            return web.json_response({"error": str(exc)}, status=400)

    server.PromptServer.instance.routes.get(path)(handle)

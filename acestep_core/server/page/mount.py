"""The page in the server's application: Gradio at `/` for what the page needs of it, and scripts of our own.

Gradio's own uploads, files, proxy and the like are not served: sounds come and go by the server's routes alone.
"""

import json
import os
import threading
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from ..security import JSON_BYTES_MOST, Access
from ..server import Server
from . import strings

STATIC, SHARED = (Path(__file__).with_name(name) for name in ("static", "shared"))  # ComfyUI has the second one too
MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
WHOLE = (
    "/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/gradio_api/info",
    "/gradio_api/startup-events",
)
BELOW = ("/assets/", "/static/", "/svelte/", "/gradio_api/run/", "/gradio_api/heartbeat/")
# Gradio's scripts make functions out of text; nothing of the page may come from, or go to, another server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
HEAD = '<link rel="stylesheet" href="page/page.css"><script type="module" src="page/main.js"></script>'


def mount_page(app: FastAPI, server: Server, access: Access, folders: Mapping[Path, str]) -> None:
    """Serves the page at `/` of an application whose other routes are there already."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read while Gradio is imported
    import gradio as gr

    from .build import build_page
    from .client_api import CLIENT_PATHS, add_client_files
    from .theme import THEME

    _add_static(app)
    add_client_files(app, server)
    gr.mount_gradio_app(
        app,
        build_page(server, folders, can_sign_out=access.key is not None),
        "/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=[str(server.library.folder), os.path.abspath(os.path.expanduser("~"))],
        max_file_size=JSON_BYTES_MOST,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        theme=THEME,
        head=HEAD,
    )
    mounted = app.router.routes[-1]
    mounted.app = PageOnly(mounted.app, (*WHOLE, *CLIENT_PATHS))
    threading.Thread(target=_warm_up, daemon=True).start()


def _warm_up() -> None:
    """Imports what checks of requests need, and with it torch, for which the first visitor would wait."""
    import_module("...flow.stage_plan", __package__)


def _add_static(app: FastAPI) -> None:
    files = {path.name: path for folder in (STATIC, SHARED) for path in folder.iterdir() if path.suffix in MEDIA}
    script = f"export default {json.dumps(strings.SCRIPT, ensure_ascii=False)};\n"

    @app.get("/page/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        if name == "strings.js":
            return Response(script, media_type=MEDIA[".js"], headers=headers)
        if name not in files:
            raise HTTPException(404, "page: there is no such file")
        return FileResponse(files[name], media_type=MEDIA[files[name].suffix], headers=headers)


class PageOnly:
    """An ASGI layer that lets only those requests through to Gradio which the page and gradio_client make."""

    def __init__(self, app, whole: Collection[str]):
        self.app, self.whole = app, whole

    async def __call__(self, scope: dict, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path not in self.whole and not path.startswith(BELOW):
            raise HTTPException(404, "Not Found")
        if path == "/":
            scope = {**scope, "query_string": b""}  # no deep links, which name files

        async def with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message = {**message, "headers": [*message["headers"], policy, (b"referrer-policy", b"same-origin")]}
            await send(message)

        await self.app(scope, receive, with_policy)

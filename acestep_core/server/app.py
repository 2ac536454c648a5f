"""The web application: all routes, behind the guard."""

from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from .answers import add_error_handlers, own_folders
from .docs_page import docs_routes
from .job_routes import job_routes, song_routes
from .login import login_routes
from .openai_routes import openai_models, openai_routes
from .original_routes import original_routes
from .original_training import original_training_routes
from .security import Access, Guard
from .server import Server
from .sound_routes import sound_routes
from .training_routes import dataset_routes, lora_routes

TITLE = "acestep-cascade"
_CLIENT_HEADERS = ["authorization", "content-type", "x-api-key"]
_DESCRIPTION = (
    "Songs from text, and edits of music, by cascades of ACE-Step models. Jobs wait in one queue. Where the server has "
    "a key, every request needs the header `Authorization: Bearer KEY`."
)


def create_app(server: Server, access: Access, version: str = "", page: bool = False) -> FastAPI:
    """The application of a server, with the page at `/` where it is asked for. Its end closes the server."""

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        server.close()

    # FastAPI's own pages of the routes fetch their scripts from another server.
    app = FastAPI(
        title=TITLE, description=_DESCRIPTION, version=version or "0", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    folders = own_folders((server.uploads.folder, ""), (server.library.folder, ""))
    add_error_handlers(app, folders)
    for router in (
        job_routes(server, folders),
        song_routes(server),
        dataset_routes(server, folders),
        lora_routes(server),
        original_training_routes(server),
        sound_routes(server),
        original_routes(server, access, folders, version),
        openai_routes(server, folders),
        login_routes(access),
        docs_routes(access, page),
    ):
        app.include_router(router)
    for router in (openai_models(server), openai_routes(server, folders)):
        app.include_router(router, prefix="/openai", include_in_schema=False)
    if page:
        from .page.mount import mount_page

        mount_page(app, server, access, folders)
    app.add_middleware(Guard, access=access)
    if access.origins:  # around the guard: a browser asks without a key whether it may ask
        allowed = {"allow_methods": ["*"], "allow_headers": _CLIENT_HEADERS}
        app.add_middleware(CORSMiddleware, allow_origins=list(access.origins), **allowed)
    return app

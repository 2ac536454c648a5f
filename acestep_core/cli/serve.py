"""`acestep-cascade serve`: songs for people and programs over the web. Its packages are imported when it runs."""

import argparse
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..console import Console
from ..errors import UserError
from ..generation.settings import MODEL_OPTIONS, GenerationSettings
from ..system.extras import install_command
from ..system.folders import user_path
from ..system.texts import read_text
from .cluster import add_cluster, wants_cluster
from .generate import add_memory
from .library import FOLDER
from .orders import whole

logger = logging.getLogger(__name__)

KEY_ENVIRONMENT = "ACESTEP_API_KEY"
KEY_FILE_BYTES_MOST = 4096
PORT = 8001
CONNECTIONS_MOST, CLOSING_SECONDS = 512, 5
_PACKAGES = ("fastapi", "uvicorn", "multipart")
_NO_PAGE = "note: the page needs gradio, which is not installed: {}; the API is served"
_MODELS = {
    "models": "tiny (default), published, a folder, or one model for all stages",
    "l": "model of the first stage",
    "m": "model of the second stage",
    "s": "model of the last stage",
    "text_encoder": "default: the one of the first stage's family",
    "vocoder": "default: the one of the first stage's family",
}
_EPILOG = f"""\
On this machine alone (127.0.0.1) no key is needed. Another address needs one: {KEY_ENVIRONMENT} in the environment, or
a file with --key-file; --no-key serves everybody who reaches the address. Guide: web/docs/guides/serving.md.
"""


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Serve songs: a page for people, an API for programs, one queue of jobs, a library."
    parser.epilog = _EPILOG
    parser.set_defaults(run=serve)
    parser.add_argument(
        "--folder", default=FOLDER, metavar="FOLDER", help=f"where songs are kept; made if absent (default {FOLDER})"
    )
    _add_access(parser.add_argument_group("access"))
    _add_limits(parser.add_argument_group("limits"))
    models = parser.add_argument_group("models of requests that name none")
    for name, text in _MODELS.items():
        models.add_argument(f"--{name.replace('_', '-')}", metavar="NAME", help=text)
    add_cluster(parser.add_argument_group("cluster"))
    add_memory(parser.add_argument_group("devices (--device cuda:0,cuda:1: a cascade on each) and memory"))
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def _add_access(group):
    group.add_argument("--address", default="127.0.0.1", metavar="HOST", help="to listen on (default 127.0.0.1)")
    group.add_argument("--port", type=int, default=PORT, metavar="N", help=f"default {PORT}; 0: any that is free")
    group.add_argument("--key-file", metavar="FILE", help="a file whose first line is the key")
    group.add_argument("--no-key", action="store_true", help="serve another address to everybody")
    group.add_argument("--no-page", action="store_true", help="serve the API alone, without the page")
    group.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name of this server; repeatable"
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="pages that may ask, such as https://example.org; repeatable",
    )


def _add_limits(group):
    group.add_argument("--queue", type=int, default=200, metavar="N", help="jobs that may wait (default 200)")
    group.add_argument("--rate", type=int, default=600, metavar="N", help="requests a minute of a client (default 600)")
    group.add_argument("--keep-hours", type=float, default=24, metavar="N", help="of ended jobs (default 24)")
    group.add_argument("--upload-mb", type=float, default=100, metavar="N", help="size of an upload (default 100)")


def serve(arguments: argparse.Namespace, console: Console):
    check_packages()
    _check_limits(arguments)
    access = access_of(arguments)
    defaults = defaults_of(arguments)
    listener = _listening(arguments.address, arguments.port)
    with listener:
        folder = user_path(arguments.folder)
        folder.mkdir(parents=True, exist_ok=True)
        _run(arguments, console, folder, access, defaults, listener)


def check_packages() -> None:
    """Raises UserError where packages of the extra `serve` are missing."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"serve: needs packages that are not installed ({', '.join(missing)}); install them with "
            f"{install_command('serve')}"
        )


def access_of(arguments: argparse.Namespace):
    """Who may ask. Raises UserError for an address beyond this machine without a key."""
    from ..server.security import Access, is_loopback

    key = _key(arguments)
    if key is None and not arguments.no_key and not is_loopback(arguments.address):
        raise UserError(
            f"--address {arguments.address}: reaches beyond this machine; give a key ({KEY_ENVIRONMENT} or "
            "--key-file), or --no-key to serve everybody there"
        )
    return Access(
        arguments.address,
        key,
        tuple(arguments.allow_host),
        tuple(origin.rstrip("/") for origin in arguments.allow_origin),
        arguments.rate,
        int(arguments.upload_mb * 1e6),
    )


def _key(arguments: argparse.Namespace) -> str | None:
    if arguments.no_key:
        return None
    if arguments.key_file is None:
        return os.environ.get(KEY_ENVIRONMENT) or None
    file, name = user_path(arguments.key_file), f"--key-file {arguments.key_file}"
    key = read_text(file, KEY_FILE_BYTES_MOST, name).partition("\n")[0].strip()
    if not key:
        raise UserError(f"--key-file {arguments.key_file}: its first line is empty, expected the key")
    return key


def defaults_of(arguments: argparse.Namespace) -> GenerationSettings:
    """The settings of songs whose requests say nothing of models and number formats."""
    named = {name: getattr(arguments, name) for name in (*MODEL_OPTIONS, "dtype", "vocoder_dtype", "quantise")}
    named |= {name: whole(named[name]) for name in MODEL_OPTIONS if named[name]}
    return GenerationSettings(**{name: value for name, value in named.items() if value is not None})


def _check_limits(arguments: argparse.Namespace) -> None:
    for name, least in (("queue", 1), ("rate", 1), ("keep_hours", 0), ("upload_mb", 0.1)):
        if getattr(arguments, name) < least:
            raise UserError(f"--{name.replace('_', '-')}: got {getattr(arguments, name):g}, expected at least {least}")
    if not 0 <= arguments.port < 2**16:
        raise UserError(f"--port: got {arguments.port}, expected 0 to {2**16 - 1}")


def has_page(arguments: argparse.Namespace, console: Console) -> bool:
    """Whether the page is served; a note says how to get it where its package is missing."""
    if arguments.no_page:
        return False
    has_gradio = find_spec("gradio") is not None
    if not has_gradio:
        console.note(_NO_PAGE.format(install_command("serve")))
    return has_gradio


def _listening(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as exc:
        raise UserError(f"--address {address} --port {port}: cannot be listened on ({exc.strerror or exc})") from exc


def _run(arguments, console: Console, folder: Path, access, defaults: GenerationSettings, listener: socket.socket):
    import uvicorn

    from ..checkpoints.cascade_models import find_cascade
    from ..generation.making import Machine
    from ..server.app import create_app
    from ..server.server import Server
    from .parser import version

    find_cascade(**defaults.model_names)
    devices = [name.strip() for name in arguments.device.split(",")] if arguments.device else [None]
    shared = {"memory_gb": arguments.memory, "offload": arguments.offload, "text_cache": not arguments.no_text_cache}
    machines = [Machine(device, **shared) for device in devices]
    with _workers(arguments, machines) as slots:
        server = Server.start(
            folder,
            machines,
            defaults,
            waiting_most=arguments.queue,
            keep_seconds=arguments.keep_hours * 3600,
            upload_bytes_most=access.upload_bytes_most,
            slots=slots,
        )
        app = create_app(server, access, version(), has_page(arguments, console))
        host = f"[{arguments.address}]" if ":" in arguments.address else arguments.address
        console.result(f"http://{host}:{listener.getsockname()[1]}  songs are kept in {folder}")
        options = {"log_level": "warning", "access_log": False, "server_header": False}
        limits = {"limit_concurrency": CONNECTIONS_MOST, "timeout_graceful_shutdown": CLOSING_SECONDS}
        uvicorn.Server(uvicorn.Config(app, **options, **limits)).run(sockets=[listener])


@contextmanager
def _workers(arguments: argparse.Namespace, machines) -> Iterator[list]:
    """The workers of --cluster; none without it. Raises UserError."""
    if not wants_cluster(arguments):
        yield []
        return
    if len(machines) > 1:
        raise UserError(
            f"--device {arguments.device}: got --cluster too, which has a worker a device; name one or none"
        )
    from ..cluster.ray_workers import RayCluster, threads_here
    from ..server.cluster_making import MakeOrderTasks

    given = arguments.workers, arguments.device, threads_here()
    with closing(RayCluster(arguments.cluster)) as cluster:
        # Where workers run is for the log, and not for the notes of jobs, which clients read.
        yield cluster.slots(MakeOrderTasks(machines[0]), *given, say=logger.info)

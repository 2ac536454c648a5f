"""Who may ask the server, and how much: hosts, origins, the key, the size and the rate of requests.

One layer around the whole application, so that no route can be forgotten. Its answers name no secret.
"""

import asyncio
import hmac
import ipaddress
import json
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import UserError
from .sessions import LOGIN_PATH, has_session
from .uploads import BYTES_MOST, MEGABYTE

KEY_LENGTH_LEAST = 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")
JSON_BYTES_MOST = 4 * MEGABYTE
CHAT_BYTES_MOST = 30 * MEGABYTE  # a sound in base64 may lie in it
REQUESTS_A_MINUTE = 600
BODY_SECONDS_MOST = 300.0
BODIES_BYTES_MOST, UPLOADS_BYTES_MOST = 256 * MEGABYTE, 2000 * MEGABYTE  # of all requests at once; uploads lie on disk
_ADDRESSES_MOST = 10_000
_FORM_ROOM = MEGABYTE  # of a form around its file
OPEN_PATHS = ("/health", LOGIN_PATH)
ASSET_PATHS = ("/assets/", "/static/", "/page/")  # dozens of small files, which a browser fetches for the page at once
# Routes of the original, whose clients send the key in the body: they compare it themselves.
BODY_KEY_PATHS = ("/release_task", "/query_result", "/format_input", "/create_random_sample")
_DETAIL_PATHS = ("/v1/lora/", "/v1/dataset/", "/v1/training/")  # others of the original's
_UPLOAD_PATHS = ("/v1/uploads", "/release_task")
_CHAT_PATHS = ("/v1/chat/completions", "/openai/v1/chat/completions")
_LENGTH = re.compile(r"[0-9]{1,15}")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Receive, Send = Callable[[], Awaitable[dict]], Callable[[dict], Awaitable[None]]


class Refused(Exception):
    """A request that goes no further: its status, and a message for the client."""

    def __init__(self, status: int, message: str, retry_seconds: int | None = None, location: str | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_seconds, self.location = status, message, retry_seconds, location


@dataclass(frozen=True)
class Access:
    """Who may ask. `key` None: anybody who reaches the address. `hosts` and `origins` beside this machine's own names.

    Raises UserError for a key that is too short, or that a header cannot carry.
    """

    address: str = LOOPBACK[0]
    key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    requests_a_minute: int = REQUESTS_A_MINUTE
    upload_bytes_most: int = BYTES_MOST
    names: frozenset[str] = field(init=False)

    def __post_init__(self):
        if self.key is not None and len(self.key) < KEY_LENGTH_LEAST:
            raise UserError(f"key: got {len(self.key)} characters, expected at least {KEY_LENGTH_LEAST}")
        if self.key is not None and not self.key.isascii():
            raise UserError("key: got other characters than ASCII has, expected letters, digits and signs")
        own = () if is_loopback(self.address) else (self.address, socket.gethostname())
        object.__setattr__(self, "names", frozenset(name.lower() for name in (*LOOPBACK, *own, *self.hosts)))

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this server. A page of a stranger reaches it by a name of the stranger's own; an
        address of numbers is nobody's name, and is known where the server listens beyond this machine.
        """
        name = host_name(host)
        return name in self.names or (not is_loopback(self.address) and _is_address(name))

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may ask: one of this server itself, or one that was allowed."""
        return origin in self.origins or _place_of(origin) == host.lower() != ""

    def has_key(self, given: str | None) -> bool:
        """Whether a key is the right one, in a time that does not depend on it."""
        return self.key is None or hmac.compare_digest((given or "").encode(), self.key.encode())


def _place_of(origin: str) -> str | None:
    """Name and port in an Origin header, in lower case; None in one that is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    return address in LOOPBACK or (_is_address(address) and ipaddress.ip_address(address).is_loopback)


def host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    host = host.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """An ASGI layer that lets only allowed requests through, with bounded bodies."""

    def __init__(self, app, access: Access):
        self.app, self.access, self.rate = app, access, Rate(access.requests_a_minute)
        self._bodies, self._uploads = _Held(BODIES_BYTES_MOST), _Held(UPLOADS_BYTES_MOST)

    async def __call__(self, scope: dict, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        sent = _Sent(send)
        try:
            self.check(scope)
            held = self._uploads if scope["path"] in _UPLOAD_PATHS else self._bodies
            with held.of_one() as take:
                await self.app(scope, _Bounded(receive, self._bytes_most(scope), take), sent)
        except Refused as refused:
            if not sent.began:
                await _answer(send, scope["path"], refused)

    def check(self, scope: Mapping) -> None:
        """Raises Refused."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.access.knows_host(host):
            raise Refused(403, "host: this server is not known under that name; start it with --allow-host NAME")
        if origin is not None and not self.access.knows_origin(origin, host):
            raise Refused(403, "origin: pages of that address may not ask; start the server with --allow-origin ORIGIN")
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in _SAFE_METHODS and origin is None:
            raise Refused(403, "origin: pages of other addresses may not ask")
        if not scope["path"].startswith(ASSET_PATHS):
            self.rate.take((scope.get("client") or ("", 0))[0])
        self._check_length(headers.get("content-length"), scope)
        self._check_key(scope, headers)

    def _check_key(self, scope: Mapping, headers: Mapping[str, str]) -> None:
        path, given = scope["path"], key_of(headers)
        if path in OPEN_PATHS or (given is None and path in BODY_KEY_PATHS):
            return
        if self.access.has_key(given) or (given is None and has_session(headers, self.access.key)):
            return
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):  # a browser that opens a page
            raise Refused(303, "key: is missing; sign in", location=LOGIN_PATH)
        raise Refused(401, "key: is missing or wrong; send the header Authorization: Bearer KEY")

    def _check_length(self, length: str | None, scope: Mapping) -> None:
        if length is not None and (not _LENGTH.fullmatch(length) or int(length) > self._bytes_most(scope)):
            raise Refused(413, f"request: is larger than {self._bytes_most(scope) / MEGABYTE:g} MB")

    def _bytes_most(self, scope: Mapping) -> int:
        if scope["path"] in _UPLOAD_PATHS:
            return self.access.upload_bytes_most + _FORM_ROOM
        return CHAT_BYTES_MOST if scope["path"] in _CHAT_PATHS else JSON_BYTES_MOST


def key_of(headers: Mapping[str, str]) -> str | None:
    """The key in the headers of a request, whose names are in lower case."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else headers.get("x-api-key")


class Rate:
    """So many requests a minute for each address: a bucket that fills evenly, and holds a minute's."""

    def __init__(self, a_minute: int):
        self.a_minute = a_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (requests left, when)

    def take(self, address: str, now: float | None = None) -> None:
        """Raises Refused where an address has asked too often."""
        now = time.monotonic() if now is None else now
        left, then = self._left.pop(address, (float(self.a_minute), now))
        left = min(self.a_minute, left + (now - then) * self.a_minute / 60)
        self._left[address] = (max(left - 1, 0.0) if left >= 1 else left, now)
        while len(self._left) > _ADDRESSES_MOST:
            self._left.popitem(last=False)
        if left < 1:
            raise Refused(429, f"rate: more than {self.a_minute} requests a minute; ask less often", 1)


class _Held:
    """Bytes of bodies that are in memory at once."""

    def __init__(self, most: int):
        self._left = most

    @contextmanager
    def of_one(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes, which are given back at the end of a request. It raises Refused."""
        held = 0

        def take(size: int) -> None:
            nonlocal held
            held += size
            self._left -= size
            if self._left < 0:
                raise Refused(429, "request: too many large ones are under way; try again later", 5)

        try:
            yield take
        finally:
            self._left += held


class _Bounded:
    """Receives a body that may have so many bytes, and so much time."""

    def __init__(self, receive: Receive, bytes_most: int, take: Callable[[int], None]):
        self._receive, self._left, self._take = receive, bytes_most, take
        self._until, self._ended = time.monotonic() + BODY_SECONDS_MOST, False

    async def __call__(self) -> dict:
        if self._ended:  # what comes now is the end of the connection, which may take long
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._until - time.monotonic(), 0.01))
        except TimeoutError as exc:
            raise Refused(408, f"request: did not come within {BODY_SECONDS_MOST:g} s") from exc
        size = len(message.get("body", b""))
        self._left -= size
        self._ended = not message.get("more_body", False)
        if self._left < 0:
            raise Refused(413, "request: is larger than this route takes")
        self._take(size)
        return message


class _Sent:
    """Sends, and remembers whether an answer has begun."""

    def __init__(self, send: Send):
        self._send, self.began = send, False

    async def __call__(self, message: dict) -> None:
        self.began = True
        await self._send(message)


async def _answer(send: Send, path: str, refused: Refused) -> None:
    body = json.dumps(error_body(path, refused.status, refused.message)).encode()
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if refused.retry_seconds is not None:
        headers.append((b"retry-after", str(refused.retry_seconds).encode()))
    if refused.location is not None:
        headers.append((b"location", refused.location.encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(path: str, status: int, message: str) -> dict:
    """An error as a route's clients expect it: those of the original read `detail`, others what OpenAI's form has."""
    if path in BODY_KEY_PATHS or path.startswith(_DETAIL_PATHS):
        return {"detail": message}
    kinds: Iterable[tuple[int, str]] = ((401, "authentication_error"), (429, "rate_limit_error"), (500, "server_error"))
    kind = dict(kinds).get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}

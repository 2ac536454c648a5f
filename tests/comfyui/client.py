"""A client of ComfyUI's HTTP routes and websocket, with the standard library alone."""

import base64
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

PREVIEW, TEXT = 1, 3  # kinds of binary messages


class Refused(Exception):
    """The prompt was not queued. The text holds what each node says."""

    def __init__(self, answer: dict):
        self.error, self.node_errors = answer["error"], answer["node_errors"]
        lines = [f"{self.error['message']} {self.error.get('details', '')}"]
        for node_id, node in self.node_errors.items():
            lines += [f"{node_id}: {error['message']}: {error['details']}" for error in node["errors"]]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Event:
    """A message of the server: its type and data. A preview's data is its picture, a text's (node id, text)."""

    type: str
    data: dict | bytes | tuple[str, str]
    at: float  # seconds, of the monotonic clock

    def progress_of(self, node_id: str) -> tuple[float, float] | None:
        """(done, total) of a node, if this event tells it."""
        state = self.data["nodes"].get(node_id) if self.type == "progress_state" else None
        return state and (state["value"], state["max"])


@dataclass
class Run:
    """A prompt that was run to its end."""

    prompt_id: str
    events: list[Event]
    outputs: dict
    messages: dict = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return "execution_success" in self.messages

    @property
    def interrupted(self) -> bool:
        return "execution_interrupted" in self.messages

    @property
    def cached(self) -> set[str]:
        return set(self.messages["execution_cached"]["nodes"])

    @property
    def executed(self) -> list[str]:
        """Nodes that ran, in their order."""
        running = [event.data["node"] for event in self.events if event.type == "executing"]
        return [node for node in running if node is not None]

    @property
    def error(self) -> str | None:
        """What the failed node says."""
        failed = self.messages.get("execution_error")
        return failed and failed["exception_message"].strip()

    @property
    def failed_node(self) -> str | None:
        return self.messages.get("execution_error", {}).get("node_id")

    def progress_of(self, node_id: str) -> list[tuple[float, float]]:
        return [progress for event in self.events if (progress := event.progress_of(node_id))]

    def texts_of(self, node_id: str) -> list[str]:
        return [event.data[1] for event in self.events if event.type == "text" and event.data[0] == node_id]

    def lines_of(self, node_id: str) -> list[str]:
        """The text that stays on a node of the pack."""
        return [line for item in self.outputs[node_id]["acestep_text"] for line in item["lines"]]

    def files(self, node_id: str, kind: str = "audio") -> list[dict]:
        return self.outputs[node_id][kind]


class Comfy:
    """A running ComfyUI at `url`, such as http://127.0.0.1:8190."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def overheard(self, seconds: float) -> "_Events":
        """Messages to a page that queues nothing itself, for so long."""
        return _Events(self.url, str(uuid.uuid4()), time.monotonic() + seconds)

    # ---- plain routes ----

    def get(self, path: str, **query) -> bytes:
        query = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self._ask(urllib.request.Request(f"{self.url}{path}{query}"))

    def get_json(self, path: str, **query):
        return json.loads(self.get(path, **query))

    def post(self, path: str, body: dict) -> bytes:
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers))

    def _ask(self, request: urllib.request.Request) -> bytes:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def answers(self) -> bool:
        try:
            self.get("/system_stats")
        except OSError:  # URLError and refused connections
            return False
        return True

    def node_info(self) -> dict:
        return self.get_json("/object_info")

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def free(self, *, unload_models: bool = True, free_memory: bool = False) -> None:
        self.post("/free", {"unload_models": unload_models, "free_memory": free_memory})

    def clear_history(self) -> None:
        self.post("/history", {"clear": True})

    def view(self, file: dict) -> bytes:
        """The bytes of a file that a node gave."""
        return self.get("/view", **{key: file[key] for key in ("filename", "subfolder", "type")})

    def upload(self, name: str, content: bytes) -> str:
        """Puts a file of any kind into the input folder; the name that a loader node takes."""
        boundary = uuid.uuid4().hex
        parts = {"type": ("", b"input"), "overwrite": ("", b"true"), "image": (f'; filename="{name}"', content)}
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"{more}\r\n\r\n'.encode() + value + b"\r\n"
            for key, (more, value) in parts.items()
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"{self.url}/upload/image", body + f"--{boundary}--\r\n".encode(), headers)
        return json.loads(self._ask(request))["name"]

    # ---- prompts ----

    def queue(self, prompt: dict, client_id: str) -> str:
        """The id of the queued prompt. Raises Refused."""
        try:
            return json.loads(self.post("/prompt", {"prompt": prompt, "client_id": client_id}))["prompt_id"]
        except urllib.error.HTTPError as exc:
            if exc.code != 400:
                raise
            raise Refused(json.loads(exc.read())) from None

    def run(self, prompt: dict, *, timeout: float = 300, on_event: Callable[[Event], None] | None = None) -> Run:
        """Runs a prompt to its end, successful or not. `on_event` sees each event as it comes. Raises Refused."""
        client_id = uuid.uuid4().hex
        with _Events(self.url, client_id, time.monotonic() + timeout) as listener:
            prompt_id = self.queue(prompt, client_id)
            events = []
            for event in listener:
                events.append(event)
                if on_event:
                    on_event(event)
                if _is_end(event, prompt_id):
                    break
        entry = self.get_json(f"/history/{prompt_id}")[prompt_id]
        return Run(prompt_id, events, entry["outputs"], dict(entry["status"]["messages"]))


def _is_end(event: Event, prompt_id: str) -> bool:
    # Sent last, after the history has the run.
    return event.type == "executing" and event.data["node"] is None and event.data.get("prompt_id") == prompt_id


class _Events:
    """Messages of the server to one client, until `deadline` (monotonic seconds): RFC 6455, the receiving half."""

    def __init__(self, url: str, client_id: str, deadline: float):
        address = urllib.parse.urlsplit(url)
        self.deadline = deadline
        self.socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET /ws?clientId={client_id} HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        status = self.stream.readline()
        if b" 101 " not in status:
            raise ConnectionError(f"websocket of {url}: {status!r}")
        while self.stream.readline().strip():
            pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stream.close()
        self.socket.close()

    def __iter__(self):
        while True:
            event = self._decode(*self._frame())
            if event:
                yield event

    def _frame(self) -> tuple[int, bytes]:
        self.socket.settimeout(max(0.001, self.deadline - time.monotonic()))
        first, size = self._read(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._read(8))
        return first & 15, self._read(size)

    def _read(self, size: int) -> bytes:
        content = self.stream.read(size)
        if len(content) < size:
            raise ConnectionError("the server closed the websocket")
        return content

    @staticmethod
    def _decode(kind: int, content: bytes) -> Event | None:
        at = time.monotonic()
        if kind == 1:
            message = json.loads(content)
            return Event(message["type"], message["data"], at)
        if kind == 8:
            raise ConnectionError("the server closed the websocket")
        if kind != 2:
            return None
        (number,) = struct.unpack(">I", content[:4])
        if number == TEXT:
            (size,) = struct.unpack(">I", content[4:8])
            return Event("text", (content[8 : 8 + size].decode(), content[8 + size :].decode()), at)
        return Event("preview", content[8:], at) if number == PREVIEW else None

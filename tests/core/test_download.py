"""Downloads against a server on this machine that answers as the hub does, huggingface_hub's real client in between."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "ACE-Step/acestep-v15-sft"

_CLIENT = """
import importlib.util, json, sys
exec(sys.argv[4])
spec = importlib.util.spec_from_file_location("acestep_pack", sys.argv[1])
sys.modules["acestep_pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
from acestep_pack.acestep_core.checkpoints.hub import download
from acestep_pack.acestep_core.errors import AceStepError
steps = []
stop_at = int(sys.argv[3])
def progress(step):
    steps.append([step.file, step.done_bytes, step.total_bytes])
    if 0 < stop_at <= step.done_bytes:
        raise KeyboardInterrupt
try:
    answer = {"path": str(download(sys.argv[2], progress).path)}
except (AceStepError, KeyboardInterrupt) as error:
    answer = {"error": str(error), "kind": type(error).__name__}
sys.stdout.write(json.dumps(answer | {"steps": steps}))
"""


class Hub:
    """A repository of `files`, with a log of what was asked for. After `cut` bytes of a file the line is dead.

    `meanwhile` of a file is called once, while its client waits for it.
    """

    def __init__(self, files):
        self.files, self.asked, self.cut, self.damaged, self.meanwhile = files, [], {}, set(), {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def describe(self):
        siblings = []
        for name, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling = {"rfilename": name, "size": len(content), "blobId": git}
            if not name.endswith(".json"):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 100}
            siblings.append(sibling)
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": REVISION, "tags": [], "siblings": siblings}

    def _handler(hub):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                hub.asked.append((path, self.headers.get("Range")))
                prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
                if path.startswith(f"/api/models/{REPOSITORY}"):
                    self.answer(200, json.dumps(hub.describe()).encode())
                elif path.startswith(prefix):
                    self.send_file(path.removeprefix(prefix))
                else:
                    self.answer(404, b"{}")

            def send_file(self, name):
                hub.meanwhile.pop(name, lambda: None)()
                content = hub.files[name]
                wanted = self.headers.get("Range")
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                if name in hub.damaged:
                    content = bytes(len(content))
                left = hub.cut.get(name)
                if left == 0:
                    return self.answer(503, b"")
                if name in hub.cut:
                    hub.cut[name] = 0
                self.answer(206 if start else 200, content[start:][:left], len(content) - start)

            def answer(self, status, body, length=None):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def hub():
    folder = GOLDEN / "m2b_a"
    files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors", "silence_latent.pt")}
    files["model.safetensors"] += bytes(30_000_000)  # the client keeps whole chunks of 10 MB
    files |= {"modeling_acestep_v15_sft.py": b"raise SystemExit", "optimizer.pt": b"pickle", "README.md": b"# hello"}
    hub = Hub(files)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def get(hub, tmp_path):
    def get(name="acestep-v15-sft", stop_at=0, first="", **changed):
        environment = os.environ | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "60",
            "ACESTEP_MODELS": str(tmp_path / "models"),
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", _CLIENT, str(ROOT / "__init__.py"), name, str(stop_at), first]
        done = subprocess.run(command, env=environment | changed, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return get


def test_download_fetches_what_is_needed_and_nothing_else(hub, get, tmp_path):
    answer = get()
    place = tmp_path / "models" / "acestep-v15-sft"
    assert answer["path"] == str(place)
    needed = ["config.json", "model.safetensors", "silence_latent.pt"]
    assert sorted(file.name for file in place.rglob("*")) == needed
    assert all((place / name).read_bytes() == hub.files[name] for name in needed)
    total = sum(len(hub.files[name]) for name in needed)
    assert answer["steps"][-1][1:] == [total, total]
    assert [step[1] for step in answer["steps"]] == sorted(step[1] for step in answer["steps"])

    hub.asked.clear()
    assert get()["path"] == str(place)
    assert hub.asked == []  # it is here: no network


@pytest.mark.parametrize("how", ["line drops", "user stops"])
def test_interrupted_download_goes_on_where_it_ended(hub, get, tmp_path, how):
    name = "model.safetensors"
    if how == "line drops":
        hub.cut[name] = 25_000_000
        answer = get()
        assert answer["kind"] == "DownloadError"
        assert "could not be fetched from ACE-Step/acestep-v15-sft" in answer["error"]
        assert "run the same command again, which resumes the download" in answer["error"]
    else:
        assert get(stop_at=20_000_000)["kind"] == "KeyboardInterrupt"
    (unfinished,) = (tmp_path / "models").rglob("*.incomplete")
    kept = unfinished.stat().st_size
    assert 0 < kept < len(hub.files[name])
    assert unfinished.read_bytes() == hub.files[name][:kept]

    hub.cut.clear()
    hub.asked.clear()
    answer = get()
    assert (f"/{REPOSITORY}/resolve/{REVISION}/{name}", f"bytes={kept}-") in hub.asked
    assert (Path(answer["path"]) / name).read_bytes() == hub.files[name]
    assert not list((tmp_path / "models").rglob("*.incomplete"))


def test_stopped_at_its_very_end_a_download_is_not_taken_for_whole(hub, get):
    needed = ["config.json", "model.safetensors", "silence_latent.pt"]
    total = sum(len(hub.files[name]) for name in needed)
    assert get(stop_at=total - 1)["kind"] == "KeyboardInterrupt"
    assert sorted(file.name for file in Path(get()["path"]).iterdir()) == needed


def test_two_downloads_at_once_keep_apart(hub, get):
    name, second = "model.safetensors", []
    hub.meanwhile[name] = lambda: second.append(get())
    answer = get()
    assert second[0]["kind"] == "DownloadError"
    assert f"another process is fetching {name} now; wait for it" in second[0]["error"]
    assert (Path(answer["path"]) / name).read_bytes() == hub.files[name]
    assert len([path for path, _ in hub.asked if path.endswith(name)]) == 1


@pytest.mark.parametrize("spare", [b"", b"of another writer"])
def test_unfinished_file_that_is_long_enough_or_too_long(hub, get, tmp_path, spare):
    name = "model.safetensors"
    get(stop_at=20_000_000)
    (unfinished,) = (tmp_path / "models").rglob("*.incomplete")
    unfinished.write_bytes(hub.files[name] + spare)
    hub.asked.clear()
    assert (Path(get()["path"]) / name).read_bytes() == hub.files[name]
    asked = [span for path, span in hub.asked if path.endswith(name)]
    assert asked == ([None] if spare else [])


def test_room_is_measured_for_what_is_missing_of_this_model(hub, get, tmp_path):
    little = "import shutil, types; shutil.disk_usage = lambda place: types.SimpleNamespace(free=25_000_000)"
    other = tmp_path / "models" / "acestep-v15-sft" / "another-model" / "model.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(bytes(40_000_000))
    assert "make room there, or name another folder in ACESTEP_MODELS" in get(first=little)["error"]
    get(stop_at=20_000_000)
    assert "path" in get(first=little)


def test_full_disk_is_told_as_such(get):
    full = """
import errno, huggingface_hub.file_download
def http_get(*given, **named):
    raise OSError(errno.ENOSPC, "No space left on device")
huggingface_hub.file_download.http_get = http_get
"""
    error = get(first=full)["error"]
    assert "No space left on device; make room in " in error
    assert "run the same command again, which resumes the download" in error
    assert "connection" not in error


def test_pieces_of_different_versions_are_never_joined(hub, get, tmp_path):
    name = "model.safetensors"
    hub.cut[name] = 25_000_000
    get()
    (unfinished,) = (tmp_path / "models").rglob("*.incomplete")
    assert unfinished.stat().st_size > 0
    hub.cut.clear()
    hub.files[name] = hub.files[name][::-1]
    assert (Path(get()["path"]) / name).read_bytes() == hub.files[name]
    assert not unfinished.exists()


def test_damaged_download_is_removed(hub, get, tmp_path):
    hub.damaged.add("model.safetensors")
    answer = get()
    assert "model.safetensors arrived damaged (its checksum is not the hub's) and was removed" in answer["error"]
    assert not list((tmp_path / "models").rglob("model*"))


@pytest.mark.parametrize(
    "name",
    [
        "model/../../../../x.safetensors",
        "model/../../../../../x.safetensors",
        "model\\..\\..\\x.safetensors",
        "model:x.safetensors",
    ],
)
def test_a_hub_that_lists_names_outside_the_models_folder_is_refused(hub, get, tmp_path, name):
    hub.files[name] = b"outside"
    answer = get()
    assert answer["kind"] == "DownloadError"
    assert f"lists {name!r}, which would lie outside the model's folder; nothing was fetched" in answer["error"]
    assert not list(tmp_path.rglob("*x.safetensors*")) and not list((tmp_path / "models").rglob("*.incomplete"))


def test_a_hub_that_lists_hashes_that_are_paths_is_refused(hub, get, tmp_path):
    described = hub.describe()
    for sibling in described["siblings"]:
        sibling["blobId"] = "../../../x"
        sibling.pop("lfs", None)
    hub.describe = lambda: described
    answer = get()
    assert answer["kind"] == "DownloadError" and "without its size or hash" in answer["error"]
    assert not list((tmp_path / "models").rglob("*"))


def test_no_hub(get):
    answer = get(HF_ENDPOINT="http://127.0.0.1:9")
    assert answer["kind"] == "DownloadError"
    assert "check the connection" in answer["error"]
    assert get(HF_HUB_OFFLINE="1")["kind"] == "DownloadError"


def test_gone_from_the_hub(hub, get):
    assert "could not be fetched from ACE-Step/acestep-v15-base" in get("acestep-v15-base")["error"]
    for name in ("config.json", "model.safetensors", "silence_latent.pt"):
        del hub.files[name]
    assert "ACE-Step/acestep-v15-sft no longer has config.json" in get()["error"]


def test_unknown_name(hub, get):
    assert "tiny comes with this package" in get("tiny")["error"]
    assert "mystery is no known model" in get("mystery")["error"]
    assert hub.asked == []

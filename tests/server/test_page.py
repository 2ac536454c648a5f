"""The page in the server: it is built, its events make jobs, and Gradio opens nothing but the page."""

import json
import sys

import pytest

pytest.importorskip("gradio", reason="gradio is not installed; it comes with the extra [serve]")
pytest.importorskip("httpx", reason="httpx, fastapi's test client, is not installed; it comes with [test]")

pytestmark = pytest.mark.slow  # Gradio takes seconds to be imported, and the page to be built

UNCHANGED = {"__type__": "update"}
LINE = "What do you want to hear?"


@pytest.fixture
def page(server, connect):
    """A client of a server with its page."""
    return connect(server, page=True)


class Events:
    """The events of a page, as its scripts send them."""

    def __init__(self, client):
        self.client, self.config = client, client.get("/config").json()
        self.components = {one["id"]: one for one in self.config["components"]}

    def press(self, button, **labels):
        """What an event of a button, named by its id, gives back; labels with "_" for spaces -> values."""
        target = next(key for key, one in self.components.items() if one["props"].get("elem_id") == button)
        event = next(one for one in self.config["dependencies"] if [target, "click"] in one["targets"])
        inputs = [self.components[key]["props"] for key in event["inputs"]]
        data = [labels.get(one.get("label"), one.get("value")) for one in inputs]
        return self.run(event, data)

    def act(self, **asked):
        """What an act of a script gives back: the values of the components that it fills, by label."""
        target = next(key for key, one in self.components.items() if one["props"].get("elem_id") == "acts")
        event = next(one for one in self.config["dependencies"] if [target, "submit"] in one["targets"])
        given = zip(event["outputs"], self.run(event, [], event_data=asked))
        filled = [(self.components[key]["props"].get("label"), one) for key, one in given]
        return [(name, one.get("value") if isinstance(one, dict) else one) for name, one in filled if one != UNCHANGED]

    def bring(self, drafts):
        """What the server says of drafts that a script brings."""
        target = next(key for key, one in self.components.items() if one["props"].get("elem_id") == "drafts")
        event = next(one for one in self.config["dependencies"] if [target, "submit"] in one["targets"])
        [fitting] = self.run(event, [], event_data=drafts)
        return fitting

    def run(self, event, data, **more):
        body = {"fn_index": event["id"], "data": data, "session_hash": "s", **more}
        answer = self.client.post("/gradio_api/run/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.mark.skipif(sys.platform == "win32", reason="user ids")
def test_a_user_without_a_home_has_the_page_too(monkeypatch, server, connect):
    def getpwuid(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    assert connect(server, page=True).get("/config").status_code == 200


def test_buttons_make_the_jobs_that_requests_make(page, server):
    events = Events(page)
    [said] = events.press("simple-make", **{LINE: "calm lo-fi"})
    assert "Queued: calm lo-fi" in said
    [said] = events.press("custom-make", Caption="<b>house</b>", **{"Tempo (bpm)": "120", "Takes": 2, "Seed": "7"})
    assert "Queued: &lt;b&gt;house" in said
    newest, first = server.queue.jobs()
    assert [(step.kind, step.planner) for step in first.order.steps] == [
        ("write", "tiny-planner"),
        ("plan", "tiny-planner"),
    ]
    assert first.order.steps[0].line == "calm lo-fi" and first.order.song.seconds == 30
    assert newest.order.song.bpm == 120 and [one.seed for one in newest.order.settings] == [7, 8]
    [said] = events.press("custom-make", Caption="x", Seed="1.5")
    assert "wrong" in said and "seed: got 1.5, expected a whole number" in said
    assert len(server.queue.jobs()) == 2

    server.queue.wait(newest, 30)
    song = newest.made[0]["id"]
    filled = dict(events.act(act="reuse", id=song))
    assert filled["Caption"] == "<b>house</b>" and filled["Seed"] == "7" and filled["Tempo (bpm)"] == "120"
    assert (None, [{"id": song, "name": "house"}]) in events.act(act="edit", id=song, name="house")
    assert "expected the handle of an upload" in str(events.act(act="edit", id="/etc/passwd"))
    assert "page: got" in str(events.act(act="delete everything", id=song))


def test_of_a_draft_comes_back_what_still_fits(page, server):
    events = Events(page)
    gone = [{"id": "u_00000000000000000000000000000000", "name": "gone"}]
    custom = {
        "caption": "house",
        "format": "wav",
        "bit_depth": "32f",
        "count": 3,
        "solver": "none such",
        "seconds": 1e9,
    }
    drafts = {"custom": custom, "edit": {"source": gone, "regions": "1-2"}, "simple": {"line": ["x"]}, "no such": 1}
    fitting = events.bring(drafts)
    assert set(fitting) == {"simple", "custom", "reference", "edit", "planner", "train"}
    [caption, count, file] = fitting["custom"]
    assert (caption, count, file["format"]) == ({"caption": "house"}, {"count": 3}, "wav")
    assert file["bit_depth"]["value"] == "32f" and ["16", "16"] in file["bit_depth"]["choices"]
    assert fitting["edit"] == [{"regions": "1-2"}] and fitting["simple"] == []
    assert not any(events.bring("x").values())


def test_only_the_page_is_served_of_gradio(page, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    home = page.get("/", params={"deep_link": "../../secret"})
    assert home.status_code == 200 and "default-src 'self'" in home.headers["content-security-policy"]
    config = page.get("/config").json()
    assert config["analytics_enabled"] is False and "googleapis" not in json.dumps(config)
    for path in (
        f"file={secret}",
        f"file/{secret}",
        "proxy=http://127.0.0.1/",
        "upload_progress",
        "runs",
        "openapi.json",
    ):
        assert page.get(f"/gradio_api/{path}").status_code == 404, path
    for path in ("upload", "call/generate", "call/predict", "component_server", "process_recording", "vibe-edit"):
        assert page.post(f"/gradio_api/{path}", json={}).status_code == 404, path
    assert page.get("/static/../../../etc/passwd").status_code == 404
    assert page.get("/page/..%2Fmount.py").status_code == 404
    assert page.get("/page/strings.js").text.startswith("export default {")
    assert page.get("/v1/nothing").status_code == 404 and page.get("/v1/songs").status_code == 200

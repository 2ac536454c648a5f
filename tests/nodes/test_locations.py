"""Paths: those that a stranger's workflow must not open, and those that a page must not be told."""

import json

import pytest
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.nodes.host import locations, routes
from aiohttp.test_utils import make_mocked_request


@pytest.mark.parametrize(
    "name", [r"\\evil\share", "//evil/share", r"/\evil\share", r"\/evil/share", r"  \\?\UNC\evil\share", "/\\/evil"]
)
def test_a_folder_on_another_machine_is_refused_before_it_is_looked_for(name, comfy_folders, monkeypatch):
    monkeypatch.setattr(locations, "user_path", lambda *_: pytest.fail("looked for"))
    with pytest.raises(UserError, match="which is on another machine; copy the clips to this one"):
        locations.clips_folder(name)


def test_folders_of_this_machine_are_taken(comfy_folders):
    inputs = comfy_folders / "input"
    assert locations.clips_folder("clips") == inputs / "clips"
    assert locations.clips_folder(str(comfy_folders)) == comfy_folders
    for name in ("../x", "a/../../x", "~nosuchuser/x"):
        with pytest.raises(UserError):
            locations.clips_folder(name)


def test_pages_are_told_no_paths(comfy_models, comfy_folders, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    told = f"put it into {comfy_models / 'acestep'} or {comfy_folders / 'output' / 'x'}, not /home/somebody/y or /z"
    assert locations.without_paths(told) == "put it into models/acestep or output/x, not ~/y or /z"


@pytest.fixture
def post(monkeypatch, said):
    """Asks a route of the pack with a body, and gives status and JSON."""
    import server
    from aiohttp import web

    def serve(answer, method="POST"):
        table = web.RouteTableDef()
        monkeypatch.setattr(server.PromptServer.instance, "routes", table, raising=False)
        routes.serve("/acestep-cascade/x", answer, method)
        ((route,),) = [[one for one in table]]
        assert (route.method, route.path) == (method, "/acestep-cascade/x")
        return route.handler

    async def ask(answer, body: bytes):
        request = make_mocked_request("POST", "/acestep-cascade/x")
        request._read_bytes = body
        response = await serve(answer)(request)
        return response.status, json.loads(response.body)

    import asyncio

    return lambda answer, body: asyncio.run(ask(answer, body))


def test_the_guides_have_an_address_without_the_name_of_the_packs_folder(monkeypatch, said, tmp_path):
    import server
    from aiohttp import web

    table = web.RouteTableDef()
    monkeypatch.setattr(server.PromptServer.instance, "routes", table, raising=False)
    routes.serve_folder("/acestep-cascade/guides", tmp_path)
    routes.serve_folder("/acestep-cascade/gone", tmp_path / "gone")  # with it ComfyUI could not start
    assert [(one.prefix, one.path) for one in table] == [("/acestep-cascade/guides", tmp_path)]


def test_a_route_answers_json_with_json(post, comfy_models):
    assert post(lambda query: {"given": query}, b'{"a": [1]}') == (200, {"given": {"a": [1]}})

    def fails(query):
        raise CheckpointError(f"{comfy_models}/acestep/x: is damaged")

    assert post(fails, b"{}") == (400, {"error": "models/acestep/x: is damaged"})


@pytest.mark.parametrize("body", [b"", b"no", b"[1]", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_object_is_told_in_one_line(body, post):
    status, told = post(lambda query: pytest.fail("asked"), body)
    assert status == 400 and told["error"].startswith("request: ") and "\n" not in told["error"]

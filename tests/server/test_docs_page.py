"""The page of all routes: all of them, from this server alone, and with the fields that requests may have."""

import dataclasses
import re


def test_every_route_stands_on_the_page_and_nothing_comes_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    for path, verbs in client.get("/openapi.json").json()["paths"].items():
        for verb, route in verbs.items():
            assert f'<span class="verb {verb}">{verb.upper()}</span><code>{path}</code>' in page.text, (verb, path)
            for content in route.get("requestBody", {}).get("content", {}).values():
                known = content["schema"].get("properties") or content["schema"].get("oneOf")
                assert known or not content["example"], path
    addresses = set(re.findall(r"\w+://[^/\s'\"<]+", page.text))
    assert addresses == {"http://127.0.0.1"} and not re.search(r"<(script|link|img|iframe)|@import|url\(", page.text)
    assert "integer, 30 to 300" in page.text and "/v1/songs/s_0123456789abcdef/audio" in page.text
    assert client.get("/redoc").status_code == 404


def test_a_key_is_asked_for_and_stands_in_the_examples_as_a_word_alone(server, connect):
    key = "a-key-of-enough-letters"
    client = connect(server, key=key)
    assert client.get("/docs").status_code == 401
    page = client.get("/docs", headers={"authorization": f"Bearer {key}"})
    assert "Bearer KEY" in page.text and key not in page.text


def test_schemas_have_the_fields_of_what_requests_become():
    from acestep_pack.acestep_core.editing.edit import Edit
    from acestep_pack.acestep_core.flow.solvers import SOLVERS as KNOWN_SOLVERS
    from acestep_pack.acestep_core.generation.settings import GenerationSettings
    from acestep_pack.acestep_core.planner.sampling import Sampling
    from acestep_pack.acestep_core.server.body_schemas import JOB, SOLVERS, SONG
    from acestep_pack.acestep_core.song import Song
    from acestep_pack.acestep_core.training.settings import LoraSettings

    def names(kind):
        return {column.name for column in dataclasses.fields(kind)}

    songs, answer, _, training, _ = (one["properties"] for one in JOB["oneOf"])
    assert set(SONG) == names(Song) | {"instrumental"}
    assert set(songs["settings"]["properties"]) == names(GenerationSettings) - {"source", "edit", "planner"}
    assert set(songs["edit"]["properties"]) == names(Edit) | {"source"}
    assert set(answer["sampling"]["properties"]) == names(Sampling)
    assert set(training["settings"]["properties"]) == names(LoraSettings)
    assert tuple(KNOWN_SOLVERS) == SOLVERS

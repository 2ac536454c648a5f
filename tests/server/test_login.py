"""A browser's way in where the server has a key: the form, its cookie, and what both do not open."""

import pytest
from acestep_pack.acestep_core.server import sessions

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")

KEY = "a-key-of-enough-letters"
PAGE = {"accept": "text/html"}


@pytest.fixture
def locked(server, connect):
    return connect(server, key=KEY)


def test_the_key_opens_the_page_by_a_cookie_that_scripts_cannot_read(locked):
    asked = locked.get("/v1/songs", headers=PAGE, follow_redirects=False)
    assert asked.status_code == 303 and asked.headers["location"] == "/login"
    assert locked.get("/v1/songs").status_code == 401
    assert "Sign in" in locked.get("/login").text
    wrong = locked.post("/login", data={"key": KEY + "x"}, follow_redirects=False)
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers and KEY not in wrong.text

    right = locked.post("/login", data={"key": KEY}, follow_redirects=False)
    cookie = right.headers["set-cookie"].lower()
    assert right.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie and KEY not in cookie
    assert locked.get("/v1/songs").status_code == 200
    assert locked.get("/v1/songs", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert locked.get("/v1/songs", headers={"host": "evil.example"}).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert locked.post("/v1/jobs", json={}, headers=foreign).status_code == 403
    assert locked.post("/logout", follow_redirects=False).status_code == 303
    assert locked.get("/v1/songs").status_code == 401


def test_a_token_is_of_one_key_and_of_a_time():
    token = sessions.token_of(KEY, now=1000.0)
    assert sessions.is_token(token, KEY, now=1000.0)
    assert not sessions.is_token(token, KEY + "x", now=1000.0)
    assert not sessions.is_token(token, KEY, now=1000.0 + sessions.KEPT_SECONDS + 1)
    until, mac = token.split(".")
    assert not sessions.is_token(f"{int(until) + 9}.{mac}", KEY, now=1000.0)
    assert not any(sessions.is_token(bad, KEY) for bad in ("", ".", "9" * 40 + ".x", "é.x", f"{until}"))
    assert not sessions.has_session({"cookie": "\x00;;=é"}, KEY)

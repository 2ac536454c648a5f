"""Who may ask: hosts, origins, keys, sizes and rates, and what `serve` refuses to start with."""

import asyncio
from types import SimpleNamespace

import pytest
from acestep_pack.acestep_core.cli import serve
from acestep_pack.acestep_core.cli.parser import MISTAKE, build_parser, main
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.server import security
from acestep_pack.acestep_core.server.security import Access, Guard, Rate, Refused, host_name

KEY = "a-key-of-enough-letters"


def scope(path="/v1/jobs", method="GET", client="127.0.0.1", **headers):
    headers = {"host": "127.0.0.1:8001", **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "path": path, "method": method, "client": (client, 1), "headers": pairs}


def status(access, asked):
    try:
        Guard(None, access).check(asked)
    except Refused as refused:
        assert KEY not in refused.message
        return refused.status
    return 200


@pytest.mark.parametrize(
    "asked, expected",
    [
        (scope(), 200),
        (scope(host="localhost"), 200),
        (scope(host="[::1]:8001"), 200),
        (scope(host="LOCALHOST:9"), 200),
        (scope(host="evil.example"), 403),
        (scope(host="127.0.0.1.evil.example"), 403),
        (scope(host="192.168.0.7:8001"), 403),
        (scope(host=""), 403),
        (scope(origin="http://127.0.0.1:8001"), 200),
        (scope(origin="http://127.0.0.1:9999"), 403),
        (scope(origin="https://evil.example"), 403),
        (scope(origin="null"), 403),
        (scope(origin="http://["), 403),
        (scope(method="POST", sec_fetch_site="cross-site"), 403),
        (scope(method="POST", sec_fetch_site="same-origin"), 200),
        (scope(method="GET", sec_fetch_site="cross-site"), 200),
        (scope(method="POST", content_length="4000001"), 413),
        (scope(method="POST", content_length="many"), 413),
        (scope(method="POST", content_length="9" * 5000), 413),
        (scope("/v1/uploads", "POST", content_length="90000000"), 200),
        (scope("/v1/uploads", "POST", content_length="102000000"), 413),
        (scope("/v1/chat/completions", "POST", content_length="20000000"), 200),
    ],
)
def test_hosts_origins_and_sizes_on_this_machine(asked, expected):
    assert status(Access(), asked) == expected


@pytest.mark.parametrize(
    "asked, expected",
    [
        (scope(), 401),
        (scope(authorization=f"Bearer {KEY}"), 200),
        (scope(authorization=f"bearer {KEY}"), 200),
        (scope(x_api_key=KEY), 200),
        (scope(authorization=f"Bearer {KEY}x"), 401),
        (scope(authorization="Bearer é"), 401),
        (scope(authorization=f"Basic {KEY}"), 401),
        (scope("/health"), 200),
        (scope("/openapi.json"), 401),
        (scope("/v1/audio"), 401),
        (scope("/release_task", "POST"), 200),  # its body may have the key
        (scope("/release_task", "POST", authorization="Bearer wrong"), 401),
    ],
)
def test_a_key_is_asked_for_everywhere_but_at_the_door(asked, expected):
    assert status(Access(key=KEY), asked) == expected


@pytest.mark.parametrize(
    "host, expected", [("10.0.0.5:8001", 200), ("evil.example", 403), ("music.example", 200), ("localhost", 200)]
)
def test_another_address_is_known_by_numbers_and_by_names_that_were_allowed(host, expected):
    access = Access("0.0.0.0", KEY, hosts=("music.example",))
    assert status(access, scope(host=host, authorization=f"Bearer {KEY}")) == expected


def test_pages_of_an_allowed_origin_may_ask():
    assert status(Access(origins=("https://a.example",)), scope(origin="https://a.example")) == 200


@pytest.mark.parametrize(
    "host, name", [("a:1", "a"), ("a", "a"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("A.b:1", "a.b"), ("", "")]
)
def test_names_of_hosts(host, name):
    assert host_name(host) == name


def test_a_client_that_asks_too_often_waits():
    rate = Rate(3)
    for _ in range(3):
        rate.take("a", now=0.0)
    with pytest.raises(Refused) as refused:
        rate.take("a", now=1.0)
    assert refused.value.status == 429
    rate.take("b", now=1.0)
    rate.take("a", now=21.0)


def test_the_rate_remembers_a_bounded_number_of_clients():
    rate = Rate(3)
    for number in range(security._ADDRESSES_MOST + 5):
        rate.take(str(number), now=0.0)
    assert len(rate._left) == security._ADDRESSES_MOST


def answer_of(messages, access=None, path="/v1/jobs"):
    """(status, whether the application had the whole body) for a body that comes in these messages."""
    waiting, sent, had = list(messages), [], []

    async def app(asked, receive, send):
        while (await receive()).get("more_body"):
            pass
        had.append(True)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(app, access or Access())(scope(path, "POST"), receive, send))
    return sent[0]["status"], bool(had)


def part(size, more):
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_without_a_length_is_bounded_too():
    assert answer_of([part(10, True), part(10, False)]) == (200, True)
    assert answer_of([part(1_000_000, True)] * 5) == (413, False)


def test_all_bodies_together_are_bounded_and_given_back():
    held = security._Held(100)
    with held.of_one() as first, held.of_one() as second:
        first(60)
        with pytest.raises(Refused):
            second(60)
    with held.of_one() as take:
        take(100)


def test_a_body_that_does_not_come_ends_the_request(monkeypatch):
    monkeypatch.setattr(security, "BODY_SECONDS_MOST", 0.05)
    assert answer_of([part(10, True)]) == (408, False)


def test_web_sockets_are_refused():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(None, Access())({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_short_key_is_refused():
    with pytest.raises(UserError, match="expected at least 16"):
        Access(key="short")
    with pytest.raises(UserError, match="other characters than ASCII has"):
        Access(key="schlüsselschlüssel")


# ---- what `serve` starts with ----------------------------------------------------------------------------------------


def access_of(*arguments):
    argv = ["serve", *arguments]
    return serve.access_of(build_parser(argv).parse_args(argv))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(serve.KEY_ENVIRONMENT, raising=False)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.7", "music.example"])
def test_another_address_needs_a_key_or_the_word_that_it_needs_none(address, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="reaches beyond this machine"):
        access_of("--address", address)
    assert access_of("--address", address, "--no-key").key is None
    (tmp_path / "key").write_text(f"{KEY}\nmore\n")
    assert access_of("--address", address, "--key-file", str(tmp_path / "key")).key == KEY
    monkeypatch.setenv(serve.KEY_ENVIRONMENT, KEY)
    assert access_of("--address", address).key == KEY


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_this_machine_needs_no_key(address):
    assert access_of("--address", address).key is None


def test_an_empty_or_absent_key_file_is_refused(tmp_path):
    (tmp_path / "key").write_text("\n")
    for name in ("key", "absent"):
        with pytest.raises(UserError, match="--key-file"):
            access_of("--key-file", str(tmp_path / name))


def test_without_the_extra_one_line_names_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert main(["serve"]) == MISTAKE
    said = capsys.readouterr().err
    assert "-m pip install 'fastapi>=" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--port", "70000"], "--port"),
        (["--queue", "0"], "--queue"),
        (["--rate", "0"], "--rate"),
        (["--upload-mb", "0"], "--upload-mb"),
        (["--address", "256.1.1.1", "--no-key"], "cannot be listened on"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "find_spec", lambda name: True)
    assert main(["serve", *arguments]) == MISTAKE
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_the_page_is_served_where_its_package_is_and_it_is_wanted(monkeypatch):
    notes = []
    console = SimpleNamespace(note=notes.append)
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert not serve.has_page(SimpleNamespace(no_page=True), console) and notes == []
    assert not serve.has_page(SimpleNamespace(no_page=False), console)
    assert len(notes) == 1 and "-m pip install 'fastapi>=" in notes[0] and "\n" not in notes[0]
    monkeypatch.setattr(serve, "find_spec", lambda name: object())
    assert serve.has_page(SimpleNamespace(no_page=False), console) and len(notes) == 1


def test_files_of_the_page_do_not_count_as_requests():
    guard = Guard(None, Access(requests_a_minute=1))
    for _ in range(5):
        guard.check(scope("/assets/index.js"))
    guard.check(scope())
    with pytest.raises(Refused):
        guard.check(scope())

"""What nodes say: live text to one client and without markup, lasting text as a result."""

import logging

import pytest
from acestep_pack.nodes.host import messages


def test_live_text_holds_neither_html_nor_markdown_that_a_page_would_follow(said):
    clip = "clip <img src=//evil/x> ![x](http://evil/y) [a]: http://evil/z [[b|http://evil]] & _plain_ 1 < 2"
    messages.say(clip, "1")
    (text,) = said
    for risky in ("<img", "![x](", "](", "]:", "[["):
        assert risky not in text
    assert text.replace("\N{ZERO WIDTH SPACE}", "") == clip
    messages.say("L 3/8 · t 0.83", "1")
    assert said[-1] == "L 3/8 · t 0.83"


@pytest.fixture
def events(said, monkeypatch) -> list:
    """Events that are sent to pages: (name, view, client)."""
    import server

    sent = []
    monkeypatch.setattr(server.PromptServer.instance, "send_sync", lambda *event: sent.append(event), raising=False)
    return sent


def test_lasting_text_goes_to_the_client_at_once_and_into_the_result(events):
    library = logging.getLogger("acestep_pack.acestep_core.somewhere")
    with messages.notes_on("7") as notes:
        messages.note(("first",), "7")
        messages.keep(["second", "first"], "7")  # each line once
        library.warning("of %s", "the library")
        library.info("not worth a note")
        messages.note((), "7")
    library.warning("too late")
    views = [view for name, view, client in events]
    assert [view["lines"] for view in views] == [
        ["first"],
        ["first", "second"],
        ["first", "second", "of the library"],
    ]
    assert {(name, view["node"], client) for name, view, client in events} == {
        (messages.TEXT_EVENT, "7", "the client that queued")
    }
    assert notes.ui == {"acestep_text": [{"lines": ["first", "second", "of the library"]}]}


def test_a_prompt_that_a_script_queued_says_nothing_to_pages(said, events, monkeypatch):
    import server

    monkeypatch.setattr(server.PromptServer.instance, "client_id", None, raising=False)
    messages.say("L 3/8", "1")
    messages.keep(["a note"], "1")
    assert said == events == []  # ComfyUI takes None for everybody


def test_nodes_that_run_at_the_same_time_keep_their_own_notes(events):
    with messages.notes_on("1") as one, messages.notes_on("2") as two:
        messages.keep(["a"], "1")
        messages.keep(["b"], "2")
    assert [notes.ui["acestep_text"][0]["lines"] for notes in (one, two)] == [["a"], ["b"]]
    messages.keep(["kept at step 2"], "3")  # of a node that is over: the event alone
    assert events[-1][1] == {"node": "3", "lines": ["kept at step 2"]}

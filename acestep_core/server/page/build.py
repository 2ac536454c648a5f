"""The page as Gradio's blocks: forms in tabs on the left, jobs and their songs on the right."""

from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from ..server import Server
from . import strings
from .acts import act_events
from .client_api import client_endpoint
from .custom import custom_tab
from .desk import EVENT, Desk
from .drafts import restore_events
from .edit import edit_tab
from .planner import planner_tab
from .reference import reference_tab
from .simple import simple_tab
from .train import train_tab

_FORMS = {
    "simple": simple_tab,
    "custom": custom_tab,
    "reference": reference_tab,
    "edit": edit_tab,
    "planner": planner_tab,
    "train": train_tab,
}


def build_page(server: Server, folders: Mapping[Path, str], *, can_sign_out: bool = False) -> gr.Blocks:
    """The page of a server."""
    desk = Desk(server, folders)
    with gr.Blocks(title=strings.TITLE, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(_header(can_sign_out), elem_id="top", apply_default_css=False)
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=6, min_width=320, elem_id="forms"):
                said = gr.HTML(elem_id="page-said", elem_classes="answer")
                _tabs(desk, said)
            with gr.Column(scale=5, min_width=320, elem_id="results"):
                _scripted("<job-list></job-list>")
        client_endpoint(desk)
        blocks.load(desk.fresh, None, [component for component, _, _ in desk.named], **EVENT)
    return blocks


def _tabs(desk: Desk, said: gr.HTML) -> None:
    forms = {}
    with gr.Tabs(elem_id="tabs") as tabs:
        for name, make in _FORMS.items():
            with _tab(name):
                forms[name] = make(desk)
        with _tab("library"):
            _scripted("<song-library></song-library>")
    act_events(desk, tabs, forms, said)
    restore_events(desk, forms)


def _tab(name: str) -> gr.Tab:
    return gr.Tab(strings.TABS[name], id=name, elem_id=f"tab-{name}", render_children=True)


def _scripted(element: str) -> gr.HTML:
    """An element that scripts of the page fill."""
    return gr.HTML(html_template=element, js_on_load=None, apply_default_css=False)


def _header(can_sign_out: bool) -> str:
    out = f'<form method="post" action="logout"><button>{strings.SIGN_OUT}</button></form>' if can_sign_out else ""
    links = f'<nav><a href="docs" target="_blank" rel="noopener">{strings.API_LINK}</a>{out}</nav>'
    return f"<header><div><h1>{strings.TITLE}</h1><p>{strings.SUBTITLE}</p></div>{links}</header>"

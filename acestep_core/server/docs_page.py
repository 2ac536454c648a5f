"""The page of all routes at /docs: the OpenAPI document as plain HTML, without scripts and foreign addresses."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from .security import Access

_GROUPS = {
    "jobs": ("Jobs", "Songs, edits, plans, trainings: each is a job. Ask for its state, or follow its events."),
    "library": ("Sounds and songs", "A sound is sent once; its handle stands for it in requests."),
    "training": ("Training", "Datasets of clips with labels, and the adapters that jobs make of them."),
    "OpenAI's form": ("OpenAI's form", "For OpenAI's clients, whose base address is this server's, with /openai/v1."),
    "the original's": ("The original's", "For clients of ACE-Step's own server. A path stands for a name here."),
}
_STANDING = {"job_id": "j_0123456789abcdef", "song_id": "s_0123456789abcdef", "handle": "s_0123456789abcdef"}
_STANDING |= {"name": "my-style", "clip": "c_0123456789ab", "number": "0", "path": "s_0123456789abcdef.mp3"}
# The last part of a path -> what curl needs to show or keep the answer.
_CURL = {"events": "-N", "audio": "-o song.flac", "file": "-o adapter.safetensors", "preview": "-o preview.wav"}
_CURL |= {"sound": "-o song.wav", "speech": "-o song.mp3"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_SHOWN_OF_AN_ENUM = 12
_STYLE = """
:root { color-scheme: light dark; --ink: #27272a; --dim: #71717a; --line: #e4e4e7; --back: #fafafa; --card: #fff;
  --l: #3b82f6; --m: #8b5cf6; --s: #ec4899; --good: #16a34a; --bad: #dc2626 }
@media (prefers-color-scheme: dark) { :root { --ink: #f4f4f5; --dim: #a1a1aa; --line: #2a2a32; --back: #101014;
  --card: #18181d; --good: #4ade80; --bad: #f87171; --m: #a78bfa; --l: #60a5fa } }
* { box-sizing: border-box }
body { font: 15px/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; color: var(--ink);
  background: var(--back); margin: 0 auto; max-width: 1000px; padding: 16px clamp(10px, 2.5vw, 24px) 60px }
h1 { font-size: 20px; font-weight: 680; margin: 0; width: fit-content; color: transparent; background-clip: text;
  background-image: linear-gradient(90deg, var(--l), var(--m) 45%, var(--s)) }
h2 { font-size: 17px; margin: 34px 0 2px } p { margin: 4px 0; color: var(--dim) } a { color: var(--m) }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; flex-wrap: wrap }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 10px }
details { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 8px 0; min-width: 0 }
details > div { padding: 0 14px 12px; min-width: 0 } details details { margin: 8px 0 }
summary { cursor: pointer; padding: 9px 14px; display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline }
summary::before { content: "▸"; color: var(--dim) } details[open] > summary::before { content: "▾" }
summary:hover { color: var(--m) } summary:focus-visible { outline: 2px solid var(--m); border-radius: 12px }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
summary code { font-weight: 600; overflow-wrap: anywhere } .what { color: var(--dim); font-size: 14px }
.verb { font: 600 12px/1.5 ui-monospace, Menlo, Consolas, monospace; min-width: 52px; color: var(--l) }
.post { color: var(--good) } .put { color: var(--m) } .delete { color: var(--bad) }
h3 { font-size: 13px; font-weight: 600; color: var(--dim); margin: 12px 0 4px }
pre { margin: 0; padding: 10px 12px; border: 1px solid var(--line); border-radius: 8px; background: var(--back);
  white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: 14px }
td { border-top: 1px solid var(--line); padding: 5px 14px 5px 0; vertical-align: top; overflow-wrap: anywhere }
td:first-child { width: 24% } td:nth-child(2) { width: 26%; color: var(--dim) } .must { color: var(--s) }
@media (max-width: 640px) { td, tr { display: block; width: auto !important } td { padding: 1px 0; border: 0 }
  tr { border-top: 1px solid var(--line); padding: 5px 0 } }
"""


def docs_routes(access: Access, has_page: bool) -> APIRouter:
    """The page at /docs."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        base = str(request.base_url).rstrip("/")
        if request.headers.get("x-forwarded-proto") == "https":
            base = base.replace("http:", "https:", 1)
        headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
        page = docs_page(request.app.openapi(), base, needs_key=access.key is not None, has_page=has_page)
        return HTMLResponse(page, headers=headers)

    return router


def docs_page(document: Mapping, base: str, *, needs_key: bool = False, has_page: bool = False) -> str:
    """An OpenAPI document as HTML. `base`: the address in its examples; `needs_key`: whether these show a key;
    `has_page`: whether there is a page at `/`.
    """
    routes = [
        (one["tags"][0], verb, path, one) for path, verbs in document["paths"].items() for verb, one in verbs.items()
    ]
    by_group = sorted(routes, key=lambda route: list(_GROUPS).index(route[0]))
    groups = [(tag, list(rows)) for tag, rows in groupby(by_group, lambda route: route[0])]
    links = "".join(f'<a href="#{_anchor(tag)}">{escape(_GROUPS[tag][0])}</a>' for tag, _ in groups)
    sections = "".join(_section(tag, rows, base, needs_key) for tag, rows in groups)
    back = '<a href="./">The page</a>' if has_page else ""
    title, about = escape(document["info"]["title"]), _text(_about(document))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>API · {title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<header><h1>{title} {escape(document['info']['version'])}</h1>{back}</header>"
        f'<p>{about}</p><nav>{links}<a href="openapi.json">openapi.json</a></nav>{sections}</body></html>'
    )


def _about(document: Mapping) -> str:
    refused = 'A request that is refused gets a status from 400 on and `{"error": {"message": ...}}`.'
    return f"{document['info']['description']} {refused}"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _section(tag: str, routes: list, base: str, needs_key: bool) -> str:
    title, hint = _GROUPS[tag]
    rows = "".join(_route(verb, path, one, base, needs_key) for _, verb, path, one in routes)
    return f'<section id="{_anchor(tag)}"><h2>{escape(title)}</h2><p>{escape(hint)}</p>{rows}</section>'


def _route(verb: str, path: str, route: Mapping, base: str, needs_key: bool) -> str:
    head = f'<span class="verb {verb}">{verb.upper()}</span><code>{escape(path)}</code>'
    summary = f'<summary>{head}<span class="what">{_text(route["summary"])}</span></summary>'
    parts = "".join(_parts(verb, path, route, base, needs_key))
    return f'<details id="{_anchor(f"{verb} {path}")}">{summary}<div>{parts}</div></details>'


def _parts(verb: str, path: str, route: Mapping, base: str, needs_key: bool) -> Iterator[str]:
    if parameters := route.get("parameters"):
        rows = {one["name"]: {**one["schema"], "description": f"in the {one['in']}"} for one in parameters}
        yield _fields("Parameters", rows, [one["name"] for one in parameters if one["required"]])
    content = route.get("requestBody", {}).get("content", {})
    kind, body = next(iter(content.items()), ("", {}))
    if kind == "application/json":
        yield f"<h3>Example</h3><pre>{escape(json.dumps(body['example'], indent=1, ensure_ascii=False))}</pre>"
    yield f"<h3>From a shell</h3><pre>{escape(_curl(verb, path, route, kind, body, base, needs_key))}</pre>"
    schema = body.get("schema", {})
    for one in schema.get("oneOf", [schema]):
        yield from _body(one, folded="oneOf" in schema)


def _body(schema: Mapping, *, folded: bool) -> Iterator[str]:
    """The tables of an object's fields, and of the objects in it. `folded`: it is one of several that a body may be."""
    if not schema.get("properties"):
        return
    inner = {name: one for name, one in schema["properties"].items() if one.get("properties")}
    tables = [_fields("" if folded else "Body", schema["properties"], schema.get("required", ()))]
    tables += [_fields(name, one["properties"], one.get("required", ())) for name, one in inner.items()]
    title = f"Body: {schema.get('title', '')}"
    made = "".join(tables)
    yield f"<details><summary>{escape(title)}</summary><div>{made}</div></details>" if folded else made


def _fields(title: str, properties: Mapping, required) -> str:
    rows = "".join(_field(name, one, name in required) for name, one in properties.items())
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f"{head}<table>{rows}</table>"


def _field(name: str, schema: Mapping, is_required: bool) -> str:
    must = ' <span class="must" title="required">*</span>' if is_required else ""
    usual = schema.get("default")
    shown = f"{usual:g}" if isinstance(usual, float) else json.dumps(usual, ensure_ascii=False)
    meaning = [schema.get("description", ""), "its fields stand below" if schema.get("properties") else ""]
    meaning.append("" if usual in (None, "") else f"default {shown}")
    said = _text("; ".join(filter(None, meaning)))
    return f"<tr><td><code>{escape(name)}</code>{must}</td><td>{escape(kind_of(schema))}</td><td>{said}</td></tr>"


def kind_of(schema: Mapping) -> str:
    """The kind and the limits of a value, in words."""
    if "enum" in schema:
        shown = ", ".join(map(str, schema["enum"][:_SHOWN_OF_AN_ENUM]))
        return shown + (", …" if len(schema["enum"]) > _SHOWN_OF_AN_ENUM else "")
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    if low is not None and high is not None:
        return f"{kind}, {low:g} to {high:g}" if high < 1e9 else f"{kind}, {low:g} to 2^63 − 1"
    least = "" if low is None else f", at least {low:g}"
    return f"{kind}{least}" if high is None else f"{kind}, at most {high:g}"


def _text(text: str) -> str:
    """A line as HTML, with what stands between backticks as code."""
    return re.sub(r"`(.*?)`", r"<code>\1</code>", escape(text, quote=False))


def _curl(verb: str, path: str, route: Mapping, kind: str, body: Mapping, base: str, needs_key: bool) -> str:
    """A line for a shell that makes the request of the example."""
    address = base + re.sub(r"{(\w+)}", lambda found: _STANDING.get(found[1], found[1].upper()), path)
    must = [one["name"] for one in route.get("parameters", ()) if one["in"] == "query" and one["required"]]
    if must:
        address += "?" + "&".join(f"{name}={_STANDING.get(name, 'VALUE')}" for name in must)
    parts = ["curl -s", _CURL.get(path.rpartition("/")[2], "")]
    parts.append("" if verb in ("get", "post") else f"-X {verb.upper()}")
    parts.append(shlex.quote(address))
    parts.append("-H 'Authorization: Bearer KEY'" if needs_key else "")
    if kind == "multipart/form-data":
        parts.append("-F file=@clip.wav")
    elif kind:
        data = shlex.quote(json.dumps(body["example"], ensure_ascii=False))
        parts.append(f"-H 'Content-Type: {kind}' -d {data}")
    return " ".join(filter(None, parts))

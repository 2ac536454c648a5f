"""Routes in OpenAI's form: speech, chat with sound in and out, models. A song is text with words to sing."""

import base64
import binascii
import io
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ..audio.formats import FORMATS
from ..errors import UserError, shown
from .answers import ended, job_versions, json_body, without_places
from .body_schemas import SETTINGS, SONG, body_docs, of_object
from .job_routes import MEDIA_TYPES
from .jobs import DONE, Job
from .orders import SongsOrder
from .server import Server

SPEECH_FORMAT = "mp3"
_ANY_MODEL = ("", "default", "auto", "acestep", "tts-1")
# Fields of a request that are those of a song, and of its settings, under the same names.
_SONG = ("lyrics", "bpm", "key", "key_scale", "time_signature", "language", "vocal_language", "seconds", "duration")
_SETTINGS = ("seed", "steps", "solver", "guidance", "lora", "loudness")
_MODES = {"cover": "cover", "repaint": "repaint"}
_OPENING = re.compile("<(prompt|lyrics)>")
_SPEECH = {"model": "tiny", "input": "[Verse]\nHello world", "instructions": "calm folk song", "voice": "any"}
_CHAT = {
    "model": "tiny",
    "modalities": ["text", "audio"],
    "audio": {"format": "mp3", "voice": "any"},
    "messages": [{"role": "user", "content": "upbeat pop song with piano"}],
}
_MODEL = {"type": "string", "description": "a cascade or a stage model; the server's own where none is named"}
_FORMAT = {"type": "string", "enum": tuple(FORMATS), "default": SPEECH_FORMAT}
_FIELDS = {name: {**SONG, **SETTINGS}[name] for name in (*_SONG, *_SETTINGS) if name in SONG or name in SETTINGS}
_SPEECH_FIELDS = {
    "model": _MODEL,
    "input": {"type": "string", "description": "what is sung; without instructions, how the song sounds"},
    "instructions": {"type": "string", "description": "how the song sounds"},
    "response_format": _FORMAT,
    "voice": {"type": "string", "description": "is not used"},
    **_FIELDS,
}
_CHAT_FIELDS = {
    "model": _MODEL,
    "messages": {"type": "array", "description": "the last one of a user is the caption; input_audio is a reference"},
    "modalities": {"type": "array", "description": "where it is given, the answer has the sound as OpenAI's has it"},
    "audio": of_object({"format": _FORMAT}),
    "stream": {"type": "boolean", "default": False},
    **_FIELDS,
}


def openai_routes(server: Server, folders: Mapping[Path, str]) -> APIRouter:
    """Routes of speech and chat."""
    router, queue = APIRouter(prefix="/v1", tags=["OpenAI's form"]), server.queue

    def post(path: str, example: Mapping, fields: Mapping, summary: str):
        extra = body_docs({"application/json": example}, of_object(fields))
        return router.post(path, summary=summary, openapi_extra=extra)

    @post("/audio/speech", _SPEECH, _SPEECH_FIELDS, "A song as a sound file")
    async def speech(request: Request) -> Response:
        [job] = queue.submit(await run_in_threadpool(speech_order, server, await json_body(request)))
        await ended(job, queue, request)
        path = server.library.path(job.made[0]["id"])
        kind = MEDIA_TYPES[path.suffix[1:]]
        return Response(await run_in_threadpool(path.read_bytes), media_type=kind)

    @post("/chat/completions", _CHAT, _CHAT_FIELDS, "A song as an answer")
    async def chat(request: Request) -> Response:
        given = await json_body(request)
        order = await run_in_threadpool(chat_order, server, given)
        [job] = queue.submit(order)
        if given.get("stream") is True:
            stream = _stream(server, job, given, folders)
            return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})
        await ended(job, queue, request)
        message = await run_in_threadpool(_message, server, job, given)
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**_head(job, given, "chat.completion"), "choices": [choice], "usage": _usage()})

    return router


def openai_models(server: Server) -> APIRouter:
    """The route of models, where it is not also the original's."""
    router = APIRouter(prefix="/v1", tags=["OpenAI's form"])
    router.add_api_route("/models", lambda: model_list(server), methods=["GET"])
    return router


def model_list(server: Server) -> dict:
    """The models as OpenAI's clients list them."""
    row = {"object": "model", "created": 0, "owned_by": "acestep-cascade"}
    return {"object": "list", "data": [{"id": name, **row} for name in server.models()]}


# ---- requests --------------------------------------------------------------------------------------------------------


def speech_order(server: Server, given: Mapping) -> SongsOrder:
    """`instructions` say how a song sounds and `input` what is sung; `input` alone says how it sounds. UserError."""
    text, style = _text(given, "input"), _text(given, "instructions")
    if not text.strip() and not style.strip():
        raise UserError("input: is empty; say what the song sounds like, or give its lyrics and instructions")
    words = {"caption": style, "lyrics": text} if style.strip() else {"caption": text}
    return _order(server, given, words, str(given.get("response_format") or SPEECH_FORMAT))


def chat_order(server: Server, given: Mapping) -> SongsOrder:
    """The song that the last message of a user describes, with sounds in it as source or reference. UserError."""
    texts, sounds = _last_message(given)
    tagged = _tagged("\n".join(texts))
    words = {"caption": tagged.get("prompt", "\n".join(texts) if not tagged else "").strip()}
    if tagged.get("lyrics", "").strip():
        words["lyrics"] = tagged["lyrics"].strip()
    config = given.get("audio_config") or {}
    audio = given.get("audio") or {}
    if not isinstance(config, Mapping) or not isinstance(audio, Mapping):
        raise UserError('audio: expected an object, such as {"format": "mp3"}')
    format = str(audio.get("format") or config.get("format") or SPEECH_FORMAT)
    handles = [server.uploads.put(io.BytesIO(sound)).id for sound in sounds]
    return _order(server, {**config, **given}, words, format, handles)


def _tagged(text: str) -> dict[str, str]:
    """What stands in <prompt> and in <lyrics>, the last of each; an opening that nothing closes is text."""
    found, place = {}, 0
    closings = {name: text.rfind(f"</{name}>") for name in ("prompt", "lyrics")}
    for opening in _OPENING.finditer(text):
        name, start = opening[1], opening.end()
        if place <= opening.start() and start <= closings[name]:
            place = text.index(f"</{name}>", start)
            found[name] = text[start:place]
    return found


def _order(server: Server, given: Mapping, words: dict, format: str, sounds: Sequence[str] = ()) -> SongsOrder:
    if format not in FORMATS:
        raise UserError(f"format: got {shown(format)}, expected one of {', '.join(FORMATS)}")
    song = {**words, **{name: given[name] for name in _SONG if given.get(name) is not None}}
    if given.get("instrumental") is True:
        song.pop("lyrics", None)
    settings = {name: given[name] for name in _SETTINGS if given.get(name) is not None}
    if (model := str(given.get("model") or "")) not in _ANY_MODEL:
        settings["models"] = model
    request: dict = {"song": song, "settings": settings, "format": format}
    task = given.get("task_type")
    if sounds and task in _MODES:
        request["edit"] = {"task": task, "source": sounds[0], **_region(given, str(task))}
    elif sounds:
        settings["reference"] = list(sounds)
    return server.requests.songs(request)


def _region(given: Mapping, task: str) -> dict:
    if task != "repaint":
        return {}
    end = given.get("repainting_end")
    return {"regions": [[given.get("repainting_start", 0), None if end in (None, -1) else end]]}


def _text(given: Mapping, name: str) -> str:
    value = given.get(name) or ""
    if not isinstance(value, str):
        raise UserError(f"{name}: got {shown(value)}, expected text")
    return value


def _last_message(given: Mapping) -> tuple[list[str], list[bytes]]:
    """Texts and sounds of the last message of a user."""
    messages = given.get("messages")
    messages = messages if isinstance(messages, list) else []
    users = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "user"]
    if not users:
        raise UserError('messages: got none of a user, expected [{"role": "user", "content": "upbeat pop song"}]')
    content = users[-1].get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise UserError(f"content: got {shown(content)}, expected text, or a list of parts")
    texts = [_text(part, "text") for part in parts if part.get("type") == "text"]
    return texts, [_sound(part) for part in parts if part.get("type") == "input_audio"]


def _sound(part: Mapping) -> bytes:
    inner = part.get("input_audio")
    data = inner.get("data") if isinstance(inner, Mapping) else None
    if not isinstance(data, str):
        raise UserError("input_audio: got no data, expected a sound file in base64")
    try:
        return base64.b64decode(data.rpartition(",")[2], validate=True)
    except binascii.Error as exc:
        raise UserError(f"input_audio: is no base64 ({exc})") from exc


# ---- answers ---------------------------------------------------------------------------------------------------------


def _head(job: Job, given: Mapping, kind: str) -> dict:
    model = str(given.get("model") or "")
    return {"id": f"chatcmpl-{job.id}", "object": kind, "created": int(time.time()), "model": model}


def _usage() -> dict:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _message(server: Server, job: Job, given: Mapping) -> dict:
    """The answer with the sound of the first song: as OpenAI's clients read it, and others as a data URL in a list."""
    made = job.made[0]
    path = server.library.path(made["id"])
    data = base64.b64encode(path.read_bytes()).decode()
    text = _words(made)
    if "modalities" in given or "audio" in given:
        sound: object = {"id": made["id"], "data": data, "expires_at": int(time.time()) + 86_400, "transcript": text}
        return {"role": "assistant", "content": None, "audio": sound}
    url = f"data:{MEDIA_TYPES[path.suffix[1:]]};base64,{data}"
    return {"role": "assistant", "content": text, "audio": [{"type": "audio_url", "audio_url": {"url": url}}]}


def _words(made: Mapping) -> str:
    song = made["song"]
    facts = [f"{song['bpm']} bpm" if song["bpm"] else "", song["key"] or "", f"{made['seconds']:g} s"]
    return f"{song['caption']}\n{', '.join(filter(None, facts))}, seed {made['seed']}\n{song['lyrics']}"


async def _stream(server: Server, job: Job, given: Mapping, folders: Mapping[Path, str]) -> AsyncIterator[str]:
    """Chunks: the role, a comment for each step, the sound, the end. A client that goes away cancels the job."""

    def chunk(delta: dict, reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**_head(job, given, 'chat.completion.chunk'), 'choices': [choice]})}\n\n"

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for _ in job_versions(job):
            if job.progress is not None:
                yield f": {job.progress.phase} {job.progress.share:.0%}\n\n"
        if job.state == DONE:
            message = await run_in_threadpool(_message, server, job, given)
            yield chunk({name: value for name, value in message.items() if name != "role" and value is not None})
            yield chunk({}, "stop")
        else:
            error = without_places(job.error or f"the job was {job.state}", folders)
            yield f"data: {json.dumps({'error': {'message': error, 'type': 'server_error'}})}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        server.queue.cancel(job.id)

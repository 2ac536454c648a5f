"""A ComfyUI pack for the tests alone: tells over HTTP what is inside the running server."""

import sys

import comfy.model_management
import execution
from aiohttp import web
from comfy_api.latest import ComfyExtension
from server import PromptServer

HEAVY = ("accelerate", "diffusers", "peft", "transformers")


@PromptServer.instance.routes.get("/acestep-tests/state")
async def state(request):
    loaded = [one.model.model for one in comfy.model_management.current_loaded_models if one.model is not None]
    models = [{"class": type(model).__name__, "module": type(model).__module__} for model in loaded]
    return web.json_response({"loaded": models, "imported": [name for name in HEAVY if name in sys.modules]})


@PromptServer.instance.routes.post("/acestep-tests/validate")
async def validate(request):
    """What ComfyUI says about a prompt before it queues one."""
    valid, error, _, node_errors = await execution.validate_prompt("0", await request.json(), None)
    return web.json_response({"valid": valid, "error": error, "node_errors": node_errors})


class ProbeExtension(ComfyExtension):
    async def get_node_list(self):
        return []


async def comfy_entrypoint():
    return ProbeExtension()

"""ComfyUI loads this folder as a node pack. Nothing is imported until ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import AceStepExtension

    return AceStepExtension()

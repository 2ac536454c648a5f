"""A clip that comes with the pack, for workflows that start from a clip."""

from comfy_api.latest import io

from ..acestep_core.audio.files import read
from ..acestep_core.band import EXAMPLE_CLIP
from .audio import CATEGORY
from .sound import to_audio


class ExampleClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepExampleClip",
            display_name="Example Clip",
            category=CATEGORY,
            description="12 s of calm lo-fi music in D minor at 80 bpm, for trying a workflow that starts from a clip. "
            "Put Load Audio in its place for a clip of your own.",
            search_aliases=["sample audio", "demo clip", "test sound", "load audio"],
            inputs=[],
            outputs=[io.Audio.Output("audio", display_name="audio", tooltip="Stereo at 48 kHz, four bars of music.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(to_audio(read(EXAMPLE_CLIP)))

"""The one table of the geometry of the published networks, as arguments of diffusers' and transformers' classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Geometry:
    """A network's parameters, and the arguments that give it this size."""

    parameters: int
    arguments: Mapping[str, int]


def _layers(parameters: int, hidden: int, intermediate: int, layers: int, heads: int, **more: int) -> Geometry:
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    return Geometry(parameters, MappingProxyType(sizes | more))


# "s" is the student that `train distill` makes of a published 2B; nobody has published one.
TRANSFORMERS = MappingProxyType(
    {
        "2b": _layers(1_575_458_880, 2048, 6144, 24, 16, patch_size=2, encoder_hidden_size=2048),
        "xl": _layers(4_168_897_088, 2560, 9728, 32, 32, patch_size=2, encoder_hidden_size=2048),
        "s": _layers(782_160_192, 1280, 4096, 24, 16, patch_size=2, encoder_hidden_size=2048),
    }
)
CONDITION_ENCODER = _layers(608_369_664, 2048, 6144, 8, 16)
TEXT_ENCODER = _layers(595_776_512, 1024, 3072, 28, 16)
VOCODER = Geometry(
    168_695_426,
    MappingProxyType(
        {"downsampling_ratios": (2, 4, 4, 6, 10), "decoder_channels": 128, "channel_multiples": (1, 2, 4, 8, 16)}
    ),
)
# Of the whole file of a stage model.
STAGE_PARAMETERS = MappingProxyType({"2b": 2_393_872_518, "xl": 4_987_310_726})
PLANNERS = MappingProxyType(
    {
        "0.6B": _layers(662_884_352, 1024, 3072, 28, 16),
        "1.7B": _layers(1_854_243_840, 2048, 6144, 28, 16),
        "4B": _layers(4_189_554_176, 2560, 9728, 36, 32),
    }
)

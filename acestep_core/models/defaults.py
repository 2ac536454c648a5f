"""The settings with which a stage model runs when the user chooses none."""

from dataclasses import dataclass

# What a checkpoint was trained for, by the names of the original. Any text-to-music model does the first three, more or
# less well; "cover" is that through codes.
TEXT_TO_MUSIC, REPAINT, PLAIN_COVER = "text2music", "repaint", "cover-nofsq"
COVER, MORPH = "cover", "flow-edit"
STEMS = ("extract", "lego", "complete")
ANY_TASKS = (TEXT_TO_MUSIC, REPAINT, PLAIN_COVER)
TURBO_TASKS = (*ANY_TASKS, COVER)
ALL_TASKS = (*TURBO_TASKS, *STEMS, MORPH)


@dataclass(frozen=True)
class VariantDefaults:
    """Defaults of a stage model: variant, steps, shift, guidance, and the cascade that it was trained for."""

    variant: str
    steps: int
    shift: float
    guidance: float = 1.0
    guidance_kind: str = "none"
    boundaries: tuple[float, ...] | None = None  # of the cascade that this model was trained for
    valid_times: tuple[float, ...] | None = None  # the only times that a distilled model was trained on, largest first
    cascade_steps: tuple[int, ...] | None = None  # steps of each stage of that cascade
    tasks: tuple[str, ...] = ANY_TASKS
    # (layer, its cross-attention heads that follow the lyrics), where the config names them
    lyric_heads: tuple[tuple[int, tuple[int, ...]], ...] = ()
    lyric_heads_trained: bool = False  # whether they were trained to look at what is sung
    source: str = "config.json"  # where the variant is from: "config.json", "file name" or "assumed"

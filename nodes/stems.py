"""Nodes for stems: one out of a mix, one more for a mix, and a band for a voice."""

from comfy_api.latest import io

from ..acestep_core.editing.edit import Edit
from ..acestep_core.editing.tasks import TRACKS
from .edit_nodes import EditNode, region_inputs, sources
from .edits import Sources, prepare_edit, regions_of
from .host import messages

ALL = "all"
NAMES = ", ".join(TRACKS)


def tracks_of(text: str) -> tuple[str, ...]:
    """Names of tracks, which commas separate; "all" is each of them. Edit checks the names."""
    named = [name.strip().lower().replace(" ", "_") for name in text.replace("\n", ",").split(",")]
    return TRACKS if named == [ALL] else tuple(dict.fromkeys(filter(None, named)))


class ExtractStem(EditNode):
    TASK, NODE_ID, DISPLAY = "extract", "AceStepExtractStem", "Extract Stem"
    DESCRIPTION = "Takes single stems out of a mix, such as its drums; the nodes behind run once for each."
    ALIASES = ["stem separation", "isolate", "vocals", "karaoke", "split", "unmix"]
    SONG = "Only to give tempo and key: with the stem's name as its caption, for one of the whole mix works against it."
    NEEDS_SONG = False

    @classmethod
    def widgets(cls) -> list:
        tooltip = f"Names of stems, separated by commas: {NAMES}. {ALL}: each of them."
        return [io.String.Input("tracks", default="vocals, drums, bass", tooltip=tooltip)]

    @classmethod
    def outputs(cls, is_list: bool = True) -> list:
        name = io.String.Output(
            "name",
            display_name="name",
            tooltip="The stem's name, for `title` or `filename_prefix` of Save Audio.",
            is_output_list=is_list,
        )
        return [*super().outputs(is_list), name]

    @classmethod
    def execute(cls, vocoder, audio, batch_size, tracks, song=None, latent=None, reference=None) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            given, every = sources(vocoder, song, audio, latent, reference), edits_of(tracks)
            made = [prepare_edit(edit, given, batch_size, node_id) for edit in every]
            parts = ([getattr(one, part) for one in made] for part in ("song", "reference", "latent"))
            return io.NodeOutput(*parts, [edit.tracks[0] for edit in every], ui=notes.ui)


def edits_of(tracks: str) -> list[Edit]:
    """An Edit for each stem that is named. Raises UserError, also for none."""
    return [Edit("extract", tracks=(track,)) for track in tracks_of(tracks)] or [Edit("extract")]


class AddStem(EditNode):
    TASK, NODE_ID, DISPLAY = "lego", "AceStepAddStem", "Add Stem"
    DESCRIPTION = "Plays one more stem for a mix, such as a bass line, that fits the rest."
    ALIASES = ["lego", "add instrument", "add bass", "add drums", "accompany"]
    SONG = "The whole music, with the new stem in it."

    @classmethod
    def widgets(cls) -> list:
        return [
            io.Combo.Input("track", options=list(TRACKS), default="bass", tooltip="The stem that is played."),
            *region_inputs("Where it plays, everywhere if empty"),
            io.Boolean.Input(
                "mix", default=False, tooltip="On: the stem together with the source. Off: the stem alone."
            ),
        ]

    @classmethod
    def edit(cls, given: Sources, node_id: str, *, track, regions, mix, drawn=None) -> Edit:
        found = regions_of(regions, drawn, given.music, given.song, node_id)
        return Edit("lego", found, tracks=(track,), mix=mix)


class Complete(EditNode):
    TASK, NODE_ID, DISPLAY = "complete", "AceStepComplete", "Complete"
    DESCRIPTION = "Plays an accompaniment for a voice or another lone stem; the result is the whole mix."
    ALIASES = ["accompany", "backing track", "voice to song", "arrange", "band"]
    SONG = "The whole music: style, instruments, and the lyrics that are sung."

    @classmethod
    def widgets(cls) -> list:
        tooltip = f"The stems that accompany, separated by commas: {NAMES}. Empty: the model's choice."
        return [io.String.Input("tracks", default="drums, bass, keyboard", tooltip=tooltip)]

    @classmethod
    def edit(cls, given: Sources, node_id: str, *, tracks) -> Edit:
        return Edit("complete", tracks=tracks_of(tracks))

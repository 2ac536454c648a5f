"""Nodes that edit music. Each gives a song, a reference and a latent, for Text Encode, the stages and Vocode."""

from dataclasses import replace

from comfy_api.latest import io

from ..acestep_core.editing.edit import AVERAGES_MOST, DEFAULT_AMOUNT, DEFAULT_STRENGTH, Edit
from ..acestep_core.models.reference import Reference
from ..acestep_core.models.source import Variation
from ..acestep_core.spec import MAX_SECONDS, MAX_SEED
from .edits import NO_WORDS, Prepared, Sources, own_latents, prepare_edit, regions_of
from .host import messages
from .sound import waveform_of
from .types import ReferenceSocket, Regions, SongSocket, VocoderHandle, VocoderSocket

CATEGORY = "ACE-Step/edit"
BATCH_MOST = 64
REGIONS_SOCKET = "drawn"
REGIONS_TOOLTIP = (
    "{what}: seconds (10-20, 1:05-1:20, 40-end) or bars (bars 8-12: counted from 1, the last one included). Commas "
    "separate several."
)


def share(name: str, default: float, tooltip: str, **more) -> io.Float.Input:
    """A widget for a number from 0 to 1."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, round=0.0001, tooltip=tooltip, **more)


def seconds_of(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=MAX_SECONDS, step=0.5, tooltip=tooltip)


def region_inputs(what: str) -> list:
    """Regions as text, and from an Audio Region node."""
    typed = io.String.Input("regions", default="", tooltip=REGIONS_TOOLTIP.format(what=what))
    tooltip = "Regions of an Audio Region node. Those that are typed are added to them."
    return [typed, Regions.Input(REGIONS_SOCKET, optional=True, tooltip=tooltip)]


class EditNode(io.ComfyNode):
    """A node that edits music: `WIDGETS` gives its own inputs, `edit` makes an Edit of their values."""

    TASK: str
    NODE_ID: str
    DISPLAY: str
    DESCRIPTION: str
    ALIASES: list[str]
    SONG = "The whole result, in caption and lyrics."
    NEEDS_SONG = True

    @classmethod
    def widgets(cls) -> list:
        raise NotImplementedError

    @classmethod
    def edit(cls, given: Sources, node_id: str, **settings) -> Edit:
        """Raises UserError."""
        return Edit(cls.TASK, **settings)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.NODE_ID,
            display_name=cls.DISPLAY,
            category=CATEGORY,
            description=cls.DESCRIPTION,
            search_aliases=cls.ALIASES,
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Of the same family as the models."),
                SongSocket.Input("song", optional=not cls.NEEDS_SONG, tooltip=cls.SONG),
                io.Audio.Input("audio", tooltip="The source: 1 to 600 s, any rate and channel count."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="For a song that this graph makes: the finished latent from which its sound was decoded. "
                    "Then the sound is not encoded, and edges fit better.",
                ),
                ReferenceSocket.Input(
                    "reference", optional=True, tooltip="Clips whose timbre the result takes, from Reference Encode."
                ),
                *cls.widgets(),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=BATCH_MOST,
                    tooltip="How many results at once; result i is made from the stages' seed + i. 1 is one result.",
                ),
            ],
            outputs=cls.outputs(),
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def outputs(cls, is_list: bool = False) -> list:
        several = {"is_output_list": is_list}
        return [
            SongSocket.Output(
                "song",
                display_name="song",
                tooltip="The song with its edit, for Text Encode.",
                **several,
            ),
            ReferenceSocket.Output(
                "reference", display_name="reference", tooltip="For every stage, and for Vocode.", **several
            ),
            io.Latent.Output("latent", display_name="latent", tooltip="For the first stage.", **several),
        ]

    @classmethod
    def prepared(cls, given: Sources, batch_size: int, node_id: str, **settings) -> Prepared:
        return prepare_edit(cls.edit(given, node_id, **settings), given, batch_size, node_id)

    @classmethod
    def execute(cls, vocoder, audio, batch_size, song=None, latent=None, reference=None, **settings) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            given = sources(vocoder, song, audio, latent, reference)
            made = cls.prepared(given, batch_size, node_id, **settings)
            return io.NodeOutput(made.song, made.reference, made.latent, ui=notes.ui)


def sources(vocoder: VocoderHandle, song, audio, latent, reference, source_song=None) -> Sources:
    """From a node's inputs. Raises UserError."""
    return Sources(vocoder, waveform_of(audio), own_latents(latent), song or NO_WORDS, source_song, reference)


class Repaint(EditNode):
    TASK, NODE_ID, DISPLAY = "repaint", "AceStepRepaint", "Repaint"
    DESCRIPTION = "Makes regions of a song anew, such as a line of the lyrics; the rest stays to the sample."
    ALIASES = ["inpaint", "fix lyrics", "replace part", "edit music", "regions"]
    SONG = "The whole song, with all of its lyrics, the changed lines in their place."

    @classmethod
    def widgets(cls) -> list:
        strength = "How far a region may leave the source. 0: near it, in soft transitions. 1: free, in short ones."
        return [*region_inputs("The parts to make anew"), share("strength", DEFAULT_STRENGTH["repaint"], strength)]

    @classmethod
    def edit(cls, given: Sources, node_id: str, *, regions, strength, drawn=None) -> Edit:
        return Edit("repaint", regions_of(regions, drawn, given.music, given.song, node_id), strength)


class Extend(EditNode):
    TASK, NODE_ID, DISPLAY = "extend", "AceStepExtend", "Extend"
    DESCRIPTION = "Makes music before and after a song, such as an intro or an ending; the song itself stays."
    ALIASES = ["outpaint", "intro", "outro", "ending", "longer", "continue"]
    SONG = "The whole result, the new music included."

    @classmethod
    def widgets(cls) -> list:
        strength = "How free the new music is of the source's edges. 0: soft transitions. 1: short ones."
        return [
            seconds_of("before", 0.0, "Seconds of new music before the source."),
            seconds_of("after", 10.0, "Seconds of new music after the source."),
            share("strength", DEFAULT_STRENGTH["extend"], strength),
        ]


class Cover(EditNode):
    TASK, NODE_ID, DISPLAY = "cover", "AceStepCover", "Cover"
    DESCRIPTION = "Makes a song in another style: its melody, chords and form stay, caption and lyrics decide the rest."
    ALIASES = ["remix", "style transfer", "audio to audio", "restyle", "melody"]
    SONG = "Style, instruments and lyrics of the result."

    @classmethod
    def widgets(cls) -> list:
        return [
            share(
                "structure",
                1.0,
                "Melody, chords and form of the source hold for this share of the steps; less lets them go.",
            ),
            share("closeness", 0.0, "0: only the structure is the source's. Towards 1: its sound too."),
            io.Boolean.Input(
                "codes",
                default=True,
                tooltip="On: stages see the source through codes of their own, which leave timbre free; models need an "
                "audio tokenizer. Off: as it is; melody, timing and timbre stay much closer.",
            ),
        ]


class Morph(EditNode):
    TASK, NODE_ID, DISPLAY = "morph", "AceStepMorph", "Morph"
    DESCRIPTION = "Moves the words of a song to others, such as its lyrics or its singer, and keeps the music."
    ALIASES = ["flow edit", "change lyrics", "change voice", "edit words"]
    SONG = "The words to which the music moves."

    @classmethod
    def widgets(cls) -> list:
        return [
            SongSocket.Input("source_song", tooltip="The words of the source as it is."),
            share("morph_begin", 0.0, "The share of the steps that are left out first. More keeps more of the source."),
            share("morph_end", 1.0, "The share after which the new words alone make the music. 1: never."),
            io.Int.Input(
                "averages",
                default=1,
                min=1,
                max=AVERAGES_MOST,
                tooltip="Draws of noise in a step. More is smoother, and as many times slower.",
            ),
        ]

    @classmethod
    def prepared(cls, given: Sources, batch_size: int, node_id: str, *, source_song, **settings) -> Prepared:
        edit = Edit("morph", from_caption=source_song.caption, from_lyrics=source_song.lyrics, **settings)
        return prepare_edit(edit, replace(given, source_song=source_song), batch_size, node_id)


class Retake(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepRetake",
            display_name="Retake",
            category=CATEGORY,
            description="Variations of a song: the stages mix other noise into that of its seed.",
            search_aliases=["variation", "again", "alternative", "other take"],
            inputs=[
                ReferenceSocket.Input(
                    "reference", optional=True, tooltip="Clips of the song, or its edit: any of them can be varied."
                ),
                share("amount", DEFAULT_AMOUNT, "0: the same song. 0.05 to 0.15: details. 0.5 and more: another take."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=min(MAX_SEED, 2**53 - 1) - BATCH_MOST,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the other noise. The stages keep the seed of the song.",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=1,
                    max=BATCH_MOST,
                    tooltip="How many variations: the nodes behind run once for each, with seed, seed + 1 and so on.",
                ),
            ],
            outputs=[
                ReferenceSocket.Output(
                    "reference",
                    display_name="reference",
                    tooltip="For every stage, and for Vocode: one for each variation.",
                    is_output_list=True,
                )
            ],
        )

    @classmethod
    def execute(cls, amount, seed, count, reference=None) -> io.NodeOutput:
        own = reference or Reference()
        return io.NodeOutput([replace(own, variation=Variation(amount, seed + item)) for item in range(count)])

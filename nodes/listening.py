"""Nodes that listen to finished songs: the best of several takes, and when each line is sung."""

import dataclasses

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.errors import UserError
from ..acestep_core.memory.plan import STAGE_MEANS
from ..acestep_core.models.condition import encode_condition
from ..acestep_core.models.reference import Reference
from ..acestep_core.models.velocity import prepare
from ..acestep_core.scoring.judges import FinishedSong, judged
from ..acestep_core.scoring.lyric_alignment import LyricAlignment, align, check_sung
from ..acestep_core.scoring.lyric_heads import alignment_time, all_heads, known_heads
from ..acestep_core.scoring.lyric_times import lrc
from ..acestep_core.scoring.ranking import Take, ranked, reasons
from ..acestep_core.song import Song
from .host import devices, messages
from .latents import Latents, of_latent
from .song import states_of
from .sound import STAMP, to_audio, waveform_of
from .types import Encoder, EncoderHandle, Model, ModelHandle, ReferenceSocket, SongSocket

CATEGORY = "ACE-Step/audio"


# ---- takes -----------------------------------------------------------------------------------------------------------


def takes_of(audio: dict, song: Song | None) -> list[tuple[int, Take]]:
    """(item, what the judges found of it) of a batch, the best first."""
    wave, stamp = waveform_of(audio), audio.get(STAMP) or {}
    seeds = [*stamp.get("seeds", ()), *[None] * len(wave)]
    takes = [Take(seeds[item], judged(FinishedSong(wave[item], song))) for item in range(len(wave))]
    return [(next(item for item, own in enumerate(takes) if own is take), take) for take in ranked(takes)]


def kept_audio(audio: dict, kept: list[tuple[int, Take]]) -> dict:
    """The items of a batch that are kept, with their seeds and scores, for Save Audio."""
    wave, stamp = waveform_of(audio), audio.get(STAMP) or {}
    samples = torch.stack([wave.samples[item] for item, _ in kept])
    made = to_audio(Waveform(samples, wave.sample_rate_hz), models=tuple(stamp.get("models", ())))
    made[STAMP] |= {"seeds": [take.seed for _, take in kept], "scores": [take.scores() for _, take in kept]}
    if times := stamp.get("lrc"):
        made[STAMP]["lrc"] = [times[item] for item, _ in kept]
    return made


class ScoreTakes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepScoreTakes",
            display_name="Score Takes",
            category=CATEGORY,
            description="Judges the songs of a batch by tempo, key, level, clipping, silence, ending and form, and "
            "keeps the best.",
            search_aliases=["best of", "rank", "pick best", "quality", "retry"],
            inputs=[
                io.Audio.Input("audio", tooltip="A batch of takes of one song, as from Vocode."),
                SongSocket.Input(
                    "song", optional=True, tooltip="What was asked for. Without it the sound alone counts."
                ),
                io.Int.Input("keep", default=1, min=1, max=1000, tooltip="How many of the best are handed on."),
            ],
            outputs=[
                io.Audio.Output("audio", display_name="audio", tooltip="The best takes, the best first."),
                io.String.Output("report", display_name="report", tooltip="What was found of each take, and why."),
                io.Float.Output("score", display_name="score", tooltip="Of the best take, 0 to 1."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, audio, keep, song=None) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            ranking = takes_of(audio, getattr(song, "song", song))
            takes = [take for _, take in ranking]
            lines = [reasons(takes), *(f"take {item + 1}, {take.line()}" for item, take in ranking)]
            messages.keep(lines, cls.hidden.unique_id)
            kept = kept_audio(audio, ranking[:keep])
            return io.NodeOutput(kept, "\n".join(lines), takes[0].total, ui=notes.ui)


# ---- lyrics ----------------------------------------------------------------------------------------------------------


def alignments_of(
    handle: ModelHandle, encoder: EncoderHandle, song: Song, latents: Latents, reference: Reference | None
) -> list[LyricAlignment]:
    """The alignment of each item of finished latents. Raises UserError for half-made ones."""
    if latents.t:
        raise UserError(f"latent: is at t = {latents.t:.4g}, half made; let a last stage finish it (end 0)")
    song = dataclasses.replace(song, seconds=latents.seconds or song.seconds)
    return [alignment_of(handle, encoder, song, item[None], reference) for item in latents.samples]


def alignment_of(
    handle: ModelHandle, encoder: EncoderHandle, song: Song, latents: torch.Tensor, reference: Reference | None
) -> LyricAlignment:
    """The alignment of finished latents [1, C, T], by a smaller plan where memory runs out. Raises UserError."""
    check_sung(song)
    text = states_of(encoder, song)
    timbre = Reference(timbre=reference.timbre) if reference and reference.timbre else None
    room = devices.NodeOomFallback()

    def run() -> LyricAlignment:
        handle.condition_encoder.load(handle.encoding_bytes)
        condition = encode_condition(handle.model, text, latents.shape[-1], timbre)
        handle.load_transformer(handle.activation_bytes(latents.shape[-1]))
        return _aligned(handle, encoder, song, latents, condition)

    return room.with_fallback(run, STAGE_MEANS)


def _aligned(handle: ModelHandle, encoder: EncoderHandle, song: Song, latents, condition) -> LyricAlignment:
    model = handle.model
    config = model.transformer.config
    heads = known_heads(model.family, model.defaults, config, model.name) or all_heads(config, model.name)
    tokenizer = encoder.encoder.tokenizer
    with torch.no_grad():
        velocity = prepare(model.transformer, condition)
        asked = tokenizer, song, song.seconds, model.defaults.lyric_heads_trained
        return align(velocity, latents, alignment_time(model.defaults), heads, *asked)


def timed(audio: dict | None, texts: list[str]) -> dict | None:
    """The sound with the times of its lyrics, for Save Audio; None where there is no sound."""
    if audio is None:
        return None
    return audio | {STAMP: (audio.get(STAMP) or {"seeds": [], "models": []}) | {"lrc": texts}}


def check_same_songs(audio: dict | None, latents: Latents) -> None:
    """Raises UserError for sound that is not of these latents."""
    if audio is not None and (songs := len(waveform_of(audio))) != (expected := len(latents.samples)):
        raise UserError(f"audio: got {songs} songs, expected {expected} as in latent; connect the sound of that latent")


class LyricTimestamps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepLyricTimestamps",
            display_name="Lyric Timestamps",
            category=CATEGORY,
            description="Finds out when each line of a finished song is sung, as LRC text.",
            search_aliases=["lrc", "karaoke", "subtitles", "lyrics", "alignment", "timestamps"],
            inputs=[
                Model.Input("model", tooltip="A stage's model. Published ones know how; others guess."),
                Encoder.Input("text_encoder", tooltip="The one that encoded the song's text."),
                SongSocket.Input("song", tooltip="The song with its lyrics."),
                io.Latent.Input("latent", tooltip="The song's finished latent, or any music from Encode Audio."),
                ReferenceSocket.Input("reference", optional=True, tooltip="The clips that the song was made with."),
                io.Boolean.Input("words", default=False, tooltip="On: times of words too."),
                io.Audio.Input("audio", optional=True, tooltip="The song's sound, to be saved with the times."),
            ],
            outputs=[
                io.String.Output(
                    "lrc", display_name="lrc", is_output_list=True, tooltip="One text for each song of the batch."
                ),
                io.Audio.Output(
                    "audio", display_name="audio", tooltip="The sound, with which Save Audio saves the times too."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, model, text_encoder, song, latent, words, reference=None, audio=None) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            latents = of_latent(latent)
            check_same_songs(audio, latents)
            found = alignments_of(model, text_encoder, getattr(song, "song", song), latents, reference)
            texts = [lrc(one.lines, words) for one in found]
            messages.keep([line for text in texts for line in text.split("\n")], cls.hidden.unique_id)
            return io.NodeOutput(texts, timed(audio, texts), ui=notes.ui)

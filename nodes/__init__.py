"""The nodes of the pack: the only list of them."""

from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from . import (
    audio,
    audio_region,
    dataset,
    edit_nodes,
    example_clip,
    label_clips,
    latents,
    listening,
    load,
    lora,
    model_choice,
    plan_nodes,
    planner,
    play_score,
    reference,
    region_routes,
    song,
    song_files,
    stage_times,
    stages,
    stems,
    training,
    understand,
    vocoder,
)
from .host import locations, routes

ROOT = Path(__file__).resolve().parents[1]

NODES = (
    load.LoadCascade,
    load.LoadStageModel,
    load.LoadTextEncoder,
    load.LoadVocoder,
    planner.LoadPlanner,
    song.SongNode,
    song.EditSong,
    plan_nodes.PlanSong,
    plan_nodes.WriteSong,
    plan_nodes.RewriteSong,
    understand.UnderstandAudio,
    song.TextEncode,
    reference.ReferenceEncode,
    latents.EmptyLatent,
    latents.EncodeAudio,
    lora.ApplyLora,
    lora.LoraInfo,
    label_clips.LabelClips,
    dataset.LoraDataset,
    training.TrainLora,
    stages.StageL,
    stages.StageM,
    stages.StageS,
    vocoder.Vocode,
    edit_nodes.Cover,
    edit_nodes.Repaint,
    edit_nodes.Extend,
    edit_nodes.Retake,
    edit_nodes.Morph,
    stems.ExtractStem,
    stems.AddStem,
    stems.Complete,
    play_score.PlayScore,
    example_clip.ExampleClip,
    listening.ScoreTakes,
    listening.LyricTimestamps,
    audio_region.AudioRegion,
    audio.SaveAudio,
    audio.Spectrogram,
    audio.Envelope,
)


class AceStepExtension(ComfyExtension):
    async def on_load(self):
        locations.offer_models_folder()
        # The help pages link here: ComfyUI's own address of these files has the name of the pack's folder in it.
        routes.serve_folder("/acestep-cascade/guides", ROOT / "web/docs/guides")
        routes.serve_folder("/acestep-cascade/shared", ROOT / "acestep_core/server/page/shared")
        routes.serve("/acestep-cascade/stretch", stage_times.answer_stretch)
        routes.serve("/acestep-cascade/download", model_choice.answer_downloads)
        routes.serve("/acestep-cascade/download", model_choice.answer_allow, "POST")
        routes.serve("/acestep-cascade/keep", song_files.answer_keep, "POST")
        routes.serve("/acestep-cascade/peaks", region_routes.answer_peaks)
        routes.serve("/acestep-cascade/beats", region_routes.answer_beats)
        routes.serve("/acestep-cascade/clips", dataset.answer_clips)
        routes.serve("/acestep-cascade/tokens", song.answer_tokens, "POST")

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)

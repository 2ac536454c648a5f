"""Which files are mutated, how, and how often. No torch: the list of cases is made wherever tests are collected.

Environment variables: ACESTEP_MUTATION_SEED is the first number of each kind of case (default 0); another one gives
other cases. ACESTEP_MUTATION_TIMES gives so many times as many cases (default 1).
"""

import os
import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

FIRST_NUMBER = int(os.environ.get("ACESTEP_MUTATION_SEED", 0))
TIMES = float(os.environ.get("ACESTEP_MUTATION_TIMES", 1))

BYTES = {"flip": 3, "cut": 1, "double": 1, "zero": 1, "noise": 1, "insert": 1, "truncate": 3, "other": 1}
_JSON = {
    "wrong_value": 10,
    "scaled": 4,
    "missing": 2,
    "extra": 2,
    "twice": 1,
    "deep": 3,
    "top": 2,
    "torn": 1,
    "syntax": 2,
}
ENCODING = {"text.encoding": 2}
TEXT = {"text.cell": 4, "text.lines": 3, "text.marks": 2, **ENCODING}


def _json(place: str) -> dict[str, int]:
    return {f"{place}.{name}": weight for name, weight in _JSON.items()}


JSON = {**_json("json"), **ENCODING}
LINES = {**_json("line"), "text.lines": 3, "text.marks": 1, **ENCODING}
HEADER = _json("header")
TENSORS = {f"tensors.{name}": 2 for name in ("length", "offsets", "dtype", "shape", "numbers", "names", "metadata")}
SAFETENSORS = {**{name: 0.5 * weight for name, weight in HEADER.items()}, **TENSORS, **BYTES}
SILENCE = {"silence.value": 24, "silence.form": 14, **BYTES}
SOUND = {"sound.lie": 12, "sound.middle": 4, "tag.latin1": 1, **BYTES}
TAGS = {**_json("tag"), "tag.raw": 5, "tag.latin1": 2}


@dataclass(frozen=True)
class Case:
    """One file of a subject, mutated once."""

    subject: str
    mutation: str
    number: int

    @property
    def id(self) -> str:
        """By which it is found again: the same at any time, on any machine."""
        return f"{self.subject}-{self.mutation}-{self.number}"


@dataclass(frozen=True)
class Subject:
    """A kind of file. `folder` is that of the material, `file` a pattern below it: of several, each in turn."""

    name: str
    folder: str
    file: str
    target: str
    cases: int
    mutations: Mapping[str, float]

    def all_cases(self) -> list[Case]:
        """As many as there should be, of each mutation by its weight; rare ones come with some first numbers only."""
        counts = Counter(self._drawn())
        return [
            Case(self.name, mutation, FIRST_NUMBER + number)
            for mutation, count in counts.items()
            for number in range(count)
        ]

    def _drawn(self) -> Iterator[str]:
        """Evenly spaced over all weights in a row, from an offset of the first number's own."""
        count = max(1, round(self.cases * TIMES))
        each = sum(self.mutations.values()) / count
        ends = list(accumulate(self.mutations.values()))
        start = random.Random(f"{self.name} {FIRST_NUMBER}").random()
        for case in range(count):
            yield list(self.mutations)[bisect(ends, (case + start) * each)]


_WEIGHTS = "model.safetensors"
_ALL = (
    # models, in each layout
    Subject("config", "original", "mutant-stage/config.json", "stage", 52, JSON),
    Subject("weights", "original", f"mutant-stage/{_WEIGHTS}", "stage", 41, SAFETENSORS),
    Subject("silence", "original", "mutant-stage/silence_latent.pt", "stage", 35, SILENCE),
    Subject("index", "sharded", "mutant-stage/*.index.json", "stage", 20, JSON),
    Subject("shard", "sharded", "mutant-stage/model-*.safetensors", "stage", 14, SAFETENSORS),
    Subject("pipeline_index", "pipeline", "mutant-pipeline/model_index.json", "cascade", 12, JSON),
    Subject("pipeline_config", "pipeline", "mutant-pipeline/*/config.json", "cascade", 23, JSON),
    Subject("pipeline_weights", "pipeline", "mutant-pipeline/*/*.safetensors", "cascade", 17, SAFETENSORS),
    Subject("bundle_config", "bundle", "mutant-family/*/config.json", "cascade", 17, JSON),
    Subject("bundle_weights", "bundle", "mutant-family/*/*.safetensors", "cascade", 14, SAFETENSORS),
    Subject("text_config", "text", "mutant-text/config.json", "text_encoder", 26, JSON),
    Subject("text_weights", "text", f"mutant-text/{_WEIGHTS}", "text_encoder", 14, SAFETENSORS),
    Subject("tokenizer", "text", "mutant-text/tokenizer.json", "text_encoder", 29, {**JSON, **BYTES}),
    Subject("tokenizer_config", "text", "mutant-text/tokenizer_config.json", "text_encoder", 17, JSON),
    Subject("planner_config", "planner", "mutant-planner/config.json", "planner", 26, JSON),
    Subject("planner_weights", "planner", f"mutant-planner/{_WEIGHTS}", "planner", 26, SAFETENSORS),
    Subject("planner_tokenizer", "planner", "mutant-planner/tokenizer.json", "planner", 52, {**JSON, **BYTES}),
    Subject("plan_file", "plan", "mutant.json", "plan_file", 35, {**JSON, **BYTES}),
    Subject("vae_config", "vae", "mutant-vae/config.json", "vocoder", 26, JSON),
    Subject("vae_weights", "vae", "mutant-vae/*.safetensors", "vocoder", 14, SAFETENSORS),
    Subject("split_stage", "split_stage", "mutant-turbo.safetensors", "split_files", 23, SAFETENSORS),
    Subject("split_text", "split_text", "mutant-text.safetensors", "split_files", 17, SAFETENSORS),
    Subject("split_vae", "split_vae", "mutant-vae.safetensors", "split_files", 17, SAFETENSORS),
    Subject("all_in_one", "all_in_one", "mutant-turbo.safetensors", "stage", 23, SAFETENSORS),
    # lists
    Subject("list_stages", "models", "models/diffusion_models/mutant*", "lists", 20, {**HEADER, **TENSORS}),
    Subject("list_texts", "models", "models/text_encoders/mutant*", "lists", 12, {**HEADER, **TENSORS}),
    Subject("list_vaes", "models", "models/vae/mutant*", "lists", 12, {**HEADER, **TENSORS}),
    Subject("list_adapters", "models", "models/loras/mutant*", "lists", 20, SAFETENSORS),
    Subject("list_folders", "models", "models/acestep/mutant*/config.json", "lists", 14, {**JSON, **BYTES}),
    Subject("known_index", "known", "models/*/*.index.json", "known_models", 12, JSON),
    # adapters
    Subject("peft_config", "peft", "mutant-lora/adapter_config.json", "adapter", 35, {**JSON, "json.pattern": 40}),
    Subject("peft_weights", "peft", "mutant-lora/adapter_model.safetensors", "adapter", 14, SAFETENSORS),
    Subject("peft_lokr", "peft_lokr", "mutant-lokr/adapter_config.json", "adapter", 12, {**JSON, "json.pattern": 10}),
    Subject("comfyui_lora", "comfyui", "mutant.safetensors", "adapter", 14, SAFETENSORS),
    Subject("diffusers_lora", "diffusers", "mutant.safetensors", "adapter", 17, {**TENSORS, **_json("inner")}),
    Subject("dora", "dora", "mutant.safetensors", "adapter", 14, SAFETENSORS),
    Subject("lokr", "lokr", "mutant.safetensors", "adapter", 17, SAFETENSORS),
    Subject("loha", "loha", "mutant.safetensors", "adapter", 14, SAFETENSORS),
    Subject("kohya", "kohya", "mutant.safetensors", "adapter", 17, {**SAFETENSORS, **_json("inner")}),
    # sound
    Subject("wav", "wav", "mutant.wav", "sound", 20, SOUND),
    Subject("floats", "floats", "mutant.wav", "sound", 14, {"sound.level": 12, "sound.length": 5, "sound.lie": 8}),
    Subject("flac", "flac", "mutant.flac", "sound", 20, SOUND),
    Subject("mp3", "mp3", "mutant.mp3", "sound", 14, SOUND),
    Subject("ogg", "ogg", "mutant.ogg", "sound", 14, SOUND),
    Subject("opus", "opus", "mutant.opus", "sound", 14, SOUND),
    Subject("m4a", "m4a", "mutant.m4a", "sound", 17, SOUND),
    Subject(
        "continued", "floats", "mutant.wav", "continued", 12, {"sound.level": 8, "sound.length": 4, "sound.lie": 8}
    ),
    # songs, and their tags
    Subject("song", "song", "mutant.json", "song", 35, JSON),
    Subject("song_file", "song", "mutant.json", "song_file", 14, {**JSON, **BYTES}),
    Subject("songs_file", "songs", "mutant.jsonl", "song_file", 23, LINES),
    Subject("captions", "captions", "mutant.txt", "captions", 17, LINES),
    *(Subject(f"{kind}_tags", kind, f"mutant.{kind}", "shown", 23, TAGS) for kind in ("wav", "flac", "mp3")),
    *(Subject(f"{kind}_tags", kind, f"mutant.{kind}", "shown", 14, TAGS) for kind in ("ogg", "opus")),
    Subject("m4a_tags", "m4a", "mutant.m4a", "tags", 4, {"tag.latin1": 1}),
    Subject("score", "score", "mutant.mid", "score", 20, BYTES),
    # edits
    Subject("edit_request", "requests", "mutant-*.json", "edit_request", 32, JSON),
    Subject("edit_tags", "edited", "mutant.flac", "edited", 20, TAGS),
    Subject("kept_latents", "kept", "mutant.flac.*", "repainted", 20, SAFETENSORS),
    Subject("regions", "regions", "mutant.txt", "regions", 20, {**TEXT, **BYTES}),
    # clips and trainings
    Subject("clip_json", "clips", "clips/mutant.json", "clips", 23, JSON),
    Subject("clip_text", "clips", "clips/mutant.txt", "clips", 14, {**TEXT, **BYTES}),
    Subject("clip_lyrics", "clips", "clips/mutant.*.txt", "clips", 12, {**TEXT, **BYTES}),
    Subject("clip_sound", "clips", "clips/mutant.wav", "clips", 14, SOUND),
    Subject("csv_table", "csv_table", "clips/mutant.csv", "clips", 17, {**TEXT, **BYTES}),
    Subject("tsv_table", "tsv_table", "clips/mutant.tsv", "clips", 9, TEXT),
    Subject("jsonl_table", "jsonl_table", "clips/mutant.jsonl", "clips", 17, LINES),
    Subject("losses", "trained", "mutant.training/losses.csv", "losses", 23, {**TEXT, **BYTES}),
    Subject("losses_resumed", "trained", "mutant.training/losses.csv", "training", 5, TEXT),
    Subject("state", "trained", "mutant.training/step-*/state.safetensors", "training", 9, SAFETENSORS),
    Subject("prepared", "trained", "mutant.training/cache/**/*.safetensors", "training", 9, {**TENSORS, **BYTES}),
    Subject("measured", "trained", "mutant.training/cache/**/*.json", "training", 7, JSON),
    Subject("text_cache", "cached", "cache/**/*.safetensors", "text_cached", 14, {**TENSORS, **BYTES}),
)
SUBJECTS = {subject.name: subject for subject in _ALL}
# Unchanged files: one for each subject, or for each target where only a share of the cases is run.
VALID = [
    Case(name, "unchanged", 0)
    for name in (SUBJECTS if TIMES >= 1 else {subject.target: subject.name for subject in _ALL}.values())
]
CASES = [case for subject in _ALL for case in subject.all_cases()]

"""Which files are mutated, how, and how often. No torch: the list of cases is made wherever tests are collected.

ACESTEP_MUTATION_SEED (default 0) is the first number of each kind of case: another one gives other cases.
"""

import os
import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

FIRST_NUMBER = int(os.environ.get("ACESTEP_MUTATION_SEED", 0))

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
        each = sum(self.mutations.values()) / self.cases
        ends = list(accumulate(self.mutations.values()))
        start = random.Random(f"{self.name} {FIRST_NUMBER}").random()
        for case in range(self.cases):
            yield list(self.mutations)[bisect(ends, (case + start) * each)]


_WEIGHTS = "model.safetensors"
_ALL = (
    # models, in each layout
    Subject("config", "original", "mutant-stage/config.json", "stage", 90, JSON),
    Subject("weights", "original", f"mutant-stage/{_WEIGHTS}", "stage", 70, SAFETENSORS),
    Subject("silence", "original", "mutant-stage/silence_latent.pt", "stage", 60, SILENCE),
    Subject("index", "sharded", "mutant-stage/*.index.json", "stage", 35, JSON),
    Subject("shard", "sharded", "mutant-stage/model-*.safetensors", "stage", 25, SAFETENSORS),
    Subject("pipeline_index", "pipeline", "mutant-pipeline/model_index.json", "cascade", 20, JSON),
    Subject("pipeline_config", "pipeline", "mutant-pipeline/*/config.json", "cascade", 40, JSON),
    Subject("pipeline_weights", "pipeline", "mutant-pipeline/*/*.safetensors", "cascade", 30, SAFETENSORS),
    Subject("bundle_config", "bundle", "mutant-family/*/config.json", "cascade", 30, JSON),
    Subject("bundle_weights", "bundle", "mutant-family/*/*.safetensors", "cascade", 25, SAFETENSORS),
    Subject("text_config", "text", "mutant-text/config.json", "text_encoder", 45, JSON),
    Subject("text_weights", "text", f"mutant-text/{_WEIGHTS}", "text_encoder", 25, SAFETENSORS),
    Subject("tokenizer", "text", "mutant-text/tokenizer.json", "text_encoder", 50, {**JSON, **BYTES}),
    Subject("tokenizer_config", "text", "mutant-text/tokenizer_config.json", "text_encoder", 30, JSON),
    Subject("vae_config", "vae", "mutant-vae/config.json", "vocoder", 45, JSON),
    Subject("vae_weights", "vae", "mutant-vae/*.safetensors", "vocoder", 25, SAFETENSORS),
    Subject("split_stage", "split_stage", "mutant-turbo.safetensors", "split_files", 40, SAFETENSORS),
    Subject("split_text", "split_text", "mutant-text.safetensors", "split_files", 30, SAFETENSORS),
    Subject("split_vae", "split_vae", "mutant-vae.safetensors", "split_files", 30, SAFETENSORS),
    Subject("all_in_one", "all_in_one", "mutant-turbo.safetensors", "stage", 40, SAFETENSORS),
    # lists
    Subject("list_stages", "models", "models/diffusion_models/mutant*", "lists", 35, {**HEADER, **TENSORS}),
    Subject("list_texts", "models", "models/text_encoders/mutant*", "lists", 20, {**HEADER, **TENSORS}),
    Subject("list_vaes", "models", "models/vae/mutant*", "lists", 20, {**HEADER, **TENSORS}),
    Subject("list_adapters", "models", "models/loras/mutant*", "lists", 35, SAFETENSORS),
    Subject("list_folders", "models", "models/acestep/mutant*/config.json", "lists", 25, {**JSON, **BYTES}),
    Subject("known_index", "known", "models/*/*.index.json", "known_models", 20, JSON),
    # adapters
    Subject("peft_config", "peft", "mutant-lora/adapter_config.json", "adapter", 60, {**JSON, "json.pattern": 40}),
    Subject("peft_weights", "peft", "mutant-lora/adapter_model.safetensors", "adapter", 25, SAFETENSORS),
    Subject("peft_lokr", "peft_lokr", "mutant-lokr/adapter_config.json", "adapter", 20, {**JSON, "json.pattern": 10}),
    Subject("comfyui_lora", "comfyui", "mutant.safetensors", "adapter", 25, SAFETENSORS),
    Subject("diffusers_lora", "diffusers", "mutant.safetensors", "adapter", 30, {**TENSORS, **_json("inner")}),
    Subject("dora", "dora", "mutant.safetensors", "adapter", 25, SAFETENSORS),
    Subject("lokr", "lokr", "mutant.safetensors", "adapter", 30, SAFETENSORS),
    Subject("loha", "loha", "mutant.safetensors", "adapter", 25, SAFETENSORS),
    Subject("kohya", "kohya", "mutant.safetensors", "adapter", 30, {**SAFETENSORS, **_json("inner")}),
    # sound
    Subject("wav", "wav", "mutant.wav", "sound", 35, SOUND),
    Subject("floats", "floats", "mutant.wav", "sound", 25, {"sound.level": 12, "sound.length": 5, "sound.lie": 8}),
    Subject("flac", "flac", "mutant.flac", "sound", 35, SOUND),
    Subject("mp3", "mp3", "mutant.mp3", "sound", 25, SOUND),
    Subject("ogg", "ogg", "mutant.ogg", "sound", 25, SOUND),
    Subject("opus", "opus", "mutant.opus", "sound", 25, SOUND),
    Subject("m4a", "m4a", "mutant.m4a", "sound", 30, SOUND),
    Subject(
        "continued", "floats", "mutant.wav", "continued", 20, {"sound.level": 8, "sound.length": 4, "sound.lie": 8}
    ),
    # songs, and their tags
    Subject("song", "song", "mutant.json", "song", 60, JSON),
    Subject("song_file", "song", "mutant.json", "song_file", 25, {**JSON, **BYTES}),
    Subject("songs_file", "songs", "mutant.jsonl", "song_file", 40, LINES),
    Subject("captions", "captions", "mutant.txt", "captions", 30, LINES),
    *(Subject(f"{kind}_tags", kind, f"mutant.{kind}", "shown", 40, TAGS) for kind in ("wav", "flac", "mp3")),
    *(Subject(f"{kind}_tags", kind, f"mutant.{kind}", "shown", 25, TAGS) for kind in ("ogg", "opus")),
    Subject("m4a_tags", "m4a", "mutant.m4a", "tags", 5, {"tag.latin1": 1}),
    # clips and trainings
    Subject("clip_json", "clips", "clips/mutant.json", "clips", 40, JSON),
    Subject("clip_text", "clips", "clips/mutant.txt", "clips", 25, {**TEXT, **BYTES}),
    Subject("clip_lyrics", "clips", "clips/mutant.*.txt", "clips", 20, {**TEXT, **BYTES}),
    Subject("clip_sound", "clips", "clips/mutant.wav", "clips", 25, SOUND),
    Subject("csv_table", "csv_table", "clips/mutant.csv", "clips", 30, {**TEXT, **BYTES}),
    Subject("tsv_table", "tsv_table", "clips/mutant.tsv", "clips", 15, TEXT),
    Subject("jsonl_table", "jsonl_table", "clips/mutant.jsonl", "clips", 30, LINES),
    Subject("losses", "trained", "mutant.training/losses.csv", "losses", 40, {**TEXT, **BYTES}),
    Subject("losses_resumed", "trained", "mutant.training/losses.csv", "training", 8, TEXT),
    Subject("state", "trained", "mutant.training/step-*/state.safetensors", "training", 15, SAFETENSORS),
    Subject("prepared", "trained", "mutant.training/cache/**/*.safetensors", "training", 15, {**TENSORS, **BYTES}),
    Subject("measured", "trained", "mutant.training/cache/**/*.json", "training", 12, JSON),
    Subject("text_cache", "cached", "cache/**/*.safetensors", "text_cached", 25, {**TENSORS, **BYTES}),
)
SUBJECTS = {subject.name: subject for subject in _ALL}
VALID = [Case(name, "unchanged", 0) for name in SUBJECTS]
CASES = [case for subject in _ALL for case in subject.all_cases()]

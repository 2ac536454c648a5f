"""A planner on disk: its files, found by name or path, and from them its vocabulary and its network.

Headers tell all that a request needs before it runs, so that a result in the cache costs no weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..checkpoints.layouts import PLANNER as PART
from ..checkpoints.load import tokenizer_folder
from ..checkpoints.locate import LocalModel, find, local_models
from ..checkpoints.registry import DEFAULT_PLANNER, PLANNER, usual_planner
from ..checkpoints.tokenizer_files import check_tokenizer, tokenizer_of
from ..checkpoints.weights import read_json
from ..errors import CheckpointError
from ..spec import AUDIO_CODES
from .vocabulary import CODE_TOKEN, Vocabulary, code_token

if TYPE_CHECKING:
    import torch

    from .language_model import LanguageModel

OWN_SETTINGS = "acestep_planner"  # in the config of a planner


@dataclass(frozen=True)
class PlannerFiles:
    """Where a planner's weights and its tokenizer are; ComfyUI's files bring no tokenizer."""

    local: LocalModel
    checkpoint: Checkpoint
    tokenizer: Path  # a folder

    @property
    def rows(self) -> int:
        """Rows of the embedding."""
        return self.checkpoint.part(PART).tensors["embed_tokens.weight"].shape[0]

    @property
    def size_bytes(self) -> int:
        """Of the files that hold the weights."""
        return sum(file.stat().st_size for file in {info.file for info in self.checkpoint.part(PART).tensors.values()})

    @cached_property
    def text_temperature(self) -> float | None:
        """Of words and values, where the planner's own config names one."""
        config = self.checkpoint.path / "config.json"
        own = read_json(config).get(OWN_SETTINGS) if config.is_file() else None
        return own.get("text_temperature") if isinstance(own, dict) else None

    @cached_property
    def words(self) -> Vocabulary:
        """The vocabulary. Raises CheckpointError where the tokenizer does not fit the weights."""
        file = self.tokenizer / "tokenizer.json"
        table = read_json(file)
        check_tokenizer(table, file)
        codes = _take_codes(table)
        tokenizer = tokenizer_of(table, file)
        first = codes.get(0, 1 + max(tokenizer.get_vocab().values(), default=-1))
        listed = next((k for k in range(len(codes)) if codes.get(k) != first + k), len(codes)) or AUDIO_CODES
        usable = min(listed, AUDIO_CODES, self.rows - first)
        last_of_text = max(tokenizer.get_vocab().values(), default=-1)
        if usable < 1 or last_of_text >= first:
            raise CheckpointError(
                f"{self.checkpoint.path} knows {self.rows:,} tokens, its tokenizer has {last_of_text + 1:,} of text; "
                "put the tokenizer.json that belongs to the planner beside it"
            )
        return Vocabulary(tokenizer, first, usable, str(file))

    def model(
        self, device: "torch.device | str" = "cpu", dtype: "torch.dtype | None" = None, quantised: str | None = None
    ) -> "LanguageModel":
        """The network on a device; `quantised` "int8" or "fp8" rounds its layers' matrices. Raises CheckpointError."""
        import torch

        from ..checkpoints.networks import build
        from ..nn.quantise import quantise
        from .language_model import LanguageModel

        network = build(PART, self.checkpoint.part(PART), device, dtype)
        if quantised:
            network = quantise(network, quantised, torch.device(device))
        return LanguageModel(network, str(self.checkpoint.path))


def _take_codes(table: dict) -> dict[int, int]:
    """Takes the tokens of audio codes out of a tokenizer.json: K -> id."""
    added = [token for token in table.get("added_tokens") or () if isinstance(token, dict)]
    found = {id(token): CODE_TOKEN.fullmatch(str(token.get("content"))) for token in added}
    table["added_tokens"] = [token for token in added if not found[id(token)]]
    codes = {int(found[id(token)][1]): token["id"] for token in added if found[id(token)]}
    words = table["model"].get("vocab")
    if isinstance(words, dict):
        for name in [name for name in words if name.startswith(_CODE_START) and CODE_TOKEN.fullmatch(name)]:
            codes[int(CODE_TOKEN.fullmatch(name)[1])] = words.pop(name)
    return codes


_CODE_START = code_token(0).partition("0")[0]


def read_planner(name_or_path: str | Path | None = None, folders: Sequence[Path | str] = ()) -> PlannerFiles:
    """The files of a planner by a known name or a path; None is one that is here. Raises CheckpointError.

    `folders` are searched before this machine's own. A model is known as a planner by its shapes.
    """
    local = _one_that_is_here(folders) if name_or_path is None else find(name_or_path, PLANNER, folders)
    checkpoint = read_checkpoint(local.path)
    if PART not in checkpoint.parts:
        raise CheckpointError(
            f"{local.path} has no audio codes in its vocabulary, so it is no planner; expected a 5 Hz language model "
            f"such as {DEFAULT_PLANNER}"
        )
    return PlannerFiles(local, checkpoint, tokenizer_folder(checkpoint, folders))


def _one_that_is_here(folders: Sequence[Path | str]) -> LocalModel:
    here = [model.name for model in local_models(PLANNER, folders)]
    return find(usual_planner(here), PLANNER, folders)  # or the error that says where to get it

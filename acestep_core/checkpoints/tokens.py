"""How many tokens a song's texts have for a text encoder: by its tokenizer alone, without a model or transformers."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..prompt import lyrics_prompt, text_prompt
from ..song import Song
from .checkpoint import read_checkpoint
from .load import tokenizer_folder
from .locate import find, state_of
from .registry import DEFAULT_TEXT, TEXT
from .tokenizer_files import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZERS_KEPT = 2


def count_tokens(song: Song, name_or_path: str | Path = DEFAULT_TEXT, folders: Sequence[Path] = ()) -> tuple[int, int]:
    """Tokens of a song's caption and of its lyrics, each with its headings. Raises CheckpointError."""
    tokenizer = tokenizer_of_encoder(find(name_or_path, TEXT, folders).path, folders)
    return len(tokenizer.encode(text_prompt(song)).ids), len(tokenizer.encode(lyrics_prompt(song)).ids)


def tokenizer_of_encoder(path: Path, folders: Sequence[Path] = ()) -> "Tokenizer":
    """The tokenizer of a text encoder's file or folder. Raises CheckpointError."""
    file = tokenizer_folder(read_checkpoint(path), folders) / "tokenizer.json"
    return _tokenizer(file, state_of(file))


@lru_cache(TOKENIZERS_KEPT)
def _tokenizer(file: Path, state: tuple) -> "Tokenizer":
    return read_tokenizer(file)

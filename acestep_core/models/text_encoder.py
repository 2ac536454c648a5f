"""Strings -> TextStates, through the text encoder (a Qwen3 model and its tokenizer).

The caption branch is the last hidden state of a full forward pass, [1, Lt, D]. The lyrics branch is only the token
embeddings, [1, Ll, D]: the condition encoder has a network of its own for them. One song at a time and never padded,
because the networks behind this one attend to padding.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..prompt import TEXT_TO_MUSIC, lyrics_prompt, text_prompt
from ..song import Song
from ..spec import LYRIC_TOKENS_MAX, TEXT_TOKENS_MAX
from .qwen3 import hidden_states

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextStates:
    """A song's text as the condition encoders take it, at their text width D. Equal only to itself.

    `other`: a second text of an edit: what the steps after the switch read, or the text of the source.
    """

    text: torch.Tensor  # [1, Lt, D]
    lyrics: torch.Tensor  # [1, Ll, D]
    other: "TextStates | None" = None

    def to(self, device: "torch.device | str", dtype: torch.dtype | None = None) -> "TextStates":
        other = self.other and self.other.to(device, dtype)
        return TextStates(self.text.to(device, dtype), self.lyrics.to(device, dtype), other)


class TextEncoder:
    """A Qwen3, this library's or transformers', and its tokenizer, which appends the <|endoftext|> tokens."""

    def __init__(self, model: torch.nn.Module, tokenizer: "Tokenizer"):
        self.model = model
        self.tokenizer = tokenizer

    def encode(self, song: Song, instruction: str = TEXT_TO_MUSIC) -> TextStates:
        """TextStates of one song; text past 256 tokens and lyrics past 2048 are cut, with a warning in the log."""
        return self.encode_prompts(text_prompt(song, instruction), lyrics_prompt(song))

    def encode_prompts(self, text: str, lyrics: str) -> TextStates:
        """TextStates of the prompts that `text_prompt` and `lyrics_prompt` make."""
        text_ids = self._tokens(text, TEXT_TOKENS_MAX, "caption")
        lyric_ids = self._tokens(lyrics, LYRIC_TOKENS_MAX, "lyrics")
        return TextStates(
            text=hidden_states(self.model, text_ids),
            lyrics=self.model.embed_tokens(lyric_ids),
        )

    def to(self, device: "torch.device | str", dtype: torch.dtype | None = None) -> "TextEncoder":
        self.model.to(device=device, dtype=dtype)
        return self

    def _tokens(self, prompt: str, limit: int, what: str) -> torch.Tensor:  # [1, L]
        ids = self.tokenizer.encode(prompt).ids
        if len(ids) > limit:
            logger.warning(
                "%s: too long, with its headings it makes %d tokens and the model reads the first %d; shorten it",
                what,
                len(ids),
                limit,
            )
            ids = self._cut(prompt, limit)
        return torch.tensor([ids], device=self.model.device)

    def _cut(self, prompt: str, limit: int) -> list[int]:
        """The first tokens, so many with those that the tokenizer appends."""
        self.tokenizer.enable_truncation(limit)
        try:
            return self.tokenizer.encode(prompt).ids
        finally:
            self.tokenizer.no_truncation()

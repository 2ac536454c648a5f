"""The tiny planner: a small Qwen3 language model of the published planners' form, on the tokens of `planner_words.py`.

Chats → ids → next tokens of the answer. Text alone teaches it to write, plan and rewrite; where the family has an audio
tokenizer, half of the examples bring the codes of encoded songs, so that it writes codes and describes them.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..nn.dtypes import product_dtype
from ..planner.song_plan import codes_count
from ..planner.vocabulary import THINK_END, Vocabulary
from . import codes
from .checkpointing import load_state, load_weights, save_state, warm_then_cool
from .flow import optimisers
from .latents import FRAMES_PER_SECOND, MIX, Library
from .planner_texts import Example, Piece, coded_example, example_of
from .planner_words import tokenizer_table, vocabulary_of
from .songs import VARIANTS, Crop

CONFIG = dict(
    hidden_size=256,
    intermediate_size=640,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    max_position_embeddings=4096,
    rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    tie_word_embeddings=True,
)
STEPS, BATCH, POOL, LEARNING_RATE = 6_000, 16, 4, 2e-3
MOST_TOKENS = 600  # of an example; a longer one is cut
CODED_SHARE, PIECE_S = 0.5, 60.0
CLIP_SHARE = 0.7  # of the pieces, where there are clips
# Of a token: lyrics are many, and the values of the think block few. One of a caption, or a code, counts as one.
LYRICS_WEIGHT, VALUES_WEIGHT = 0.3, 3.0
SAVE_EVERY_STEPS = 100
FIRST_EXAMPLE = 1_000_000  # the tokenizer is made of examples before it


class Network(torch.nn.Module):
    """The language model; its head is its embedding."""

    def __init__(self, rows: int):
        from transformers import Qwen3Config, Qwen3Model

        super().__init__()
        torch.manual_seed(11)
        self.model = Qwen3Model(Qwen3Config(vocab_size=rows, **CONFIG))

    def forward(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Ids [B, L], padded on the right → logits [N, rows] at the places [B, L] that are true. Products are as in
        the stages: the parameters stay float32 for the optimiser.
        """
        dtype = product_dtype(ids.device)
        with torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32):
            states = self.model(input_ids=ids, use_cache=False).last_hidden_state
            return F.linear(states[places], self.model.embed_tokens.weight).float()


@dataclass(frozen=True)
class Pieces:
    """Clips, and beginnings of encoded songs, as codes: of a library, by an audio tokenizer. `silence` [1, C, N]."""

    library: Library
    networks: codes.Networks
    silence: torch.Tensor

    def draw(self, rng: np.random.Generator) -> Piece:
        clips = self.library.clips if rng.random() < CLIP_SHARE else None
        known = clips or self.library.songs
        entry = known[rng.integers(len(known))]
        crop = Crop(entry.facts, 0.0, min(PIECE_S, entry.facts.seconds))
        song = crop.request(int(rng.integers(VARIANTS)))
        frames = round(crop.seconds * FRAMES_PER_SECOND)
        latents = torch.from_numpy(entry.read(MIX, 0, frames)).float()[None].transpose(1, 2)
        with torch.no_grad():
            _, found = self.networks.tokenizer.tokenize(latents, self.silence.transpose(1, 2))
        return Piece(song, found.flatten().tolist()[: codes_count(song.seconds)])


class Trainer:
    """Trains the planner; `planner.pt` in `folder` holds everything needed to go on, the vocabulary too. `pieces`: None
    for text alone.
    """

    def __init__(self, folder: Path, steps: int = STEPS, device: str = "cpu", pieces: Pieces | None = None):
        self.path, self.steps, self.device, self.pieces = folder / "planner.pt", steps, device, pieces
        state = load_state(self.path)
        self.tokenizer = state["tokenizer"] if state else tokenizer_table()
        self.words = vocabulary_of(self.tokenizer)
        self.network = Network(self.words.code_ids.stop).to(device)
        self.optimisers = optimisers(self.network, LEARNING_RATE)
        self.step = 0
        self._pool: list = []
        self._pool_of: int | None = None
        if state:
            load_weights(self.network, state["network"], self.path)
            for optimiser, saved in zip(self.optimisers, state["optimisers"] or ()):  # none after a warm start
                optimiser.load_state_dict(saved)
            self.step = state["step"]

    def save(self) -> None:
        save_state(
            self.path,
            network=self.network.state_dict(),
            optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            step=self.step,
            tokenizer=self.tokenizer,
        )

    def batch(self) -> list[tuple[list[int], list[float]]]:
        """Examples of one step. Those of POOL steps are drawn together and sorted, so that little is padded."""
        first = self.step // POOL * POOL
        if self._pool_of != first:
            drawn = [self._example(first * BATCH + number) for number in range(POOL * BATCH)]
            drawn = sorted((weighed(self.words, one) for one in drawn), key=lambda one: len(one[0]))
            order = np.random.default_rng([32, first]).permutation(POOL)
            self._pool, self._pool_of = [drawn[at * BATCH : (at + 1) * BATCH] for at in order], first
        return self._pool[self.step - first]

    def _example(self, number: int) -> Example:
        rng = np.random.default_rng([31, number])
        if self.pieces is not None and rng.random() < CODED_SHARE:
            return coded_example(rng, self.pieces.draw(rng))
        return example_of(FIRST_EXAMPLE + number)

    def loss(self) -> dict[str, torch.Tensor]:
        """The cross-entropy of the answers' tokens: weighted, and of the values of the think blocks alone."""
        drawn = self.batch()
        longest = max(len(ids) for ids, _ in drawn)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in drawn], device=self.device)
        weights = torch.tensor([row + [0.0] * (longest - len(row)) for _, row in drawn], device=self.device)[:, 1:]
        counts = weights > 0
        missed = F.cross_entropy(self.network(ids[:, :-1], counts), ids[:, 1:][counts], reduction="none")
        shares = weights[counts]
        values = missed.detach()[shares == VALUES_WEIGHT]
        return {"loss": (missed * shares).sum() / shares.sum(), "values": values.sum() / max(1, len(values))}

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            parts = self.loss()
            self._descend(parts["loss"])
            self.step += 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            yield self.step, {name: float(part.detach()) for name, part in parts.items()}, time.perf_counter() - started

    def _descend(self, loss: torch.Tensor) -> None:
        share = warm_then_cool(self.step, self.steps, warm=50, cool=0.4)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * share
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()


def weighed(words: Vocabulary, example: Example) -> tuple[list[int], list[float]]:
    """The ids of an example, and how much each of them counts: nothing of the prompt."""
    ids = words.encode(example.prompt)
    weights = [0.0] * len(ids)
    for text, weight in _answer_parts(example.answer):
        part = words.encode(text)
        ids, weights = ids + part, weights + [weight] * len(part)
    return ids[:MOST_TOKENS], weights[:MOST_TOKENS]


def _answer_parts(answer: str) -> Iterator[tuple[str, float]]:
    """(text, weight of its tokens): the values of the think block, its caption, and what comes behind it. Each part
    begins a line, so that its tokens are those of the whole.
    """
    thoughts, end, rest = answer.partition(THINK_END)
    if not end:
        yield answer, 1.0
        return
    first, name, after = thoughts.partition("caption:")
    described, line, last = after.partition("\nduration:")
    yield first, VALUES_WEIGHT
    yield f"{name}{described}\n", 1.0
    yield f"{line[1:]}{last}{end}", VALUES_WEIGHT
    yield rest, LYRICS_WEIGHT

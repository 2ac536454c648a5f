"""Trains a tiny stage transformer, L, M or S, with its condition encoder, by flow matching, on every task.

x_t = t·noise + (1−t)·music, the network predicts v = noise − music, `[C, F]` of all items behind one another. L is
trained at all t; M and S mostly on the stretch where they are to play, and a little everywhere, so that each can run
alone and that the crossings of their loss curves can be seen.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..models.condition import encode_timbre
from ..system.torchaudio_import import settle_torchaudio
from . import assignments, sung
from .batches import Batch, Packer, fill
from .checkpointing import load_state, load_weights, save_state, warm_then_cool
from .latents import FRAMES_PER_SECOND, Library
from .muon import Muon
from .packed import PackedForward
from .vocoder import CONFIG as VOCODER

settle_torchaudio()

CHANNELS = VOCODER["decoder_input_channels"]
TIMBRE_FRAMES = 3 * round(FRAMES_PER_SECOND)  # three pieces of a second
BATCH_SECONDS = 240.0  # of music in a batch
EARLY = 0.7  # of the steps
# Halfway through its layers a network predicts which notes sound and where beats and bars begin: harmony and metre are
# a small part of the loss, and learned late otherwise. (Representation alignment, arXiv:2410.06940, with the score in
# place of a pretrained encoder.)
NOTES, NOTES_WEIGHT = 24, 0.3
BEATS, BEATS_WEIGHT = 2, 0.15
LYRICS_WEIGHT = 0.1  # see sung.py
LATER = "beats."  # weights that older states have not
EMA = 0.998
SAVE_EVERY_S = 60.0
REFRESH_EVERY_STEPS = 50  # songs that came meanwhile
WARM_STEPS, COOL = 150, 0.4


@dataclass(frozen=True)
class Slot:
    """Geometry of one stage model, the flow times that it is trained at most, and how it is trained."""

    name: str
    family: str
    stretch: tuple[float, float]
    own_share: float  # of the items lie in the stretch, the others anywhere
    transformer: dict
    encoder: dict
    steps: int
    learning_rate: float = 1.5e-3
    follows: bool = False  # whether a head is trained to follow the lyrics, see sung.py


def patch_of(token_s: float) -> int:
    return max(1, round(token_s * FRAMES_PER_SECOND))


def _geometry(hidden, inter, layers, heads, kv_heads, token_s, full_every=2) -> dict:
    """Every `full_every`-th layer sees the whole song, 0: none, the others what lies within reach."""
    whole = [bool(full_every) and i % full_every == full_every - 1 for i in range(layers)]
    return dict(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=64,
        in_channels=3 * CHANNELS,
        audio_acoustic_hidden_dim=CHANNELS,
        patch_size=patch_of(token_s),
        rope_theta=10_000.0,
        sliding_window=ENCODER["sliding_window"],
        layer_types=["full_attention" if all_heard else "sliding_attention" for all_heard in whole],
        encoder_hidden_size=ENCODER["hidden_size"],
    )


# One geometry for all, so that one tokenizer of codes fits each model. A model has one window for all its networks.
ENCODER = dict(
    hidden_size=128,
    intermediate_size=320,
    text_hidden_dim=128,
    timbre_hidden_dim=CHANNELS,
    num_lyric_encoder_hidden_layers=1,
    num_timbre_encoder_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    rope_theta=10_000.0,
    sliding_window=32,
)
# The second layer over the lyrics hears all of them: where a line comes late, the first does not know its place.
FOLLOWING = ENCODER | dict(num_lyric_encoder_hidden_layers=2)
# Tokens of 80 ms: with half of that, L trains on a third of the music in the same time. What the words ask for is
# decided where nearly all is noise, so L sees that most.
SLOTS = {
    "l": Slot("l", "xl", (0.6, 1.0), 0.8, _geometry(256, 704, 8, 6, 2, 0.08), FOLLOWING, 8_000, follows=True),
    "m": Slot("m", "2b", (0.1, 0.65), 0.85, _geometry(192, 512, 6, 3, 1, 0.08), ENCODER, 2_500, 2e-3),
    "s": Slot("s", "2b", (0.0, 0.25), 0.85, _geometry(128, 384, 5, 2, 1, 0.04), ENCODER, 1_500, 2e-3),
}


def new_networks(slot: Slot):
    """Transformer and condition encoder of a slot, freshly initialised; the last layer starts at zero."""
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(sum(map(ord, slot.name)))
    transformer = AceStepTransformer1DModel(**slot.transformer)
    encoder = AceStepConditionEncoder(**slot.encoder)
    encoder.silence_latent = torch.zeros(1, 1, CHANNELS)
    torch.nn.init.zeros_(transformer.proj_out_conv.weight)
    torch.nn.init.normal_(encoder.null_condition_emb, std=0.02)
    return transformer, encoder


class Networks(torch.nn.Module):
    """The networks that are trained together for one slot."""

    def __init__(self, slot: Slot):
        super().__init__()
        self.timbre_token = slot.family == "xl"
        self.transformer, self.encoder = new_networks(slot)
        self.lean = PackedForward(self.transformer)
        self.notes = torch.nn.Linear(slot.transformer["hidden_size"], NOTES)
        self.beats = torch.nn.Linear(slot.transformer["hidden_size"], BEATS)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, batch: Batch, text, lyrics):
        """Velocity [C, F], logits of each note [N, 24] and of beats and bars [N, 2], and how far the lyrics are missed.
        `t` [B]; `text` and `lyrics` of each item, [L, D].
        """
        states = self._states(batch, text, lyrics)
        pack = batch.pack(list(map(len, states)))
        velocity, halfway, follows = self.lean(x_t, t, torch.cat(states), batch.context, pack)
        lost = sung.missed(*follows, batch.sung, pack.tokens, pack.heard)
        return velocity, self.notes(halfway.float()), self.beats(halfway.float()), lost

    def _states(self, batch: Batch, text, lyrics) -> list[torch.Tensor]:
        """[L, D] of each item: lyrics, timbre, text, or the null condition alone, as many of which are the same."""
        # Most items have silence as their timbre: it is encoded once for all of them.
        colours = encode_timbre(self.encoder.timbre_encoder, batch.timbre, self.timbre_token)[batch.chosen]
        null = self.encoder.null_condition_emb[0]
        made = []
        for i, (song, colour) in enumerate(zip(self._sung(lyrics), colours)):
            told = self.encoder.text_projector(text[i])
            made.append(null if batch.dropped[i] else torch.cat([song, colour[None], told]))
        return made

    def _sung(self, lyrics) -> list[torch.Tensor]:
        counts = [len(one) for one in lyrics]
        padded = torch.nn.utils.rnn.pad_sequence(lyrics, batch_first=True)
        mask = torch.arange(max(counts), device=padded.device) < torch.tensor(counts, device=padded.device)[:, None]
        states = self.encoder.lyric_encoder(inputs_embeds=padded, attention_mask=mask)
        return [row[:count] for row, count in zip(states, counts)]


def optimisers(networks: Networks, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    matrices, rest = [], []
    for name, parameter in networks.named_parameters():
        inside = ".layers." in name and parameter.ndim == 2
        (matrices if inside else rest).append(parameter)
    return [
        Muon(matrices, learning_rate, 0.01),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


@dataclass(frozen=True)
class Words:
    """The text encoder and its tokenizer, as a stage hears them: finished, and never padded."""

    model: torch.nn.Module
    tokenizer: object

    def tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text's tokens, and the characters of each."""
        made = self.tokenizer(text, return_offsets_mapping=True)
        return made.input_ids, made.offset_mapping

    @torch.no_grad()
    def states(self, ids: list[torch.Tensor]) -> list[torch.Tensor]:
        """[L, D] of each prompt. The encoder is causal, so what fills a row up changes nothing before it."""
        device = self.model.device
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device)
        made = self.model(input_ids=padded, use_cache=False).last_hidden_state
        return [row[: len(one)] for row, one in zip(made, ids)]

    @torch.no_grad()
    def embeddings(self, ids: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.model.get_input_embeddings()(one.to(self.model.device)) for one in ids]


def flow_errors(networks: Networks, words: Words, batch: Batch, t: torch.Tensor, noise: torch.Tensor):
    """Squared errors of the velocity [F], mean over channels, logits of notes and beats, and the loss of the head that
    follows the lyrics. `noise` [C, F].
    """
    at = batch.per_frame(t)
    # What fills an item up to a whole token is zero, as when a song is generated.
    x_t = (at * noise + (1 - at) * batch.music) * batch.real
    made, *further = networks(x_t, t, batch, words.states(batch.text), words.embeddings(batch.lyrics))
    return (made - (noise - batch.music)).square().mean(0), *further


def _missed(logits: torch.Tensor, true: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of logits [N, K], over the tokens that count [N, 1]."""
    each = F.binary_cross_entropy_with_logits(logits, true, reduction="none") * counts
    return each.sum() / (logits.shape[1] * counts.sum()).clamp(min=1)


class Trainer:
    """One slot's training; `<slot>.pt` in `folder` holds everything needed to resume it."""

    def __init__(
        self, slot: Slot, folder: Path, library: Library, words: Words, packer: Packer, steps=None, device="cpu"
    ):
        self.slot, self.library, self.words, self.packer, self.device = slot, library, words, packer, device
        self.path, self.steps = folder / f"{slot.name}.pt", steps or slot.steps
        self.networks = Networks(slot).to(device)
        self.average = Networks(slot).to(device).requires_grad_(False)
        self.average.load_state_dict(self.networks.state_dict())
        self.optimisers = optimisers(self.networks, slot.learning_rate)
        self.step = self.warm_from = 0
        self._resume()

    def _resume(self) -> None:
        state = load_state(self.path)
        if state:
            load_weights(self.networks, state["networks"], self.path, LATER)
            load_weights(self.average, state["average"], self.path, LATER)
            # None after a warm start, and none that fits where the state has fewer parts.
            known = state["optimisers"] if any(name.startswith(LATER) for name in state["networks"]) else None
            for optimiser, saved in zip(self.optimisers, known or ()):
                optimiser.load_state_dict(saved)
            self.step = state["step"]
            self.warm_from = state["warm_from"] if known else self.step

    def save(self) -> None:
        save_state(
            self.path,
            networks=self.networks.state_dict(),
            average=self.average.state_dict(),
            optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            step=self.step,
            warm_from=self.warm_from,
        )

    def items(self) -> list[assignments.Assignment]:
        """The assignments of one step, all random numbers from the step's own seed."""
        rng = np.random.default_rng([8, ord(self.slot.name[0]), self.step])
        codes, piece = self.packer.hints is not None, self.packer.timbre_frames // 3
        tokens = int(BATCH_SECONDS * FRAMES_PER_SECOND / self.packer.patch)
        early = self.step < EARLY * self.steps
        return fill(lambda: assignments.draw(rng, self.library, codes, piece, early), self.packer, tokens)

    def times(self, count: int) -> torch.Tensor:
        """[B] flow times, evenly spread over the slot's distribution."""
        rng = np.random.default_rng([9, ord(self.slot.name[0]), self.step])
        u = rng.permutation((np.arange(count) + rng.random(count)) / count)
        low, high = self.slot.stretch
        share = self.slot.own_share
        t = np.where(u < share, low + (high - low) * u / share, (u - share) / (1 - share))
        return torch.tensor(t, dtype=torch.float32)

    def loss(self) -> dict[str, torch.Tensor]:
        batch = self.packer(self.items()).to(self.device)
        torch.manual_seed(self.step)
        noise = torch.randn(batch.music.shape).to(self.device)
        t = self.times(len(batch.tokens)).to(self.device)
        errors, notes, beats, lost = flow_errors(self.networks, self.words, batch, t, noise)
        return {
            "flow": (errors * batch.counts).sum() / batch.counts.sum(),
            "notes": NOTES_WEIGHT * _missed(notes, batch.notes, batch.noted),
            "beats": BEATS_WEIGHT * _missed(beats, batch.beats, batch.noted),
        } | ({"lyrics": LYRICS_WEIGHT * lost} if self.slot.follows else {})

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        saved = time.perf_counter()
        while self.step < self.steps:
            started = time.perf_counter()
            if self.step % REFRESH_EVERY_STEPS == 0:
                self.library.refresh()
            parts = self.loss()
            self._descend(sum(parts.values()))
            self.step += 1
            if time.perf_counter() - saved > SAVE_EVERY_S or self.step == self.steps:
                self.save()
                saved = time.perf_counter()
            yield self.step, {k: float(v.detach()) for k, v in parts.items()}, time.perf_counter() - started

    def _descend(self, loss: torch.Tensor) -> None:
        share = warm_then_cool(self.step, self.steps, WARM_STEPS, COOL, self.warm_from)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.slot.learning_rate * share
        self.networks.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self._follow()

    def _follow(self) -> None:
        """Updates the moving average of the weights, which is shipped; its first steps fade quickly."""
        keep = min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.networks.parameters()):
                mean.lerp_(now, 1 - keep)

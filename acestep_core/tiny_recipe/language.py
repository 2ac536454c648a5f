"""The tiny text encoder: a small Qwen3 on the tokens of `words.py`, pretrained to predict a caption's attributes.

Prompts → ids → hidden states [1, L, 128]. The last state has read the whole prompt; linear heads predict from it
genre, mood, key, tempo, metre and the part of each role of the band. The heads are then discarded.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..band import Sketch, song_of
from ..band.caption import METRES as METRE_WORDS
from ..band.caption import caption
from ..band.genres import GENRES, MOODS
from ..band.instruments import ROLES, VOICES
from ..band.sketch import FASTEST_BPM, SLOWEST_BPM
from ..prompt import text_prompt
from ..system.torchaudio_import import settle_torchaudio
from .checkpointing import load_state, save_state, warm_then_cool
from .words import new_tokenizer

settle_torchaudio()

HIDDEN = 128
STEPS, BATCH, LEARNING_RATE = 350, 48, 1.5e-3
TYPO_SHARE = 0.25  # of the prompts have a misspelt word, so that letters are trained as well


def new_encoder(vocabulary_size: int):
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary_size,
            hidden_size=HIDDEN,
            intermediate_size=320,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=False,
        )
    )


METRES = (4, 3, 6)


@dataclass(frozen=True)
class Question:
    """A linear head on the last hidden state: its name and how many answers it has."""

    name: str
    answers: int

    @property
    def head(self) -> str:  # a module may not be called "keys"
        return "ask_" + self.name.replace(" ", "_")


QUESTIONS = (
    Question("genre", len(GENRES)),
    Question("mood", len(MOODS) + 1),  # the last answer: left open
    Question("tonic", 13),
    Question("minor", 3),
    Question("metre", len(METRES) + 1),
    Question("bpm", FASTEST_BPM - SLOWEST_BPM + 2),
    *(Question(role, 3) for role in ROLES),  # open, named, forbidden
    *(Question(voice, 2) for voice in VOICES),
)
TEMPO_WAVES = 8


def tempo_code(bpm: float) -> np.ndarray:
    """Tempo as waves of rising frequency over its logarithm: close tempi have close codes. [16]"""
    octaves = np.log2(bpm / SLOWEST_BPM)
    angles = 2 * np.pi * octaves * 0.5 * 1.6 ** np.arange(TEMPO_WAVES)
    return np.concatenate([np.sin(angles), np.cos(angles)]).astype(np.float32)


def request(seed: int, variant: int):
    """A prompt, the answers it holds and its tempo code; one key in three is spelt with flats, songs are any length."""
    rng = np.random.default_rng([seed, 5, variant])
    sketch = Sketch.draw(seed, float(rng.integers(10, 601)))
    song = song_of(sketch, variant)
    text, named, forbidden = caption(sketch, variant)
    prompt = text_prompt(replace(song, caption=misspelt(rng, song.caption)))
    if rng.random() < 0.33:
        for sharp, flat in (("C#", "Db"), ("D#", "Eb"), ("F#", "Gb"), ("G#", "Ab"), ("A#", "Bb")):
            prompt = prompt.replace(f" {sharp} m", f" {flat} m")
    said = text.lower()
    key_told, bpm_told = song.key or sketch.key.lower() in said, song.bpm or f"{sketch.bpm} bpm" in said
    metre_told = song.time_signature or any(words in said for words in METRE_WORDS[sketch.metre])
    mood_told = any(word in said for word in MOODS[sketch.mood][0])
    answers = {
        "genre": list(GENRES).index(sketch.genre),
        "mood": list(MOODS).index(sketch.mood) if mood_told else len(MOODS),
        "tonic": sketch.tonic if key_told else 12,
        "minor": int(sketch.minor) if key_told else 2,
        "metre": METRES.index(sketch.metre) if metre_told else len(METRES),
        "bpm": sketch.bpm - SLOWEST_BPM if bpm_told else FASTEST_BPM - SLOWEST_BPM + 1,
        **{role: 1 if role in named else 2 if role in forbidden else 0 for role in ROLES},
        **{voice: int(voice in sketch.voices.values() and voice in text) for voice in VOICES},
    }
    return prompt, answers, tempo_code(sketch.bpm) if bpm_told else np.zeros(2 * TEMPO_WAVES, np.float32)


def misspelt(rng, text: str) -> str:
    """The text with two neighbouring letters of a word exchanged, or one left out, in a share of all cases."""
    places = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not places or rng.random() >= TYPO_SHARE:
        return text
    at = places[rng.integers(len(places))]
    return text[:at] + (text[at + 1] + text[at] if rng.random() < 0.5 else text[at + 1]) + text[at + 2 :]


class Trainer:
    """Trains the encoder; `text.pt` in `folder` holds everything needed to go on."""

    def __init__(self, folder: Path, steps: int = STEPS, device: str = "cpu"):
        self.path, self.steps, self.device = folder / "text.pt", steps, device
        self.tokenizer = new_tokenizer()
        self.model = new_encoder(len(self.tokenizer)).to(device)
        self.heads = torch.nn.ModuleDict({q.head: torch.nn.Linear(HIDDEN, q.answers) for q in QUESTIONS})
        self.tempo = torch.nn.Linear(HIDDEN, 2 * TEMPO_WAVES)
        self.trained = torch.nn.ModuleList([self.model, self.heads, self.tempo]).to(device)
        self.optimiser = torch.optim.AdamW(self.trained.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        self.step = 0
        state = load_state(self.path)
        if state:
            self.trained.load_state_dict(state["trained"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]

    def save(self) -> None:
        save_state(self.path, trained=self.trained.state_dict(), optimiser=self.optimiser.state_dict(), step=self.step)

    def loss(self) -> tuple[torch.Tensor, float]:
        """The sum of all questions' cross-entropies and the share of right answers."""
        drawn = [request(20_000_000 + self.step * BATCH + i, i) for i in range(BATCH)]
        batch = self.tokenizer([prompt for prompt, _, _ in drawn], return_tensors="pt", padding=True)
        batch = {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask")}
        states = self.model(**batch, use_cache=False).last_hidden_state
        last = states[torch.arange(BATCH, device=self.device), batch["attention_mask"].sum(1) - 1]
        total = F.mse_loss(self.tempo(last), torch.from_numpy(np.stack([t for _, _, t in drawn])).to(self.device)) * 4
        right = []
        for question in QUESTIONS:
            wanted = torch.tensor([answers[question.name] for _, answers, _ in drawn], device=self.device)
            said = self.heads[question.head](last)
            total = total + F.cross_entropy(said, wanted)
            right.append((said.argmax(1) == wanted).float().mean().item())
        return total, float(np.mean(right))

    def run(self):
        """Yields (step, loss, share of right answers) after every step."""
        while self.step < self.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = LEARNING_RATE * warm_then_cool(self.step, self.steps, cool=0.5)
            loss, right = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            if self.step % 250 == 0 or self.step == self.steps:
                self.save()
            yield self.step, float(loss.detach()), right

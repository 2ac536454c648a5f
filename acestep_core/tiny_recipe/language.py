"""The tiny text encoder: a small Qwen3 on the tokens of `words.py`, pretrained to predict a prompt's attributes.

Prompts → ids → hidden states [1, L, 128]. The last state has read the whole prompt; linear heads predict from it task,
genre, mood, key, tempo, metre, length and the part of each role of the band. Lyrics are read by their embeddings alone,
so these predict the word's letters and vowels. The heads are then discarded.
"""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..band import Sketch, song_of
from ..band.caption import METRES as METRE_WORDS
from ..band.caption import caption
from ..band.genres import GENRES, MOODS
from ..band.instruments import ROLES, TRACKS, VOICES
from ..band.lyrics import lexicon
from ..band.sketch import FASTEST_BPM, SLOWEST_BPM
from ..editing.tasks import TASKS, instruction
from ..prompt import TEXT_TO_MUSIC, text_prompt
from ..system.torchaudio_import import settle_torchaudio
from .checkpointing import load_state, load_weights, save_state, warm_then_cool
from .words import MARK, new_tokenizer

settle_torchaudio()

HIDDEN = 128
STEPS, BATCH, LEARNING_RATE = 1_200, 48, 1.5e-3
SPELT = 512  # words whose letters are asked for in a step
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
ASKED = (TEXT_TO_MUSIC, "cover", "repaint", "extract", "lego", "complete")  # what an instruction asks for
PLAIN_SHARE = 0.5
LETTERS = "abcdefghijklmnopqrstuvwxyz"


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
    Question("task", len(ASKED)),
    *(Question(f"asks {track}", 2) for track in TRACKS),
)
WAVES = 8
SHORTEST_S, LONGEST_S, USUAL_S, USUAL_SHARE = 10, 600, 120, 0.8


def tempo_code(bpm: float) -> np.ndarray:
    """Tempo as waves of rising frequency over its logarithm: close tempi have close codes. [16]"""
    return _waves(np.log2(bpm / SLOWEST_BPM))


def length_code(seconds: float) -> np.ndarray:
    """Length in the same way. [16]"""
    return _waves(np.log2(seconds / SHORTEST_S))


def _waves(octaves: float) -> np.ndarray:
    angles = 2 * np.pi * octaves * 0.5 * 1.6 ** np.arange(WAVES)
    return np.concatenate([np.sin(angles), np.cos(angles)]).astype(np.float32)


def asked(rng) -> tuple[str, tuple[str, ...], str]:
    """A task, the tracks that it asks for, and the instruction that says so."""
    if rng.random() < PLAIN_SHARE:
        return TEXT_TO_MUSIC, (), TEXT_TO_MUSIC
    task = str(rng.choice(ASKED[1:]))
    count = {"extract": 1, "lego": 1, "complete": int(rng.integers(1, 6))}.get(task, 0)
    tracks = tuple(str(track) for track in rng.permutation(TRACKS)[:count])
    return task, tracks, instruction(TASKS[task], tracks)


def request(seed: int, variant: int):
    """A prompt, the answers it holds, its tempo code and its length code; one key in three is spelt with flats."""
    rng = np.random.default_rng([seed, 5, variant])
    seconds = float(rng.integers(SHORTEST_S, (USUAL_S if rng.random() < USUAL_SHARE else LONGEST_S) + 1))
    sketch = Sketch.draw(seed, seconds)
    song = song_of(sketch, variant)
    text, named, forbidden = caption(sketch, variant)
    task, tracks, words = asked(rng)
    prompt = text_prompt(replace(song, caption=misspelt(rng, song.caption)), words)
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
        "task": ASKED.index(task),
        **{f"asks {track}": int(track in tracks) for track in TRACKS},
    }
    code = tempo_code(sketch.bpm) if bpm_told else np.zeros(2 * WAVES, np.float32)
    return prompt, answers, code, length_code(seconds)


@lru_cache(maxsize=1)
def _vowels() -> dict[str, list[str]]:
    """The vowels of each word of the band's lyrics."""
    words = (word for words in lexicon().values() for word in words)
    return {word.text.lower(): [sound.split("/")[1] for sound in word.sounds] for word in words}


def spelling(tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [W] of all tokens that are words, and what they are made of [W, letters + vowels], 0 and 1: which letters,
    and, of words of the band's lyrics, the vowels of the first and the last syllable.
    """
    sounds = sorted({vowel for vowels in _vowels().values() for vowel in vowels})
    ids, rows = [], []
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        word = token.removeprefix(MARK)
        if token.startswith(MARK) and word.isalpha():
            heard = _vowels().get(word) or [""]
            ends = [[heard[at] == sound for sound in sounds] for at in (0, -1)]
            rows.append([letter in word for letter in LETTERS] + ends[0] + ends[1])
            ids.append(number)
    return torch.tensor(ids), torch.tensor(rows, dtype=torch.float32)


def misspelt(rng, text: str) -> str:
    """The text with two neighbouring letters of a word exchanged, or one left out, in a share of all cases."""
    places = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not places or rng.random() >= TYPO_SHARE:
        return text
    at = places[rng.integers(len(places))]
    return text[:at] + (text[at + 1] + text[at] if rng.random() < 0.5 else text[at + 1]) + text[at + 2 :]


def take_over(model, tokenizer, known, known_tokenizer) -> list[int]:
    """Copies the layers of a trained encoder, and the embeddings of the words that it knows, marked or not; returns the
    ids of these words in `tokenizer`. Letters are no words.
    """
    state, theirs, rows = model.state_dict(), known.state_dict(), known_tokenizer.get_vocab()
    table = "embed_tokens.weight"
    state |= {name: tensor.float() for name, tensor in theirs.items() if name != table}
    words = {id: token for token, id in tokenizer.get_vocab().items() if token.startswith((MARK, "<"))}
    found = {id: rows.get(token, rows.get(token.removeprefix(MARK))) for id, token in words.items()}
    kept = sorted(id for id, row in found.items() if row is not None)
    for id in kept:
        state[table][id] = theirs[table][found[id]].float()
    model.load_state_dict(state)
    return kept


class Trainer:
    """Trains the encoder; `text.pt` in `folder` holds everything needed to go on.

    `kept`: ids of words that were taken over from another encoder, layers and all, since transformers know how it says
    them. These stay as they are, and only the other words are learnt.
    """

    def __init__(self, folder: Path, steps: int = STEPS, device: str = "cpu"):
        self.path, self.steps, self.device = folder / "text.pt", steps, device
        self.tokenizer = new_tokenizer()
        self.model = new_encoder(len(self.tokenizer)).to(device)
        self.heads = torch.nn.ModuleDict({q.head: torch.nn.Linear(HIDDEN, q.answers) for q in QUESTIONS})
        self.codes = torch.nn.Linear(HIDDEN, 4 * WAVES)  # of tempo and length
        self.words, self.spelt = (part.to(device) for part in spelling(self.tokenizer))
        self.letters = torch.nn.Linear(HIDDEN, self.spelt.shape[1])
        self.trained = torch.nn.ModuleList([self.model, self.heads, self.codes, self.letters]).to(device)
        self.optimiser = torch.optim.AdamW(self.trained.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        self.step, self.kept = 0, []
        state = load_state(self.path)
        if state:
            load_weights(self.trained, state["trained"], self.path)
            self.keep(state.get("kept", []))
            if state["optimiser"]:  # none after a warm start
                self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]

    def keep(self, ids: list[int]) -> None:
        self.kept = ids
        table = self.model.get_input_embeddings().weight
        self._known = table.detach()[ids].clone()
        for parameter in self.model.parameters():
            parameter.requires_grad_(parameter is table or not ids)

    def save(self) -> None:
        trained = self.trained.state_dict(), self.optimiser.state_dict()
        save_state(self.path, trained=trained[0], optimiser=trained[1], step=self.step, kept=self.kept)

    def loss(self) -> tuple[torch.Tensor, float]:
        """The sum of all questions' cross-entropies and the share of right answers."""
        drawn = [request(20_000_000 + self.step * BATCH + i, i) for i in range(BATCH)]
        batch = self.tokenizer([one[0] for one in drawn], return_tensors="pt", padding=True)
        batch = {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask")}
        states = self.model(**batch, use_cache=False).last_hidden_state
        last = states[torch.arange(BATCH, device=self.device), batch["attention_mask"].sum(1) - 1]
        codes = torch.from_numpy(np.stack([np.concatenate(one[2:]) for one in drawn])).to(self.device)
        total, right = 4 * F.mse_loss(self.codes(last), codes) + self._spelling_loss(), []
        for question in QUESTIONS:
            wanted = torch.tensor([one[1][question.name] for one in drawn], device=self.device)
            said = self.heads[question.head](last)
            total = total + F.cross_entropy(said, wanted)
            right.append((said.argmax(1) == wanted).float().mean().item())
        return total, float(np.mean(right))

    def _spelling_loss(self) -> torch.Tensor:
        picked = np.random.default_rng([13, self.step]).integers(len(self.words), size=SPELT)
        embedded = self.model.get_input_embeddings()(self.words[picked])
        return F.binary_cross_entropy_with_logits(self.letters(embedded), self.spelt[picked]) * 4

    def run(self):
        """Yields (step, the loss and the share of right answers, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            for group in self.optimiser.param_groups:
                group["lr"] = LEARNING_RATE * warm_then_cool(self.step, self.steps, cool=0.5)
            loss, right = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
            self.optimiser.step()
            if self.kept:
                with torch.no_grad():  # gradients and weight decay changed them
                    self.model.get_input_embeddings().weight[self.kept] = self._known
            self.step += 1
            if self.step % 250 == 0 or self.step == self.steps:
                self.save()
            yield self.step, {"loss": float(loss.detach()), "right": right}, time.perf_counter() - started

"""Text states between runs: found again by what made them, never wrong, never without bound."""

import shutil

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.text_cache import TextCache, fingerprint
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.memory import model_pool as parts
from acestep_pack.acestep_core.models.text_encoder import TextStates
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.system.folders import cache_folder
from safetensors import safe_open
from safetensors.torch import save_file

SONG = Song("lo-fi beat", lyrics="la la", seconds=10)


@pytest.fixture
def loads(monkeypatch, tmp_path) -> list:
    """What loads text encoders; the cache is a folder of the test's own."""
    monkeypatch.setenv("ACESTEP_CACHE", str(tmp_path / "cache"))
    seen, load = [], parts.load_text_encoder
    monkeypatch.setattr(parts, "load_text_encoder", lambda *given, **named: seen.append(named) or load(*given, **named))
    return seen


def states(number=0, words=3):
    return TextStates(torch.full((1, words, 4), number + 0.5, dtype=torch.bfloat16), torch.zeros(1, 5, 4))


def text_of(family, song=SONG, **more):
    return Cascade.load(family, device="cpu", **more).pool.text_states(text_prompt(song), lyrics_prompt(song))


def test_a_caption_read_before_loads_no_text_encoder(tiny_family, loads):
    first, again = text_of(tiny_family), text_of(tiny_family)
    assert len(loads) == 1
    assert torch.equal(first.text, again.text) and torch.equal(first.lyrics, again.lyrics)
    for other in (Song("techno", lyrics="la la"), Song("lo-fi beat", lyrics="la"), Song("lo-fi beat", bpm=90)):
        text_of(tiny_family, other)
    assert len(loads) == 4
    assert text_of(tiny_family, dtype="bf16").text.dtype == torch.bfloat16 and len(loads) == 5
    assert text_of(tiny_family, dtype="bf16").text.dtype == torch.bfloat16 and len(loads) == 5


def test_another_encoder_is_asked_anew(tiny_family, loads, tmp_path):
    copy = shutil.copytree(tiny_family, tmp_path / "copy")
    whole = fingerprint(read_checkpoint(tiny_family / "text_encoder"))
    assert fingerprint(read_checkpoint(copy / "text_encoder")) == whole  # wherever it lies
    for name in ("model.safetensors", "tokenizer.json"):
        file = copy / "text_encoder" / name
        changed = bytearray(kept := file.read_bytes())
        changed[-9] ^= 1
        file.write_bytes(changed)
        assert fingerprint(read_checkpoint(copy / "text_encoder")) != whole
        file.write_bytes(kept)


def test_who_wants_none_gets_none(tiny_family, loads, tmp_path, monkeypatch):
    for _ in range(2):
        text_of(tiny_family, text_cache=False)
    assert len(loads) == 2 and not (tmp_path / "cache").exists()
    monkeypatch.setenv("ACESTEP_CACHE", "off")
    assert cache_folder() is None and text_of(tiny_family) and len(loads) == 3


def test_a_damaged_file_is_made_anew(tmp_path):
    cache, made = TextCache(tmp_path, "e"), []

    def get():
        return cache.get(("a",), lambda: made.append(1) or states())

    for damage in (lambda whole: whole[:-3], lambda whole: b"", lambda whole: whole.replace(b"lyrics", b"strange")):
        get()
        (file,) = tmp_path.glob("*")
        file.write_bytes(damage(file.read_bytes()))
        assert torch.equal(get().text, states().text)
    assert len(made) == 4 and len(list(tmp_path.glob("*"))) == 1


def test_states_of_the_right_form_with_other_numbers_are_made_anew(tmp_path):
    cache, made = TextCache(tmp_path, "e"), []

    def get():
        return cache.get(("a",), lambda: made.append(1) or states())

    get()
    (file,) = tmp_path.glob("*")
    with safe_open(file, "pt") as stored:
        checksum = stored.metadata()
    zeros = {"text": torch.zeros(1, 3, 4, dtype=torch.bfloat16), "lyrics": torch.zeros(1, 5, 4)}
    no_tokens = {"text": torch.zeros(1, 0, 4, dtype=torch.bfloat16), "lyrics": torch.zeros(1, 0, 4)}
    reshaped = {"text": states().text.reshape(1, 4, 3), "lyrics": states().lyrics}
    own = {"text": states().text, "lyrics": states().lyrics}
    damaged = [(zeros, checksum), (no_tokens, checksum), (reshaped, checksum), (own, None)]
    for tensors, metadata in damaged:
        save_file(tensors, file, metadata)
        assert torch.equal(get().text, states().text) and get().lyrics.shape == (1, 5, 4)
    assert len(made) == 1 + len(damaged)
    body = bytearray(file.read_bytes())
    body[-1] ^= 1
    file.write_bytes(body)
    assert torch.equal(get().lyrics, states().lyrics) and len(made) == 2 + len(damaged)


def test_the_least_wanted_are_thrown_out(tmp_path):
    cache = TextCache(tmp_path, "e", limit_bytes=1400)
    made = []

    def get(number):
        return cache.get((str(number),), lambda: made.append(number) or states(number))

    for number in (0, 1, 2, 0, 3, 4, 0):
        assert float(get(number).text[0, 0, 0]) == number + 0.5
    assert made.count(0) == 1 and sum(file.stat().st_size for file in tmp_path.glob("*")) <= 1400
    get(1)
    assert made.count(1) == 2


def test_what_was_perhaps_cut_is_not_kept(tmp_path):
    cache = TextCache(tmp_path, "e")
    cache.get(("long",), lambda: states(words=256))
    assert not list(tmp_path.glob("*"))


def test_a_full_disk_loses_nothing(tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert torch.equal(TextCache(tmp_path / "file", "e").get(("a",), states).text, states().text)

"""What clips become before a training, what is kept of it, and what is left out."""

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio import beat_and_key
from acestep_pack.acestep_core.audio.beat_and_key import BeatAndKey
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.models.condition import encode_condition
from acestep_pack.acestep_core.nn.quantise import quantise
from acestep_pack.acestep_core.training.dataset import LeftOut, read_dataset
from acestep_pack.acestep_core.training.prepare import Example, Preparation, fingerprint
from acestep_pack.acestep_core.training.sound_check import check_sound

RATE_HZ = 16_000


def tone(seconds, gain=0.3):
    t = torch.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return gain * torch.sin(2 * torch.pi * 220 * t).expand(1, 2, -1)


@pytest.fixture
def preparation(tiny_family, tmp_path):
    parts = load_stage_model(tiny_family / "s"), load_text_encoder(tiny_family / "text_encoder")
    return Preparation(*parts, load_vocoder(tiny_family / "vae"), tmp_path / "cache", crop_seconds=12)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, sound in {"good": tone(3.5), "quiet": 0 * tone(4), "short": tone(1), "torn": tone(4, 5)}.items():
        audio.write(folder / f"{name}.wav", Waveform(sound.clamp(-1, 1), RATE_HZ))
        (folder / f"{name}.txt").write_text(f"{name} house")
    (folder / "no.mp3").write_bytes(b"no sound")
    (folder / "no.txt").write_text("noise")
    return folder


def test_clips_that_teach_nothing_are_left_out_with_the_reason(preparation, folder):
    made = list(preparation.run(read_dataset(folder), "zzt"))
    reasons = {it.path.stem: it.reason for it in made if isinstance(it, LeftOut)}
    assert [it.path.stem for it in made if isinstance(it, Example)] == ["good"]
    assert reasons["quiet"] == "is silent; expected music" and reasons["short"].startswith("is 1.0 s long, expected")
    assert reasons["torn"].startswith("is clipped in") and "is not sound that can be read" in reasons["no"]


def test_a_loud_bass_is_not_taken_for_clipping():
    t = torch.arange(4 * 48_000) / 48_000
    bass = torch.sin(2 * torch.pi * 55 * t).expand(1, 2, -1)
    check_sound(Waveform((bass * 32767).round() / 32767, 48_000))


def test_a_piece_is_the_vocoders_latents_and_the_models_own_condition(preparation, folder):
    example = next(iter(preparation.run(read_dataset(folder), "zzt")))
    assert example.song.caption == "zzt, good house" and example.song.seconds == 10
    assert example.latents.shape == (1, 8, 116) and example.latents.dtype == torch.float32
    with torch.no_grad():
        whole = encode_condition(preparation.model, preparation.text.encode(example.song), 40)
    made = example.condition(preparation.model, 40)
    for name in ("states", "null", "context"):
        assert torch.equal(getattr(made, name), getattr(whole, name))


def test_what_was_made_is_read_again_and_what_changed_is_made_anew(preparation, folder, monkeypatch):
    first = next(iter(preparation.run(read_dataset(folder))))
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_encode", None)
        patch.setattr(preparation, "_encode_text", None)
        again = preparation.example(read_dataset(folder).clips[0])
    assert torch.equal(again.latents, first.latents) and torch.equal(again.states, first.states)
    (folder / "good.txt").write_text("other words")
    other = preparation.example(read_dataset(folder).clips[0])
    assert torch.equal(other.latents, first.latents) and other.key != first.key
    assert other.states.shape != first.states.shape
    damaged = next((preparation.cache / "latents").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert torch.equal(preparation.example(read_dataset(folder).clips[0]).latents, first.latents)


def test_what_is_not_told_is_measured_once_and_what_is_told_stays(preparation, folder, monkeypatch):
    asked = []

    def measured(wave, bpm):
        asked.append(bpm)
        return BeatAndKey(beat=0.5, first_beat=0.2, key="D minor")

    monkeypatch.setattr(beat_and_key, "measure", measured)
    for _ in range(2):
        example = preparation.example(read_dataset(folder).clips[0])
    assert (example.song.bpm, example.song.key) == (120, "D minor") and asked == [None]
    assert example.bars.length == pytest.approx(2.0 * 100 / 3) and example.bars.first == pytest.approx(20 / 3)
    (folder / "good.txt").write_text("caption: good house\nbpm: 90\n")
    example = preparation.example(read_dataset(folder).clips[0])
    assert (example.song.bpm, example.song.key) == (90, "D minor") and asked == [None, 90]
    (folder / "good.txt").write_text("caption: good house\nbpm: auto\nkey: C\n")
    example = preparation.example(read_dataset(folder).clips[0])
    assert (example.song.bpm, example.song.key) == (None, "C major") and asked == [None, 90]


def test_without_librosa_what_is_not_told_is_left_to_the_model_and_one_note_says_so(preparation, folder, monkeypatch):
    monkeypatch.setattr(beat_and_key, "is_available", lambda: False)
    found = read_dataset(folder)
    example = preparation.example(found.clips[0])
    assert (example.song.bpm, example.song.key, example.bars) == (None, None, None)
    assert (
        len(found.notes) == 1
        and found.notes[0].startswith("5 of 5 clips have no bpm or no key")
        and ("pip install librosa" in found.notes[0])
    )
    for clip in found.clips:
        clip.path.with_suffix(".txt").write_text("caption: x\nbpm: 90\nkey: C\n")
    assert read_dataset(folder).notes == ()


def test_what_a_host_makes_in_inference_mode_can_be_learnt_from(preparation, folder):
    with torch.inference_mode():
        for _ in range(2):  # made, then read
            example = next(iter(preparation.run(read_dataset(folder))))
            assert not example.latents.is_inference() and not example.states.is_inference()


def test_a_fingerprint_tells_weights_apart_and_not_their_dtype():
    torch.manual_seed(0)
    network = torch.nn.Linear(40, 40)
    before = fingerprint(network)
    assert fingerprint(network.bfloat16()) == before
    network.weight.data[0, 0] += 1
    assert fingerprint(network) != before


class EightBits(torch.Tensor):
    """As torchao's tensors are: most of what one does with them raises."""

    __module__ = "torchao.quantization"

    def flatten(self, *_):
        raise NotImplementedError("aten.flatten")

    def dequantize(self):
        return self.as_subclass(torch.Tensor)


def test_weights_in_8_bits_have_a_fingerprint_by_their_values():
    network = torch.nn.Linear(40, 40)
    before = fingerprint(network)
    network.weight = torch.nn.Parameter(network.weight.detach().as_subclass(EightBits))
    assert fingerprint(network) == before


def test_weights_in_torchaos_8_bits_have_a_fingerprint(tiny_family):
    pytest.importorskip("torchao")
    model = load_stage_model(tiny_family / "s")
    before = fingerprint(model.transformer)
    made = fingerprint(quantise(model.transformer, "int8", torch.device("cpu")))
    assert made == fingerprint(model.transformer) != before


def test_words_read_at_another_dtype_are_others_and_the_piece_stays(preparation, folder):
    clip = read_dataset(folder).clips[0]
    examples = [preparation.example(clip)]
    for network in (preparation.text.model, preparation.model.condition_encoder):
        network.to(dtype=torch.bfloat16)
        again = Preparation(preparation.model, preparation.text, preparation.vocoder, preparation.cache, 12)
        examples.append(again.example(clip))
    assert len({example.key for example in examples}) == 1
    assert len(list((preparation.cache / "states").iterdir())) == 3
    assert [example.states.dtype for example in examples] == [torch.float32, torch.float32, torch.bfloat16]
    assert not torch.equal(examples[0].states, examples[1].states)

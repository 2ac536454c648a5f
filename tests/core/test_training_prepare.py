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
from acestep_pack.acestep_core.training import sound_check
from acestep_pack.acestep_core.training.dataset import LeftOut, read_dataset
from acestep_pack.acestep_core.training.prepare import Example, Preparation, fingerprint
from acestep_pack.acestep_core.training.sound_check import check_sound
from safetensors.torch import load_file, save

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


def test_each_region_is_an_example_of_its_own(preparation, folder):
    audio.write(folder / "good.wav", Waveform(torch.cat([tone(4), 0.1 * tone(6).flip(-1)], dim=-1), RATE_HZ))
    whole = preparation.example(read_dataset(folder).clips[0])
    (folder / "good.txt").write_text("caption: good house\nregions: 0-4, 4-9")
    first, second = [preparation.example(clip) for clip in read_dataset(folder).clips[:2]]
    spec = preparation.vocoder.latents
    frames = [one.latents.shape[-1] for one in (first, second)]
    assert frames == pytest.approx([spec.frames(4), spec.frames(5)], abs=1)
    assert len({whole.key, first.key, second.key}) == 3 and first.song.caption == "good house"
    (folder / "good.txt").write_text("caption: good house\nregions: 0-4, 4-99")
    _, left_out = list(preparation.run(read_dataset(folder)))[:2]
    assert "the source ends at 10.00 s" in left_out.reason


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
        and ("pip install 'librosa>=" in found.notes[0])
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


def wav_saying(path, rate_hz, samples=None):
    """A wav of four seconds of tone whose header says another rate, or another number of samples."""
    audio.write(path, Waveform(tone(4), RATE_HZ))
    data = bytearray(path.read_bytes())
    data[24:28] = rate_hz.to_bytes(4, "little")
    data[28:32] = (min(rate_hz * 4, 2**32 - 1)).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    path.with_suffix(".txt").write_text("house")


def test_a_clip_of_an_absurd_rate_or_length_is_left_out_by_name_before_it_is_resampled(
    preparation, folder, monkeypatch
):
    wav_saying(folder / "slow.wav", 1)
    wav_saying(folder / "fast.wav", 4_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(sound_check, "LONGEST_SECONDS", 3.9)
        made = {it.path.stem: it for it in preparation.run(read_dataset(folder))}
    assert made["slow"].reason.startswith("has a sample rate of 1 Hz, expected 4000 to 768000")
    assert made["fast"].reason.startswith("has a sample rate of 4000000 Hz, expected 4000 to 768000")
    assert made["quiet"].reason.startswith("is 0.0 hours long, expected at most ")
    assert isinstance(made["good"], Example)


def test_tags_in_latin_1_are_no_reason_to_leave_a_clip_out(preparation, folder):
    data = (folder / "good.wav").read_bytes()
    info = b"LIST" + (16).to_bytes(4, "little") + b"INFOIART" + (4).to_bytes(4, "little") + "Bjö\0".encode("latin-1")
    whole = data[:4] + (len(data) - 8 + len(info)).to_bytes(4, "little") + data[8:] + info
    (folder / "good.wav").write_bytes(whole)
    assert isinstance(next(iter(preparation.run(read_dataset(folder)))), Example)
    assert sound_check.seconds_of(folder / "good.wav") == pytest.approx(3.5, abs=0.01)


def test_a_clip_whose_samples_no_codec_reads_is_left_out_with_the_reason(preparation, folder):
    data = bytearray((folder / "good.wav").read_bytes())
    data[data.index(b"fmt ") + 22] = 0  # bits of a sample
    (folder / "good.wav").write_bytes(data)
    made = next(it for it in preparation.run(read_dataset(folder)) if it.path.stem == "good")
    assert "good.wav: is not sound that can be read (its codec is not known)" in made.reason


@pytest.mark.parametrize("kind", ["latents", "states"])
@pytest.mark.parametrize("damage", ["bits", "names", "nan", "header", "empty"])
def test_a_damaged_file_of_the_cache_is_made_again(preparation, folder, kind, damage):
    clip = read_dataset(folder).clips[0]
    first = preparation.example(clip)
    (file,) = (preparation.cache / kind).iterdir()
    data, tensors = bytearray(file.read_bytes()), load_file(file)
    if damage == "bits":
        data[-3] ^= 0x10
    elif damage == "names":
        data = bytearray(save({"other": tensors[kind]}))
    elif damage == "nan":
        data = bytearray(save({kind: tensors[kind] * torch.nan}))
    elif damage == "header":
        data[:8] = (2**40).to_bytes(8, "little")
    else:
        data = bytearray()
    file.write_bytes(bytes(data))
    again = preparation.example(clip)
    assert torch.equal(again.latents, first.latents) and torch.equal(again.states, first.states)
    assert load_file(file)[kind].isfinite().all()


def test_the_cache_of_version_0_1_0_without_checksums_is_read(preparation, folder):
    clip = read_dataset(folder).clips[0]
    preparation.example(clip)
    (file,) = (preparation.cache / "latents").iterdir()
    other = load_file(file)["latents"] + 1
    file.write_bytes(save({"latents": other}))
    assert torch.equal(preparation.example(clip).latents, other)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", '{"beat": "x"}', '{"beat": -1}', '{"beat": true}', '{"x": 1}'])
def test_a_damaged_measurement_is_made_again(preparation, folder, monkeypatch, text):
    monkeypatch.setattr(beat_and_key, "measure", lambda wave, bpm: BeatAndKey(0.5, 0.2, "D minor"))
    clip = read_dataset(folder).clips[0]
    preparation.example(clip)
    (file,) = (preparation.cache / "heard").iterdir()
    file.write_text(text)
    song = preparation.example(clip).song
    assert (song.bpm, song.key) == ((None, None) if text == "{}" else (120, "D minor"))


def test_a_clip_that_counts_more_than_once_is_drawn_more_often_and_makes_another_training(preparation, folder):
    once = preparation.example(read_dataset(folder).clips[0])
    (folder / "good.txt").write_text("caption: good house\nrepeat: 3\n")
    often = preparation.example(read_dataset(folder).clips[0])
    assert (once.repeat, often.repeat) == (1, 3) and once.song == often.song and once.key != often.key

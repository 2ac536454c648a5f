import numpy as np
import pytest
import soundfile
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio import bounds, files, lengths
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.cli import parser
from acestep_pack.acestep_core.errors import UserError

RATE_HZ = 48000


def music(seconds=2.0, channels=2, seed=0) -> Waveform:
    draw = torch.Generator().manual_seed(seed)
    return Waveform(0.1 * torch.randn(1, channels, round(seconds * RATE_HZ), generator=draw), RATE_HZ)


def without_count(path, made):
    """The MP3 file without its first frame, which gives the number of frames."""
    import av

    with (
        av.open(str(path)) as source,
        av.open(str(made), "w", options={"write_xing": "0", "id3v2_version": "0"}) as file,
    ):
        stream = file.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    return made


def test_a_vbr_mp3_without_a_count_of_frames_is_read_whole(tmp_path, caplog):
    rows = np.concatenate([np.zeros((RATE_HZ * 5, 2), np.float32), music(5).samples[0].numpy().T])
    counted = tmp_path / "counted.mp3"
    soundfile.write(counted, rows[::-1], RATE_HZ, bitrate_mode="VARIABLE", compression_level=0.2)
    path = without_count(counted, tmp_path / "a.mp3")
    assert soundfile.info(path).duration < 9  # guessed of the loud beginning
    whole, made = audio.read(counted), audio.read(path)
    assert made.seconds == pytest.approx(10, abs=0.1) and not caplog.text
    assert made.samples[..., : RATE_HZ * 5].std() == pytest.approx(
        float(whole.samples[..., : RATE_HZ * 5].std()), rel=0.01
    )
    part = audio.read(path, 9.5)
    assert part.seconds == 9.5 and "a.mp3: only its first 9.5 seconds are read" in caplog.text


@pytest.mark.parametrize("name", ["mp3", "ogg", "opus", "flac"])
def test_files_that_were_joined_are_read_whole(name, tmp_path, caplog):
    first, second = (audio.write(tmp_path / f"{seed}.{name}", music(3, seed=seed)) for seed in (1, 2))
    joined = tmp_path / f"a.{name}"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    made, one, two = (audio.read(path) for path in (joined, first, second))
    assert made.seconds == pytest.approx(6, abs=0.08) and not caplog.text
    if name == "flac":
        assert torch.equal(made.samples, torch.cat([one.samples, two.samples], dim=-1))
    level = made.samples[..., -RATE_HZ * 2 :].std()
    assert level == pytest.approx(float(two.samples[..., -RATE_HZ * 2 :].std()), rel=0.05)
    assert audio.read(joined, 5.0).seconds == 5 and f"a.{name}: only its first 5 seconds" in caplog.text


@pytest.mark.parametrize("name", ["mp3", "ogg", "opus", "flac"])
def test_a_usual_file_is_read_by_libsndfile(name, tmp_path):
    path = audio.write(tmp_path / f"a.{name}", music(3))
    with soundfile.SoundFile(path) as file:
        assert not lengths.goes_on(file, path) and not lengths.flac_parts(file, path)
        rows = file.read(dtype="float32")
    assert torch.equal(audio.read(path).samples[0], torch.from_numpy(rows.T))


def test_a_piece_of_an_mp3_is_told(tmp_path, caplog):
    path = audio.write(tmp_path / "a.mp3", music(6))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seconds = audio.read(path).seconds
    assert 2.5 < seconds < 3.2
    assert f"a.mp3: is damaged: {seconds:.2f} of its 6.00 seconds could be read" in caplog.text


def test_a_wav_of_a_stream_is_read(tmp_path):
    path = audio.write(tmp_path / "a.wav", music(), bit_depth=16)
    whole, data = audio.read(path), bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = bytes(4)
    path.write_bytes(data)
    assert torch.equal(audio.read(path).samples, whole.samples)


@pytest.mark.parametrize("channels", [3, 6, 8])
def test_channels_beyond_two_are_mixed_while_read(channels, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "READ_BLOCK", 10_000)
    given = music(1, channels)
    soundfile.write(tmp_path / "a.wav", given.samples[0].numpy().T, RATE_HZ, subtype="FLOAT")
    made = audio.read(tmp_path / "a.wav")
    assert torch.allclose(made.samples, audio.convert(given, RATE_HZ, 2).samples, atol=1e-6)


def test_more_samples_than_are_read_is_told(tmp_path, monkeypatch):
    path = audio.write(tmp_path / "a.wav", music(2))
    monkeypatch.setattr(bounds, "SAMPLES_MOST", RATE_HZ)
    with pytest.raises(
        UserError, match="got more than 0 s of sound in 2 channels at 48000 Hz, expected at most 48,000"
    ):
        audio.read(path)
    assert audio.read(path, 0.25).seconds == 0.25


def test_a_cpu_without_memory_is_one_line(monkeypatch, capsys):
    def run(argv):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(parser, "build_parser", run)
    assert parser.main(["score"]) == parser.FAILED
    assert capsys.readouterr().err.splitlines()[-1].endswith("failed: out of memory")


def test_another_runtime_error_is_not_hidden(monkeypatch):
    def run(argv):
        raise RuntimeError("a mistake in the code")

    monkeypatch.setattr(parser, "build_parser", run)
    with pytest.raises(RuntimeError, match="a mistake"):
        parser.main(["score"])

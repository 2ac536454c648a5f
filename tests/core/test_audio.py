import math
import os
import sys

import numpy as np
import pytest
import soundfile
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio

TAGS = {
    "title": "Über",
    "artist": "acestep-cascade",
    "bpm": "120",
    "key": "A minor",
    "lyrics": "[Verse]\nla = la\n\n君の歌",
    "seed": "3",
    "models": "tiny",
    "song": '{"caption": "a \\"b\\"\\n=c", "seconds": 30.0}',
}


def tone(seconds=2.0, hz=440.0, rate=48000, level=0.5, channels=2) -> Waveform:
    t = torch.arange(round(seconds * rate)) / rate
    rows = [level * torch.sin(2 * math.pi * (hz + 110 * channel) * t) for channel in range(channels)]
    return Waveform(torch.stack(rows)[None], rate)


def test_a_waveform_says_its_shape():
    with pytest.raises(UserError, match=r"got shape \[2, 10\], expected \[batch, channels, samples\]"):
        Waveform(torch.zeros(2, 10), 48000)
    batch = Waveform(torch.randn(3, 2, 480), 48000)
    assert len(batch) == 3 and batch.seconds == 0.01 and torch.equal(batch[-1].samples[0], batch.samples[2])
    assert batch.crop(0.005).samples.shape == (3, 2, 240)
    with pytest.raises(IndexError):
        batch[3]


@pytest.mark.parametrize("from_hz, to_hz", [(44100, 48000), (48000, 16000), (22050, 48000), (47187, 48000)])
def test_resampling_keeps_pitch_length_and_level(from_hz, to_hz):
    made = audio.convert(tone(1.0001, rate=from_hz), to_hz, 2)
    assert made.sample_rate_hz == to_hz
    assert made.samples.shape[-1] == math.ceil(round(1.0001 * from_hz) * to_hz / from_hz)
    wanted = tone(1.0001, rate=to_hz).samples[..., 2000:-2000]
    assert (made.samples[..., 2000 : 2000 + wanted.shape[-1]] - wanted).abs().max() < 0.01


@pytest.mark.parametrize("from_hz, to_hz", [(44100, 48000), (48000, 44100), (96000, 48000)])
def test_resampling_agrees_with_torchaudios(from_hz, to_hz):
    if not (torchaudio := settle_torchaudio()):
        pytest.skip("torchaudio cannot be imported here")
    music = torch.randn(1, 2, from_hz, generator=torch.Generator().manual_seed(0))
    below = torchaudio.functional.lowpass_biquad(music, from_hz, 5000)  # both cut at half the lower rate, each its way
    below = torchaudio.functional.lowpass_biquad(below, from_hz, 5000)
    made = audio.convert(audio.Waveform(below, from_hz), to_hz, 2).samples[..., 2000:-2000]
    theirs = torchaudio.functional.resample(
        below, from_hz, to_hz, lowpass_filter_width=64, rolloff=0.95, resampling_method="sinc_interp_kaiser"
    )[..., 2000:-2000]
    assert (made - theirs).pow(2).mean() < 1e-4 * theirs.pow(2).mean()


def test_a_clip_is_resampled_alike_whether_torchaudio_is_here_or_not(monkeypatch):
    wave = tone(0.1, rate=44100)
    made = audio.convert(wave, 48000, 2).samples
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    assert torch.equal(audio.convert(wave, 48000, 2).samples, made)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_samples_in_half_precision_are_resampled(dtype):
    wave = tone(0.1, rate=44100)
    made = audio.convert(audio.Waveform(wave.samples.to(dtype).requires_grad_(), 44100), 48000, 2).samples
    assert made.dtype == dtype
    assert (made.float() - audio.convert(wave, 48000, 2).samples).abs().max() < 0.01


def test_a_batch_of_mono_is_resampled_item_by_item():
    wave = audio.Waveform(torch.randn(2, 1, 4410), 44100)
    both = audio.convert(wave, 48000, 2).samples
    assert both.shape == (2, 2, 4800)
    assert torch.equal(both, torch.cat([audio.convert(wave[i], 48000, 2).samples for i in range(2)]))


def test_loudness_is_not_defined_for_six_channels():
    with pytest.raises(UserError, match="loudness: got 6 channels, expected at most 5"):
        audio.normalise_loudness(tone(channels=6))


def test_what_is_as_good_as_silent_stays_finite():
    wave = audio.normalise_peak(audio.Waveform(torch.full((1, 2, 10), 1e-42), 48000))
    assert wave.samples.isfinite().all()


def test_channels():
    mono = audio.convert(tone(channels=2), 48000, 1)
    assert mono.samples.shape[1] == 1
    assert torch.equal(audio.convert(mono, 48000, 2).samples[:, 0], mono.samples[:, 0])
    surround = Waveform(torch.ones(1, 6, 100), 48000)
    assert torch.allclose(audio.convert(surround, 48000, 2).samples, torch.ones(1, 2, 100))
    with pytest.raises(UserError, match="expected to make one or two"):
        audio.convert(surround, 48000, 3)


def test_peak_is_the_originals_for_each_item():
    loud_quiet_silent = Waveform(
        torch.stack([torch.full((2, 9), 3.0), torch.full((2, 9), 0.01), torch.zeros(2, 9)]), 48000
    )
    peaks = audio.normalise_peak(loud_quiet_silent).samples.amax(dim=(1, 2))
    assert peaks.tolist() == pytest.approx([10 ** (-1 / 20)] * 2 + [0])


def drums(seconds=5.0) -> Waveform:
    """Clicks that die away: far higher in peak than in loudness."""
    t = torch.arange(round(seconds * 48000)) / 48000
    beat = torch.exp(-30 * (t % 0.5)) * torch.sin(2 * math.pi * 180 * t)
    return Waveform(torch.stack([beat, beat])[None], 48000)


@pytest.mark.parametrize("wave", [tone(3, level=0.02), drums()], ids=["quiet tone", "drums"])
def test_loudness_is_reached_and_peaks_are_held(wave):
    made = audio.normalise_loudness(wave, -14)
    assert audio.loudness_lufs(made)[0] == pytest.approx(-14, abs=0.15)
    assert made.samples.abs().max() <= 10 ** (-1 / 20) + 1e-6


def test_loudness_tells_when_it_is_missed(caplog):
    click = torch.zeros(1, 2, 48000 * 3)
    click[..., ::24000] = 1.0
    made = audio.normalise_loudness(Waveform(click, 48000), -3)
    assert "loudness: reached" in caplog.text and made.samples.abs().max() <= 1


def test_silence_stays_silence_and_short_sound_is_told():
    silence = Waveform(torch.zeros(1, 2, 48000), 48000)
    assert audio.loudness_lufs(silence) == (-math.inf,)
    assert not audio.normalise_loudness(silence).samples.any()
    with pytest.raises(UserError, match="expected at least 0.4 s"):
        audio.loudness_lufs(tone(0.2))
    with pytest.raises(UserError, match="got 14 LUFS, expected -70 to 0"):
        audio.normalise_loudness(tone(), 14)


def test_the_limiter_is_smooth_and_leaves_quiet_sound_alone():
    quiet = tone(level=0.3)
    assert torch.equal(audio.limit(quiet).samples, quiet.samples)
    mixed = Waveform(torch.cat([quiet.samples, tone(level=2.0).samples], dim=-1), 48000)
    untouched = quiet.samples.shape[-1] - 480
    assert torch.equal(audio.limit(mixed).samples[..., :untouched], quiet.samples[..., :untouched])
    loud = audio.limit(tone(level=2.0)).samples
    steps = (loud[..., 1:] - loud[..., :-1]).abs().max()
    assert loud.abs().max() <= 10 ** (-1 / 20) and steps < 0.1


EXACT = {("wav", "16"): 4e-5, ("wav", "24"): 2e-7, ("wav", "32f"): 0, ("flac", "16"): 4e-5, ("flac", "24"): 2e-7}


@pytest.mark.parametrize("name, depth", [*EXACT, ("mp3", None), ("ogg", None), ("opus", None)])
def test_every_format_gives_sound_and_tags_back(name, depth, tmp_path):
    path = tmp_path / f"song.{name}"
    wave = tone(2.0001)
    assert audio.write(path, wave, bit_depth=depth, tags=TAGS) == path
    made = audio.read(path)
    assert made.sample_rate_hz == 48000 and made.samples.shape == wave.samples.shape
    if (name, depth) in EXACT:
        assert (made.samples - wave.samples).abs().max() <= EXACT[name, depth]
    else:
        middle = slice(20000, 70000)
        error = made.samples[..., middle] - wave.samples[..., middle]
        assert error.square().mean() < 1e-3 * wave.samples.square().mean()
    assert audio.read_tags(path) == TAGS
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "name, rate, fitted",
    [
        ("wav", 2_000_000, 768_000),
        ("flac", 768_000, 655_350),
        ("flac", 96_001, 96_010),
        ("flac", 1000, 1000),
        ("ogg", 200_001, 200_000),
        ("ogg", 96_000, 96_000),
        ("mp3", 96_000, 48_000),
        ("mp3", 1000, 8000),
        ("opus", 44_100, 48_000),
    ],
)
def test_each_format_has_its_highest_rate(name, rate, fitted, tmp_path):
    wave = audio.fit(tone(0.05, rate=rate), name)
    assert wave.sample_rate_hz == fitted and wave.seconds == pytest.approx(0.05, abs=1e-3)
    made = audio.read(audio.write(tmp_path / f"a.{name}", wave))
    assert made.sample_rate_hz == (48000 if name == "opus" else fitted)


def test_without_replacing_the_next_free_name_is_taken(tmp_path, monkeypatch):
    first = audio.write(tmp_path / "a.wav", tone(0.1), replace=False)
    second = audio.write(tmp_path / "a.wav", tone(0.2), replace=False)

    def no_links(*given):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    third = audio.write(tmp_path / "a.wav", tone(0.3), replace=False)
    assert [path.name for path in (first, second, third)] == ["a.wav", "a_2.wav", "a_3.wav"]
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "a_2.wav", "a_3.wav"]
    assert [round(audio.read(path).seconds, 3) for path in (first, second, third)] == [0.1, 0.2, 0.3]


def test_tags_that_are_too_large_for_a_format_are_left_out(tmp_path, caplog):
    path = audio.write(tmp_path / "a.flac", tone(0.1), tags={"title": "x", "workflow": "w" * (17 << 20)})
    assert audio.read_tags(path) == {"title": "x"} and audio.read(path).seconds == 0.1
    assert "flac: the tag workflow is left out, its 17.8 MB do not fit" in caplog.text


def test_default_depth_is_24_and_without_tags_there_are_none(tmp_path):
    for name in ("wav", "flac"):
        audio.write(tmp_path / f"a.{name}", tone())
        assert soundfile.info(tmp_path / f"a.{name}").subtype == "PCM_24"
        assert audio.read_tags(tmp_path / f"a.{name}") == {}


def test_a_players_tags_are_where_players_look(tmp_path):
    import av

    audio.write(tmp_path / "a.mp3", tone(), tags=TAGS)
    audio.write(tmp_path / "a.wav", tone(), tags=TAGS)
    with av.open(str(tmp_path / "a.wav")) as file:
        assert file.metadata["title"] == "Über" and file.metadata["artist"] == "acestep-cascade"
    head = (tmp_path / "a.mp3").read_bytes()[:4000]
    assert all(frame in head for frame in (b"TIT2", b"TPE1", b"TBPM", b"TKEY"))


def test_a_foreign_comment_is_left_alone(tmp_path):
    audio.write(tmp_path / "a.ogg", tone(), tags={"comment": "[1, 2]"})
    assert audio.read_tags(tmp_path / "a.ogg") == {"comment": "[1, 2]"}


def test_a_loud_song_is_clipped_not_wrapped(tmp_path):
    audio.write(tmp_path / "a.wav", tone(level=1.5), bit_depth=16)
    made = audio.read(tmp_path / "a.wav").samples
    assert ((made - tone(level=1.5).samples.clamp(-1, 1)).abs() < 1e-3).all()


@pytest.mark.parametrize("container, codec", [("m4a", "aac"), ("webm", "libopus")])
def test_other_containers_are_read_through_pyav(container, codec, tmp_path):
    import av

    path, wave = tmp_path / f"clip.{container}", tone(2)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(wave.samples[0].numpy(), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    made = audio.read(path)
    assert made.sample_rate_hz == 48000 and made.samples.shape[:2] == (1, 2)
    assert made.seconds == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(made.samples[0, 0, :48000].numpy()))
    assert spectrum.argmax() == 440


def test_channels_and_rate_may_change_midway(tmp_path):
    import av

    joined, second = tmp_path / "joined.aac", tmp_path / "second.aac"
    for path, layout, rate in ((joined, "stereo", 48000), (second, "mono", 24000)):
        with av.open(str(path), "w") as file:
            stream = file.add_stream("aac", rate=rate, layout=layout)
            sound = tone(2, rate=rate, channels=stream.layout.nb_channels).samples[0].numpy()
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)
    joined.write_bytes(joined.read_bytes() + second.read_bytes())
    made = audio.read(joined)
    assert made.sample_rate_hz == 48000 and made.samples.shape[1] == 2
    assert made.seconds == pytest.approx(4, abs=0.2)
    for start, level in ((12000, 0.5), (120000, 0.5)):
        left = made.samples[0, 0, start : start + 48000].numpy()
        assert np.abs(np.fft.rfft(left)).argmax() == 440 and np.abs(left).max() == pytest.approx(level, abs=0.05)


def test_a_film_without_sound_is_told(tmp_path):
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=24)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(UserError, match="film.mp4: holds no sound"):
        audio.read(tmp_path / "film.mp4")


def nan() -> Waveform:
    return Waveform(torch.full((1, 2, 10), float("nan")), 48000)


@pytest.mark.parametrize(
    "name, wave, options, message",
    [
        ("a.aac", tone(), {}, "got the format 'aac', expected one of wav, flac, mp3, ogg, opus"),
        ("a", tone(), {}, "got the format ''"),
        ("a.wav", tone(), {"format": "flac"}, "the file's name says wav, the format asked for is flac"),
        ("a.flac", tone(), {"bit_depth": "32f"}, "bit depth: got 32f for flac, expected 16, 24"),
        ("a.mp3", tone(), {"bit_depth": 24}, "bit depth: got 24 for mp3, expected none, it is lossy"),
        ("a.wav", nan(), {}, "no numbers"),
        ("a.wav", Waveform(torch.zeros(2, 2, 9), 48000), {}, r"got shape \[2, 2, 9\], expected one item"),
        ("a.wav", Waveform(torch.zeros(1, 2, 0), 48000), {}, "expected one item"),
        ("a.opus", tone(rate=44100), {}, "opus: got 44100 Hz, expected one of 8000"),
        ("a.ogg", tone(0.1, rate=384000), {}, "ogg: got 384000 Hz, expected at most 200000; resample it"),
        ("a.flac", tone(0.1, rate=768000), {}, "flac: got 768000 Hz, expected at most 655350"),
        ("a.flac", tone(0.1, rate=96001), {}, "flac: got 96001 Hz, expected whole tens above 65535"),
        ("a.wav", tone(0.1, rate=800000), {}, "wav: got 800000 Hz, expected at most 768000"),
        ("a.mp3", Waveform(torch.zeros(1, 6, 9), 48000), {}, "got 6 channels, expected one or two"),
        ("no/a.wav", tone(), {}, "is not a folder; create it first"),
        ("folder", tone(), {"format": "wav"}, "is a folder, expected the name of a file"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(name, wave, options, message, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        audio.write(tmp_path / name, wave, **options)
    assert os.listdir(tmp_path) == ["folder"]


def test_an_unwritable_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs this may be root
    with pytest.raises(UserError, match="is not writable; give another place"):
        audio.write(tmp_path / "a.wav", tone())


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(stop, tmp_path, monkeypatch):
    path = audio.write(tmp_path / "a.wav", tone(1))
    before = path.read_bytes()

    def fail(descriptor):
        raise stop

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((AceStepError, KeyboardInterrupt)) as caught:
        audio.write(path, tone(2))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]
    if isinstance(stop, OSError):
        assert "could not be written (No space left on device)" in str(caught.value)
        assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize("reader", [audio.read, audio.read_tags])
def test_what_cannot_be_read_is_told(reader, tmp_path):
    (tmp_path / "text.wav").write_text("not sound at all")
    with pytest.raises(UserError, match="missing.wav: does not exist"):
        reader(tmp_path / "missing.wav")
    with pytest.raises(UserError, match="is a folder, expected an audio file"):
        reader(tmp_path)
    with pytest.raises(UserError, match="text.wav: is (no|not)"):
        reader(tmp_path / "text.wav")


def latin(path):
    """The file with a letter of its title in Latin-1."""
    path.write_bytes(path.read_bytes().replace("Über".encode(), b"\xdcber "))
    return path


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_tags_that_are_no_utf_8_are_read_with_replacements(name, tmp_path):
    path = latin(audio.write(tmp_path / f"a.{name}", tone(0.1), tags={"title": "Über"}))
    assert audio.read_tags(path)["title"].rstrip() == "\ufffdber"
    assert audio.read(path).seconds == 0.1


def test_a_film_with_foreign_tags_is_read(tmp_path):
    import av

    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("flac", rate=48000, layout="stereo")
        file.metadata["title"] = "Über"
        frame = av.AudioFrame.from_ndarray(tone(0.1).samples[0].numpy(), format="fltp", layout="stereo")
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=48000)
        frame.sample_rate, frame.pts = 48000, 0
        for part in resampler.resample(frame):
            for packet in [*stream.encode(part), *stream.encode(None)]:
                file.mux(packet)
    assert audio.read(latin(path)).seconds == pytest.approx(0.1, abs=0.02)


def samples_in_header(path, count):
    """The FLAC file with another number of samples in its header, 36 bits of its STREAMINFO."""
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0 | count >> 32
    data[22:26] = (count & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)


def noise_flac(path, seconds=2.0):
    draw = torch.Generator().manual_seed(0)
    return audio.write(path, Waveform(0.1 * torch.randn(1, 2, round(seconds * 48000), generator=draw), 48000))


@pytest.mark.parametrize("count", [0, 2**36 - 1])
def test_a_flac_that_does_not_know_its_length_is_read(count, tmp_path, caplog):
    path = noise_flac(tmp_path / "a.flac")
    whole = audio.read(path)
    samples_in_header(path, count)
    assert torch.equal(audio.read(path).samples, whole.samples)
    assert ("a.flac: is damaged: 2.00 of its 1431655.77 seconds" in caplog.text) == bool(count)


def test_a_flac_whose_header_says_too_little_is_read_whole(tmp_path):
    path = noise_flac(tmp_path / "a.flac")
    whole = audio.read(path)
    samples_in_header(path, 1000)
    assert torch.equal(audio.read(path).samples, whole.samples)


def test_a_wav_of_an_unknown_codec_is_told(tmp_path):
    path = audio.write(tmp_path / "a.wav", tone(0.1))
    data = bytearray(path.read_bytes())
    data[20:22] = b"\xef\xbe"
    path.write_bytes(data)
    with pytest.raises(UserError, match="a.wav: is not sound that can be read"):
        audio.read(path)


@pytest.mark.parametrize("cut", [False, True])
def test_what_a_damaged_flac_lost_is_told(cut, tmp_path, caplog):
    path = noise_flac(tmp_path / "a.flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    path.write_bytes(data[:middle] if cut else data[:middle] + bytes(40) + data[middle + 40 :])
    seconds = audio.read(path).seconds
    assert (0.9 < seconds < 1.1) if cut else (1.5 < seconds < 2)  # an older FFmpeg leaves out more around the damage
    assert f"a.flac: is damaged: {seconds:.2f} of its 2.00 seconds could be read" in caplog.text


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "unknown.flac"])
def test_only_the_beginning_of_a_long_clip_is_read(name, tmp_path, caplog):
    path = noise_flac(tmp_path / name)
    if name == "unknown.flac":
        samples_in_header(path, 0)
    whole = audio.read(path)
    assert not caplog.text
    part = audio.read(path, most_seconds=0.5)
    assert part.seconds == 0.5 and torch.equal(part.samples, whole.samples[..., :24000])
    assert f"{name}: only its first 0.5 seconds are read" in caplog.text


def test_bare_samples_are_told(tmp_path):
    (tmp_path / "clip.RAW").write_bytes(bytes(4800))
    with pytest.raises(UserError, match="clip.RAW: is not sound that can be read .* convert it to wav or flac"):
        audio.read(tmp_path / "clip.RAW")


def test_silent_and_broken_files_are_told(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), 48000)
    with pytest.raises(UserError, match="holds no sound"):
        audio.read(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.full((9, 2), np.nan), 48000, subtype="FLOAT")
    with pytest.raises(UserError, match="no numbers"):
        audio.read(tmp_path / "nan.wav")

"""Long songs are cut on bars where these are known."""

import pytest
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.spec import LatentSpec
from acestep_pack.acestep_core.training.bars import Bars, bars_of, cut

LATENTS = LatentSpec(8, 480, 16_000)  # 33 1/3 frames a second
SHARES = [i / 40 for i in range(40)] + [1 - 2**-53]


def test_crops_begin_on_bars_and_are_whole_bars():
    bars = Bars(length=66.7, first=11.0)
    cuts = {cut(1000, 300, share, bars) for share in SHARES}
    assert {frames for _, frames in cuts} == {round(4 * 66.7)}
    firsts = sorted(first for first, _ in cuts)
    assert firsts == [round(11 + n * 66.7) for n in range(11)]  # all that lie within the song
    assert all(first + frames <= 1000 for first, frames in cuts)


@pytest.mark.parametrize("bars", [None, Bars(301.0)])
def test_without_bars_or_with_too_long_ones_any_place_will_do(bars):
    cuts = [cut(1000, 300, share, bars) for share in SHARES]
    assert {frames for _, frames in cuts} == {300} and cuts[0] == (0, 300) and cuts[-1] == (700, 300)


def test_what_fits_is_not_cut():
    assert cut(300, 300, 0.9, Bars(70.0, 5.0)) == (0, 300)


def test_a_song_hardly_longer_than_a_crop_is_cut_within_itself():
    for frames in range(301, 420):
        for share in SHARES:
            first, length = cut(frames, 300, share, Bars(149.6, 149.0))
            assert first >= 0 and first + length <= frames


@pytest.mark.parametrize("signature, beats", [(None, 4), ("4", 4), ("3", 3), ("2/4", 2), ("6/8", 6)])
def test_a_bar_has_the_beats_of_its_time_signature(signature, beats):
    song = Song("x", bpm=100, time_signature=signature)
    bars = bars_of(song, LATENTS)
    assert (bars.length, bars.first) == (pytest.approx(beats * 20.0), 0.0)
    assert bars_of(song, LATENTS, beat=0.59, first_beat=0.3).first == pytest.approx(10.0)


def test_nothing_known_of_the_beat_gives_no_bars():
    assert bars_of(Song("x"), LATENTS) is None

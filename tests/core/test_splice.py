"""The finished sound of an edit: length, level, seams, stems."""

import pytest
import torch
from acestep_pack.acestep_core.audio.splice import NEW, SILENCE, SOURCE, Splice
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError

RATE, LENGTH = 1000, 4000


def wave(level=0.2, seed=0, length=LENGTH):
    draws = torch.Generator().manual_seed(seed)
    return Waveform(level * torch.rand(1, 2, length, generator=draws).sub(0.5).mul(2), RATE)


def spliced(made, source, **given):
    return Splice(source, **{"begin": 0, "end": LENGTH, **given})(made).samples


def test_ramps_lie_inside_the_regions():
    shares = Splice(wave(), 0, LENGTH, regions=((1000, 2000),), fade=4).shares()
    assert shares[999] == 0 and shares[2000] == 0 and not shares[:1000].any() and not shares[2000:].any()
    assert shares[1000:1005].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[1995:2000].tolist() == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_a_region_at_an_end_has_no_ramp_there():
    shares = Splice(wave(), 0, LENGTH, regions=((0, 500), (3500, LENGTH)), fade=4).shares()
    assert shares[0] == 1 and shares[-1] == 1 and shares[499] < 1 and shares[3500] < 1


def test_the_new_part_gets_the_level_of_what_is_kept():
    source = wave(0.2)
    made = wave(0.1, seed=1)  # the vocoder made all of it half as loud
    got = spliced(made, source, regions=((1000, 3000),), outside=SOURCE)
    assert got[..., 1000:3000].std() == pytest.approx(float(source.samples.std()), rel=0.05)


def test_a_pause_around_a_region_says_nothing_of_its_level():
    samples = wave(0.2).samples.clone()
    samples[..., :1000], samples[..., 3000:] = 0, 0
    got = spliced(wave(0.1, seed=1), Waveform(samples, RATE), regions=((1000, 3000),), outside=SOURCE, gain=3.0)
    assert got[..., 1000:3000].std() == pytest.approx(3 * 0.1 / 3**0.5, rel=0.05)


def test_only_what_is_used_moves_the_limiter():
    made = wave(0.2, seed=1).samples.clone()
    made[..., 500] = 50.0
    got = spliced(Waveform(made, RATE), wave(), regions=((1000, 3000),), outside=SILENCE)
    assert torch.equal(got[..., 1000:3000], made[..., 1000:3000]) and not got[..., :1000].any()


def test_each_item_of_a_batch_has_its_level():
    source, made = wave(0.2), torch.cat([wave(0.1, 1).samples, wave(0.4, 2).samples])
    got = spliced(Waveform(made, RATE), source, outside=NEW, matches=True)
    assert got.std(dim=(1, 2)).tolist() == pytest.approx([float(source.samples.std())] * 2, rel=0.02)


def test_before_and_behind_the_source_its_mirror_image_fades():
    source = Waveform(torch.linspace(0.1, 0.3, 1000).expand(1, 2, -1), RATE)
    made = Waveform(torch.zeros(1, 2, 3000), RATE)
    got = Splice(source, -1000, 2000, regions=((-1000, 0), (1000, 2000)), fade=100, outside=SOURCE)(made).samples
    assert torch.equal(got[..., 1000:2000], source.samples)
    assert (got[..., 1000] - got[..., 999]).abs().max() < 0.01 and (got[..., 2000] - got[..., 1999]).abs().max() < 0.01
    assert not got[..., :890].any() and not got[..., 2110:].any()


def test_a_made_sound_that_ends_early_is_filled_and_one_at_another_rate_refused():
    got = spliced(wave(length=LENGTH - 3), wave(), outside=NEW)
    assert got.shape[-1] == LENGTH and not got[..., -3:].any()
    with pytest.raises(UserError, match="got sound at 500 Hz and a source at 1000 Hz"):
        spliced(Waveform(wave().samples, 500), wave())

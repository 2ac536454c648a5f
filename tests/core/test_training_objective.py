"""The flow times at which adapters are trained."""

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.schedule import TURBO_TIMES, times
from acestep_pack.acestep_core.training.objective import flow_times


def test_turbo_models_are_trained_at_the_times_of_their_table_and_always_conditioned():
    own = VARIANTS["turbo"]
    table = flow_times(own)
    assert set(table.spread(800)) == set(times(8, 3.0)[:-1]) and table.null_share == 0
    assert set(flow_times(own, all_times=True).spread(2000)) == set(TURBO_TIMES)
    assert set(flow_times(own, 1.0, 5 / 6).spread(100)) == set(times(8, 3.0)[:3])  # not at its end
    with pytest.raises(UserError, match="the turbo model has no flow time from 0.2 to 0.1"):
        flow_times(own, 0.2, 0.1)


def test_other_models_are_trained_at_logit_normal_times_and_sometimes_unconditioned():
    everywhere = flow_times(VARIANTS["base"])
    drawn = torch.tensor(everywhere.spread(20_000), dtype=torch.double).logit()
    assert abs(float(drawn.mean()) + 0.4) < 0.01 and abs(float(drawn.std()) - 1) < 0.01
    assert everywhere.null_share == 0.15


def test_a_stretch_cuts_the_distribution_and_does_not_bend_it():
    everywhere, part = flow_times(VARIANTS["sft"]).spread(50_000), flow_times(VARIANTS["sft"], 0.7, 0.3).spread(1000)
    inside = torch.tensor([t for t in everywhere if 0.3 <= t <= 0.7])
    assert min(part) >= 0.3 and max(part) <= 0.7
    shares = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(torch.tensor(part).quantile(shares), inside.quantile(shares), atol=2e-3, rtol=0)

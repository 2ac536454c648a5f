"""Products of a few rows: the numbers of torch's own, and of each row those that it has alone."""

import pytest
import torch
from acestep_pack.acestep_core.nn import few_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 4, 5])
def test_it_is_the_linear_of_torch(monkeypatch, rows, dtype):
    monkeypatch.setattr(few_rows, "BLOCK_NUMBERS", 100)
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 32).to(dtype), torch.randn(77, 32).to(dtype)
    expected = torch.nn.functional.linear(x.double(), weight.double())
    assert torch.allclose(few_rows.linear(x, weight).double(), expected, atol=1e-5 if dtype == torch.float32 else 0.1)


def test_a_row_has_the_numbers_that_it_has_alone():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 256), torch.randn(9000, 256)
    both = few_rows.linear(x, weight)
    assert torch.equal(both[:1], few_rows.linear(torch.stack([x[0], x[0]]), weight)[:1])

"""The measurement of loading: every layout is read, and takes next to no memory until it is computed with."""

import json

import pytest
from acestep_pack.acestep_core.bench import loading
from acestep_pack.acestep_core.cli import bench_loading
from acestep_pack.acestep_core.cli import parser as cli

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_layout_is_measured(tmp_path):
    rows = list(loading.measure(tmp_path, layers=1, repeats=1, geometry=SMALL))
    assert [(row.layout, row.dtype) for row in rows] == [
        ("original", "bf16"),
        ("original", "bf16 as fp32"),
        ("original sharded", "bf16"),
        ("diffusers", "bf16"),
        ("comfyui", "bf16"),
        ("all-in-one", "bf16"),
    ]
    assert all(row.seconds > 0 and row.file_gb > 0 for row in rows)
    assert not list(tmp_path.iterdir())


def test_rows_come_as_json_and_mistakes_are_told(monkeypatch, capsys):
    row = loading.Loading("original", "bf16", 0.1, 2.0, 0.01, 3)
    monkeypatch.setattr(bench_loading, "measure", lambda *_: iter([row]))
    assert cli.main(["bench", "loading", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory_share"] == 0.01
    assert cli.main(["bench", "loading"]) == 0
    assert "original" in capsys.readouterr().out
    assert cli.main(["bench", "loading", "--repeats", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err

"""Takes of one graph by two ComfyUI processes: with the script of the guide, and with the pack ComfyUI-Distributed."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from comfyui_tests import install, prompts
from comfyui_tests.conftest import running
from comfyui_tests.install import ROOT
from comfyui_tests.listening import hear

SEED = 7


def alone(comfy, seed):
    """The song of a seed, by one process."""
    run = comfy.run(prompts.text_to_music(seed=seed))
    assert run.succeeded, run.error
    return hear(comfy.view(run.files("save")[0])).samples


@pytest.mark.skipif(
    not os.environ.get("ACESTEP_RUN_ALL"), reason="starts another ComfyUI; tests/core has the script; ACESTEP_RUN_ALL=1"
)
def test_the_guides_script_spreads_seeds_over_two_processes(comfy, second_comfy, tmp_path):
    guide = (ROOT / "web" / "docs" / "guides" / "deployment.md").read_text(encoding="utf-8")
    [script] = re.findall(r"^```python\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert len(script.splitlines()) <= 40
    (tmp_path / "spread.py").write_text(script)
    (tmp_path / "graph.json").write_text(json.dumps(prompts.text_to_music(seed=SEED)))
    command = [sys.executable, "spread.py", "graph.json", "2", comfy.url, second_comfy.url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"take 0: success on {comfy.url}", f"take 1: success on {second_comfy.url}"]
    first, second = (hear(path.read_bytes()).samples for path in sorted(tmp_path.glob("take_*.flac")))
    assert first.shape == second.shape and np.abs(first - second).max() > 0.01
    assert np.array_equal(second, alone(comfy, SEED + 1))


# ---- ComfyUI-Distributed ---------------------------------------------------------------------------------------------

WORKER = {"worker_id": "second", "name": "second", "host": "127.0.0.1", "cuda_device": 0, "enabled": True}


@pytest.fixture
def distributed(comfyui_folder, tmp_path):
    """(master, worker), both with the pack ComfyUI-Distributed."""
    if (pack := install.find_distributed(comfyui_folder)) is None:
        pytest.skip("ComfyUI-Distributed is not here; COMFYUI_DISTRIBUTED names its folder")
    started = (running(comfyui_folder, tmp_path / name, packs=[pack]) for name in ("master", "worker"))
    with next(started) as master, next(started) as worker:
        yield master.client, worker.client


def test_comfyui_distributed_brings_a_take_of_each_process_to_the_master(distributed):
    master, worker = distributed
    master.post("/distributed/config/update_worker", {**WORKER, "port": int(worker.url.rpartition(":")[2])})
    body = {"prompt": collected(prompts.text_to_music()), "client_id": "tests", "enabled_worker_ids": ["second"]}
    told = json.loads(master.post("/distributed/queue", body))
    assert told["worker_count"] == 1
    outputs = outputs_of(master, told["prompt_id"])
    for take, node in enumerate(("save", "second")):
        [file] = outputs[node]["audio"]
        assert np.array_equal(hear(master.view(file)).samples, alone(master, SEED + take))


def outputs_of(comfy, prompt_id, seconds=300):
    deadline = time.monotonic() + seconds
    while prompt_id not in (history := comfy.get_json(f"/history/{prompt_id}")):
        assert time.monotonic() < deadline, f"the prompt did not end within {seconds} s"
        time.sleep(0.2)
    return history[prompt_id]["outputs"]


def collected(prompt):
    """The graph with the nodes of that pack: master and worker have a seed each, the master saves both sounds."""
    prompt |= {
        "seed": prompts.node("DistributedSeed", seed=SEED),
        "picture": prompts.node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "collect": prompts.node("DistributedCollector", images=["picture", 0], load_balance=False, audio=["vocode", 0]),
        "divide": prompts.node("AudioBatchDivider", audio=["collect", 1], divide_by=2),
        "save": prompts.save("divide"),
        "second": prompts.save("divide"),
    }
    prompt["second"]["inputs"]["audio"] = ["divide", 1]
    return prompts.changed(prompt, **{stage: {"seed": ["seed", 0]} for stage in prompts.STAGES})

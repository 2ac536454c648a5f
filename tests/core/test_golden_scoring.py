"""Alignment of lyrics, their times and scores, and planners' scores, against the original code's numbers."""

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.planner.metadata import think_block
from acestep_pack.acestep_core.scoring import alignment, lyric_score, lyric_times, planner_score
from acestep_pack.acestep_core.scoring.lyric_heads import lyric_attention, noised
from acestep_pack.acestep_core.song import Song
from core_tests.golden_cases import assert_near, cases, model_folder, states_of, tensors_of, time_last
from core_tests.planner_cases import json_of, planner_of

TOLERANCE = 1e-4


@pytest.mark.parametrize("case", cases("dtw"))
def test_paths(case):
    tensors = tensors_of(case)
    for number in range(sum(name.startswith("in.") for name in tensors)):
        tokens, patches = alignment.path_of(tensors[f"in.cost.{number}"])
        assert np.array_equal(np.stack([tokens, patches]), tensors[f"out.path.{number}"].numpy())


def near(rows, expected):
    """Asserts that timed pieces have these texts and times."""
    assert [row.text for row in rows] == [row["text"] for row in expected]
    got, wanted = [(row.start, row.end) for row in rows], [(row["start"], row["end"]) for row in expected]
    assert_near(torch.tensor(got), torch.tensor(wanted), TOLERANCE)


def check_times(tokenizer, found, path, seconds, patches, language="en"):
    """The texts of tokens whose times, lines and LRC are the expected ones. The original keeps tags as lines."""
    texts, rows = lyric_times.lyric_tokens(tokenizer, Song("", found["lyrics"], language=language))
    assert len(texts) == len(found["token_ids"])
    tokens = lyric_times.timed_tokens(texts, path, seconds, patches)
    near(tokens, found["tokens"])
    lines = lyric_times.timed_lines(tokens, tags=True)
    if "sentences" in found:
        near(lines, found["sentences"])
    assert lyric_times.lrc(lines) == found["lrc"]
    assert not any(line.text.startswith("[") for line in lyric_times.timed_lines(tokens))
    return texts, rows


@pytest.mark.parametrize("case", cases("alignment"))
def test_alignment(case):
    tensors, found = tensors_of(case), json_of(case)
    heads = tensors["in.heads"]
    matrix = alignment.aligned(heads)
    assert_near(matrix, tensors["out.calc"], TOLERANCE)
    path = alignment.path_of(-matrix.double())
    assert np.array_equal(np.stack(path), tensors["out.path"].numpy())
    texts, _ = check_times(planner_of(case).words.tokenizer, found, path, case["params"]["duration"], heads.shape[-1])
    levels = alignment.energy(heads)
    assert_near(levels, tensors["out.energy"], TOLERANCE)
    assert np.array_equal(np.stack(alignment.path_of(-(levels.numpy() ** 2)), 1), tensors["out.score_path"].numpy())
    assert lyric_score.sung_tokens(texts).tolist() == tensors["out.type_mask"].bool().tolist()
    made = lyric_score.lyric_score(heads, texts)
    got = made.coverage, made.order, made.confidence, made.score
    wanted = [found[name] for name in ("coverage", "monotonicity", "confidence", "score")]
    assert_near(torch.tensor(got), torch.tensor(wanted), TOLERANCE)


@pytest.mark.parametrize("case", cases("alignment_model"))
def test_alignment_by_a_model(case):
    tensors, found, params = tensors_of(case), json_of(case), case["params"]
    model = load_stage_model(model_folder(case))
    states, _ = states_of(model, tensors)
    assert_near(states, tensors["in.encoder_hidden_states"], TOLERANCE)
    condition = Condition(states, model.condition_encoder.null_condition_emb, time_last(tensors["in.context_latents"]))
    velocity = prepare(model.transformer, condition)
    table = {int(layer): heads for layer, heads in params["head_table"].items()}
    rows, t = range(*params["lyric_rows"]), 1 / params["inference_steps"]
    latents = noised(time_last(tensors["in.pred_latents"]), t, params["seed"])
    assert_near(latents, time_last(tensors["out.x_timestamp"]), TOLERANCE)
    heads = lyric_attention(velocity, latents, t, table, rows)
    assert_near(heads, tensors["out.heads"], TOLERANCE)
    path = alignment.path_of(-alignment.aligned(heads).double())
    tokenizer = planner_of({**case, "model": "lm_a", "model_path": "lm_a"}).words.tokenizer
    texts, own = check_times(tokenizer, found, path, params["seconds"], heads.shape[-1], params["language"])
    assert own == rows
    assert lyric_score.lyric_score(heads, texts).score == pytest.approx(found["score_music"], abs=TOLERANCE)
    noise = lyric_attention(velocity, time_last(tensors["in.noise"]), 1.0, table, rows)
    assert_near(noise, tensors["out.heads_noise"], TOLERANCE)
    assert lyric_score.lyric_score(noise, texts).score == pytest.approx(found["score_noise"], abs=TOLERANCE)


def quoted(metadata):
    """The original's block of a time signature to be scored: in quotes, as no planner was trained to write it."""
    block = think_block(metadata)
    return block.replace("timesignature: 4", "timesignature: '4'")


@pytest.mark.parametrize("case", cases("lm_score"))
def test_scores_of_planners(case, monkeypatch):
    planner = planner_of(case)
    model = planner.model()
    monkeypatch.setattr(planner_score, "think_block", quoted)
    for row in json_of(case):
        given = {"caption": row["caption"], "lyrics": row["lyrics"], "metadata": row["metadata"]}
        made = planner_score.planner_score(model, planner.words, list(map(int, row["codes"])), **given)
        assert made.scores == pytest.approx(row["scores"], abs=TOLERANCE)
        assert made.total == pytest.approx(row["total"], abs=TOLERANCE)
        for name, evidence in row["log_probs"].items():
            expected = evidence["log_prob_with_codes"], evidence["log_prob_without"]
            assert made.evidence[name] == pytest.approx(expected, abs=TOLERANCE)

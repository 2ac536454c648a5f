"""The planner against the original code's prompts, tables, traces and numbers."""

import pytest
import torch
from acestep_pack.acestep_core.planner import grammar, metadata, prompts
from acestep_pack.acestep_core.planner.decoding import columns_of
from acestep_pack.acestep_core.planner.language_model import Cache
from acestep_pack.acestep_core.planner.sampling import Sampling, filtered, guided, penalised, probabilities
from acestep_pack.acestep_core.planner.song_plan import filled
from acestep_pack.acestep_core.song import AUTO, Song
from core_tests.golden_cases import cases, tensors_of
from core_tests.planner_cases import (
    OriginalRules,
    genres_of,
    ids_of,
    json_of,
    masked,
    original_given,
    original_table,
    planner_of,
)

LOGITS, PROBABILITIES = 1e-4, 1e-6


# ---- prompts and the think block -------------------------------------------------------------------------------------


def prompt_of(mode, inputs, thoughts):
    if mode == "codes":
        return prompts.codes_prompt(inputs["caption"], inputs["lyrics"], thoughts)
    if mode == "codes_unconditional":
        negative = inputs["negative_prompt"]
        return prompts.unconditional_codes_prompt("" if negative == prompts.NO_INPUT else negative)
    if mode == "metadata_unconditional":  # the original has a prompt for guided metadata, which it never uses
        negative = inputs["negative_prompt"]
        caption = "" if negative == prompts.NO_INPUT else f"# Caption\n{negative}\n\n"
        return prompts._chat(prompts.GENERATE, f"{caption}# Lyric\n{inputs['lyrics']}\n")
    return {
        "metadata": lambda: prompts.plan_prompt(inputs["caption"], inputs["lyrics"]),
        "format": lambda: prompts.rewrite_prompt(inputs["caption"], inputs["lyrics"]),
        "inspiration": lambda: prompts.write_prompt(inputs["query"], inputs["instrumental"]),
        "understand": lambda: prompts.understand_prompt(inputs["codes"]),
    }[mode]()


@pytest.mark.parametrize("case", cases("planner_prompts"))
def test_prompts(case):
    words = planner_of(case).words
    for row in json_of(case)["prompts"]:
        thoughts = metadata.think_block(row["inputs"].get("metadata", {}))
        assert prompt_of(row["mode"], row["inputs"], thoughts) == row["text"]
        assert words.encode(row["text"]) == row["tiny_ids"]


@pytest.mark.parametrize("case", cases("planner_prompts"))
def test_think_blocks(case):
    for row in json_of(case)["cots"]:
        assert metadata.think_block(row["metadata"]) == row["cot"]


@pytest.mark.parametrize("case", cases("planner_prompts"))
def test_answers_are_read(case, monkeypatch):
    rows = json_of(case)["parse"]
    corrected = [metadata.read_answer(row["output"]).metadata for row in rows]
    monkeypatch.setattr(metadata, "_unquoted", lambda lines: " ".join(" ".join(lines).split()))  # the original keeps "
    for row in rows:
        answer = metadata.read_answer(row["output"])
        assert answer.metadata == row["metadata"]
        assert answer.lyrics == row["lyrics"]
        assert "".join(map("<|audio_code_{}|>".format, answer.codes)) == row["codes_text"]
    assert corrected[2]["caption"] == "quoted: text"


@pytest.mark.parametrize("case", cases("planner_tables"))
def test_value_trees(case):
    table, params = json_of(case), case["params"]
    words = planner_of(case).words
    for field in grammar.fields(most_seconds=params["max_duration"]):
        if field.values:
            tree = grammar.value_tree(words, field)
            assert {tuple(path): set(ids) for path, ids in table[field.name]} == {p: set(i) for p, i in tree.items()}
    assert (words.newline, words.end) == (table["newline"], table["eos"])
    assert (words.id_of("<think>"), words.id_of("</think>")) == (table["think"], table["think_end"])
    assert [words.code_ids[0], words.code_ids[-1]] == table["audio_code_ids"]
    assert words.codes == table["n_valid_codes"]


# ---- traces ----------------------------------------------------------------------------------------------------------


def writer_of(case, number, run, words):
    """The original's rules for one run of a case, with our writers where they are the same."""
    params = case["params"]
    rules = OriginalRules(words, genres_of(case) if params["genres_vocabulary"] else None)
    if run["steps"][0]["state"] == "CODES_GENERATION":
        seconds = params.get("target_duration") or json_of(case)["result"]["metadata"]["duration"]
        yield from grammar.codes(words, int(seconds * 5), 0)
        return
    text_mode = "infer_type" not in params
    yield from rules.thoughts(original_table(params), original_given(params), "</think>" if text_mode else "<|im_end|>")
    if text_mode:
        yield from rules.lyrics()


def prompts_of(run):
    """The ids of the conditional and, with guidance, of the unconditional prompt, without padding."""
    if run["kind"] == "plain":
        return [run["prompt"]]
    return [[one for one, kept in zip(ids, mask) if kept] for ids, mask in zip(run["prompt"], run["mask"])]


def filtered_of(logits, run, allowed, written):
    """The original's order: mask, penalty, then filters before the temperature."""
    logits = masked(logits, allowed)[0]
    if run["repetition_penalty"] != 1:
        seen = columns_of([*run["prompt"], *written], grammar.Allowed(rows=range(logits.shape[-1])))
        logits = penalised(logits, seen, run["repetition_penalty"])
    return filtered(logits, Sampling(top_k=run["top_k"] or 0, top_p=run["top_p"] or 1.0))


def assert_near(got, expected, tolerance):
    finite = expected.isfinite()
    assert torch.equal(got.isfinite(), finite)
    assert float((got[finite] - expected[finite]).abs().max()) <= tolerance


@pytest.mark.parametrize("case", cases("planner_trace"))
def test_trace(case):
    planner, traced = planner_of(case), tensors_of(case)
    model, words = planner.model(), planner.words
    with torch.no_grad():
        for number, run in enumerate(json_of(case)["runs"]):
            replay(case, number, run, model, words, traced)


def replay(case, number, run, model, words, traced):
    caches = [Cache(model, len(ids) + len(run["steps"])) for ids in prompts_of(run)]
    hidden = torch.cat([model.prefill(ids, cache) for ids, cache in zip(prompts_of(run), caches)])
    writer, every = writer_of(case, number, run, words), range(len(model.embedding))
    allowed, written = next(writer), []
    for place, step in enumerate(run["steps"]):
        raw = model.logits(hidden, every).float()
        combined = guided(raw[:1], raw[1:], run["cfg_scale"]) if len(raw) == 2 else raw
        while allowed.asks:
            allowed = writer.send(int(raw[0].argmax()))
        ids = ids_of(allowed)
        if allowed.greedy:
            ids = {max(ids, key=lambda one: float(raw[0, one]))}
            allowed = grammar.Allowed(tuple(ids))
        assert len(ids) == step["n_allowed"], (place, step)
        assert step.get("allowed") is None or ids == set(step["allowed"])
        assert step["token"] in ids
        after = filtered_of(combined, run, allowed, written)
        kept = set(after.isfinite().nonzero().flatten().tolist())
        assert len(kept) == step["n_after_filter"]
        assert step.get("after_filter") is None or kept == set(step["after_filter"])
        name = f"run{number}.step{place}"
        if f"{name}.model_logits" in traced:
            expected = traced[f"{name}.model_logits"]
            assert_near(raw, expected, LOGITS)
            assert_near(after, traced[f"{name}.filtered"].flatten(), 10 * LOGITS)
            if f"{name}.masked" in traced:
                assert_near(masked(combined, allowed), traced[f"{name}.masked"], 10 * LOGITS)
        written.append(step["token"])
        if place + 1 < len(run["steps"]):
            allowed = writer.send(step["token"])
            hidden = model.step(torch.tensor([step["token"]] * len(caches)), caches)
    assert words.decode(written) == run["text"]


@pytest.mark.parametrize("case", cases("planner_sampling"))
def test_filters(case):
    tensors = tensors_of(case)
    for number, row in enumerate(case["params"]["settings"]):
        given = {"temperature": row["temperature"], "top_k": row["top_k"] or 0, "top_p": row["top_p"] or 1.0}
        for name, first in (("pt", True), ("vllm", False)):
            got = probabilities(tensors["in.logits"], Sampling(**given, filters_first=first))
            assert_near(got, tensors[f"out.{name}.{number}"], PROBABILITIES)
            assert (got > 0).sum(-1).tolist() == row[f"kept_{name}"]


# ---- how an answer fills a song in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("merge"))
def test_songs_are_filled_in(case):
    for row in json_of(case):
        user, out = row["user"], row["out"]
        seconds = user["audio_duration"] if (user["audio_duration"] or 0) > 0 else AUTO
        given = user["caption"], user["lyrics"], user["bpm"], user["key_scale"], user["time_signature"]
        song, decided, _ = filled(Song(*given, user["vocal_language"], seconds), row["lm"])
        found = song.bpm, song.key or "", song.time_signature or ""
        assert found == (out["bpm"], out["key_scale"], out["time_signature"])
        assert (song.caption, song.lyrics) == (out["caption"], out["lyrics"])
        assert (out["audio_duration"] or 0) <= 0 or song.seconds == out["audio_duration"]
        # The original's language never arrives, and where its flag meant it to, it would overrule the user's.
        is_open = user["vocal_language"] in ("", "unknown")
        assert song.language == ((row["dit_language_intended"] if is_open else user["vocal_language"]) or "unknown")
        assert all(getattr(song, name) == value for name, value in decided.items())

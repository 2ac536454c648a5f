"""Ours against transformers' `generate` and ComfyUI's loop: the codes of a song by a planner of the published width.

Each function builds one side of the same work: a prompt is read and as many codes are drawn as a song has, with the
same filters. The draws of each side are its own, so only times are compared.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from ..planner.decoding import Prompt, answer
from ..planner.grammar import Allowed, Writer
from ..planner.language_model import LanguageModel
from ..planner.sampling import GUIDANCE, TEMPERATURE, TOP_P, Draws, Sampling
from . import published
from .contender import OURS, Run
from .native import comfyui_modules

WIDTH = "1.7B"
VOCABULARY, FIRST_CODE, CODES, END = 217_204, 151_669, 64_000, 151_645
CODES_PER_SECOND = 5
PROMPT_TOKENS, OTHER_PROMPT_TOKENS = 256, 200  # conditional, and unconditional
CODE_ROWS = range(FIRST_CODE, FIRST_CODE + CODES)


def against_transformers(
    layers: int | None, seconds: float, guided: bool, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """The codes of a song, [N], by a cache of fixed size on both sides."""
    network = published.planner(WIDTH, layers, VOCABULARY, device, dtype)
    count = round(seconds * CODES_PER_SECOND)
    return _ours(network, count, guided) if side == OURS else _theirs(network, count, guided, device)


def against_comfyui(
    comfyui: Path, layers: int | None, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """The same with guidance against ComfyUI's own loop over its own network."""
    network = published.planner(WIDTH, layers, VOCABULARY, device, dtype)
    count = round(seconds * CODES_PER_SECOND)
    return _ours(network, count, True) if side == OURS else _comfyui(comfyui, network, count, device, dtype)


def _prompts(guided: bool) -> list[list[int]]:
    drawn = random.Random(published.SEED)
    lengths = (PROMPT_TOKENS, OTHER_PROMPT_TOKENS) if guided else (PROMPT_TOKENS,)
    return [[drawn.randrange(1000, 100_000) for _ in range(length)] for length in lengths]


def _ours(network, count: int, guided: bool) -> Run:
    model, sampling = LanguageModel(network), Sampling(guidance=GUIDANCE if guided else 1.0)

    def run() -> torch.Tensor:
        prompts = [(Prompt(model), ids) for ids in _prompts(guided)]
        made = answer(model, prompts, _writer(count), count, sampling, Draws(published.SEED))
        return torch.tensor(list(made), dtype=torch.float32)

    return run


def _writer(count: int) -> Writer:
    for _ in range(count):
        yield Allowed(rows=CODE_ROWS)


def _theirs(network, count: int, guided: bool, device: torch.device) -> Run:
    from transformers import LogitsProcessorList, Qwen3ForCausalLM, TemperatureLogitsWarper, TopPLogitsWarper

    with torch.device("meta"):
        model = Qwen3ForCausalLM(network.config)
    model.model, model.lm_head = network, _tied_head(network)
    ids = [torch.tensor([prompt], device=device) for prompt in _prompts(guided)]
    filters = LogitsProcessorList([_codes_alone, TemperatureLogitsWarper(TEMPERATURE), TopPLogitsWarper(TOP_P)])
    guidance = {"guidance_scale": GUIDANCE, "negative_prompt_ids": ids[1]} if guided else {}

    def run() -> torch.Tensor:
        made = model.generate(
            ids[0],
            attention_mask=torch.ones_like(ids[0]),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=True,
            top_k=0,
            logits_processor=filters,
            cache_implementation="static",
            pad_token_id=END,
            **guidance,
        )
        return made[0, ids[0].shape[1] :].float()

    return run


def _tied_head(network) -> torch.nn.Linear:
    head = torch.nn.Linear(network.config.hidden_size, VOCABULARY, bias=False, device="meta")
    head.weight = network.embed_tokens.weight
    return head


def _codes_alone(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    allowed = torch.full_like(scores, float("-inf"))
    allowed[:, FIRST_CODE : FIRST_CODE + CODES] = scores[:, FIRST_CODE : FIRST_CODE + CODES]
    return allowed


def _comfyui(folder: Path, network, count: int, device: torch.device, dtype: torch.dtype) -> Run:
    model, generate = _comfyui_planner(folder, network, device, dtype)
    prompts: Sequence[list] = [[[(token, 1.0) for token in ids]] for ids in _prompts(True)]

    def run() -> torch.Tensor:
        # As many at least as at most: the end of the song does not come earlier.
        made = generate(model, *prompts, min_tokens=count, max_tokens=count, cfg_scale=GUIDANCE, top_p=TOP_P)
        return torch.tensor(made, dtype=torch.float32)

    return run


def _comfyui_planner(folder: Path, network, device: torch.device, dtype: torch.dtype):
    """ComfyUI's planner with the same weights, and its function that writes codes."""
    (theirs,) = comfyui_modules(folder, device, "comfy.text_encoders.ace15")
    layers = {"num_hidden_layers": network.config.num_hidden_layers}
    options = {"model_name": "planner", "planner_model_config": layers}
    model = theirs.Qwen3_2B_ACE15(device=device, dtype=dtype, model_options=options).eval()
    model.transformer.model.fixed_kv = True  # as ComfyUI itself sets it for a planner
    model.transformer.model.load_state_dict(network.state_dict())
    model.execution_device = device
    return model, theirs.generate_audio_codes

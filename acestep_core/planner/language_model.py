"""A planner's network, run token by token on caches of a fixed size.

Rows of several caches go through the weights together: the conditional and the unconditional prompt have caches of
their own, each as long as it is. The head is computed for the rows of the vocabulary that may come next alone.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..errors import UserError
from ..nn.few_rows import linear
from .recorded_step import Recorder

if TYPE_CHECKING:
    from ..models.qwen3 import Qwen3

Tables = tuple[torch.Tensor, torch.Tensor]  # cosines and sines [N, 1, head_dim]
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
PREFILL_TOKENS = 512  # at once: a longer prompt goes through in parts, which bounds its memory


class Cache:
    """Keys and values [layers, 2, heads, size, head_dim] of one sequence; `length` tokens of it are filled."""

    def __init__(self, model: "LanguageModel", size: int):
        self.size, self.length = size, 0
        shape = (model.depth, 2, model.key_heads, size, model.head_dim)
        self.tensors = torch.zeros(shape, dtype=model.dtype, device=model.device)

    def rewind(self, length: int) -> None:
        """Forgets all tokens after the first `length`."""
        self.length = min(self.length, length)

    @property
    def bytes(self) -> int:
        return self.tensors.numel() * self.tensors.element_size()


class LanguageModel:
    """A Qwen3 as functions on caches. Hidden states are [N, D], one row a token. `place`: its file or folder."""

    def __init__(self, network: "Qwen3", place: str = "the planner"):
        self.network, self.place = network, place
        attention = network.layers[0].self_attn
        self.depth, self.head_dim = len(network.layers), attention.head_dim
        self.heads = network.config.num_attention_heads
        self.key_heads = network.config.num_key_value_heads
        self.eps = network.config.rms_norm_eps
        self._table = torch.empty(0)
        self._recorder = Recorder()

    @property
    def embedding(self) -> torch.Tensor:
        """[rows, D], the head too."""
        return self.network.embed_tokens.weight

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype

    @property
    def bytes(self) -> int:
        """Of all weights, as they are stored."""
        from ..nn.quantise import stored

        return sum(
            part.numel() * part.element_size() for weight in self.network.parameters() for part in stored(weight)
        )

    @property
    def bytes_per_token(self) -> int:
        """Of a cache."""
        return 2 * self.depth * self.key_heads * self.head_dim * self.embedding.element_size()

    # ---- forward passes ----------------------------------------------------------------------------------------------

    def prefill(self, ids: Sequence[int], cache: Cache) -> torch.Tensor:
        """Appends tokens to a cache; the hidden state [1, D] of the last. Raises UserError where they do not fit."""
        if cache.length + len(ids) > cache.size:
            tokens = cache.length + len(ids)
            raise UserError(
                f"planner: got {tokens:,} tokens of prompt and answer, expected at most {cache.size:,}; "
                "shorten the lyrics or the caption"
            )
        for start in range(0, len(ids), PREFILL_TOKENS):
            part = torch.tensor(ids[start : start + PREFILL_TOKENS], device=self.device)
            hidden = self._forward(part, ((cache, len(part)),))
        return self.normed(hidden[-1:])

    def states(self, tokens: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Appends tokens [N] to a cache that has room for them; the hidden states [N, D] of all."""
        return self.normed(self._forward(tokens, ((cache, len(tokens)),)))

    def step(self, tokens: torch.Tensor, caches: Sequence[Cache]) -> torch.Tensor:
        """Appends one token [R] to each of R caches; their hidden states [R, D]."""
        recorded = self._recorder.step_for(self, caches)
        hidden = self._forward(tokens, [(cache, 1) for cache in caches]) if recorded is None else recorded(tokens)
        return self.normed(hidden)

    def fixed_step(self, tokens: torch.Tensor, places: torch.Tensor, caches: Sequence[Cache]) -> torch.Tensor:
        """The same before the last norm, with the tokens' places [R] in their caches as a tensor: the same operations
        at every length, which a CUDA graph can record. The caches' lengths stay as they are.
        """
        table = self._rotary_table(max(cache.size for cache in caches))[:, places]

        def attend(number: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            made = []
            for row, cache in enumerate(caches):
                place, kept = places[row : row + 1], cache.tensors[number]
                kept[0].index_copy_(1, place, keys[row].unsqueeze(1))
                kept[1].index_copy_(1, place, values[row].unsqueeze(1))
                filled = torch.arange(cache.size, device=self.device) <= place
                made.append(_attended(queries[row].unsqueeze(1), kept[0], kept[1], filled))
            return torch.cat(made)

        return self._layers(tokens, (table[0].unsqueeze(1), table[1].unsqueeze(1)), attend)

    def normed(self, hidden: torch.Tensor) -> torch.Tensor:
        return _rms_norm(hidden, self.network.norm.weight, self.eps)

    def logits(self, hidden: torch.Tensor, rows: "range | torch.Tensor") -> torch.Tensor:
        """Logits [N, rows] of some rows of the vocabulary; a range of them is not copied."""
        weight = self.embedding
        part = weight[rows.start : rows.stop] if isinstance(rows, range) else weight[rows]
        return linear(hidden, part)

    def _forward(self, tokens: torch.Tensor, parts: Sequence[tuple[Cache, int]]) -> torch.Tensor:
        def attend(number: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            made, start = [], 0
            for cache, count in parts:
                rows = slice(start, start + count)
                kept = cache.tensors[number, :, :, : cache.length + count]
                kept[0, :, cache.length :] = keys[rows].transpose(0, 1)
                kept[1, :, cache.length :] = values[rows].transpose(0, 1)
                made.append(_attended(queries[rows].transpose(0, 1), kept[0], kept[1]))
                start += count
            return torch.cat(made) if len(made) > 1 else made[0]

        hidden = self._layers(tokens, self._rotary(parts), attend)
        for cache, count in parts:
            cache.length += count
        return hidden

    def _layers(self, tokens: torch.Tensor, tables: Tables, attend: Attend) -> torch.Tensor:
        hidden = functional.embedding(tokens, self.embedding)
        for number, layer in enumerate(self.network.layers):
            own, mlp = layer.self_attn, layer.mlp
            inner = _rms_norm(hidden, layer.input_layernorm.weight, self.eps)
            made = attend(number, *self._projected(own, inner, tables))
            hidden = hidden + linear(made, own.o_proj.weight)
            inner = _rms_norm(hidden, layer.post_attention_layernorm.weight, self.eps)
            inner = functional.silu(linear(inner, mlp.gate_proj.weight)) * linear(inner, mlp.up_proj.weight)
            hidden = hidden + linear(inner, mlp.down_proj.weight)
        return hidden

    def _projected(self, own, hidden: torch.Tensor, tables: Tables) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values [N, heads, head_dim] of one layer."""
        queries = linear(hidden, own.q_proj.weight).view(-1, self.heads, self.head_dim)
        keys = linear(hidden, own.k_proj.weight).view(-1, self.key_heads, self.head_dim)
        values = linear(hidden, own.v_proj.weight).view(-1, self.key_heads, self.head_dim)
        queries = _rotated(_rms_norm(queries, own.q_norm.weight, self.eps), tables)
        return queries, _rotated(_rms_norm(keys, own.k_norm.weight, self.eps), tables), values

    def _rotary(self, parts: Sequence[tuple[Cache, int]]) -> Tables:
        """Cosines and sines [N, 1, head_dim] at the tokens' positions in their own sequences."""
        table = self._rotary_table(max(cache.size for cache, _ in parts))
        rows = torch.cat([table[:, cache.length : cache.length + count] for cache, count in parts], dim=1)
        return rows[0].unsqueeze(1), rows[1].unsqueeze(1)

    def _rotary_table(self, size: int) -> torch.Tensor:  # [2, size, head_dim]
        if self._table.numel() == 0 or self._table.shape[1] < size or self._table.device != self.device:
            rates = self.network.rotary_emb.inv_freq.float().to(self.device)
            angles = torch.outer(torch.arange(size, device=self.device, dtype=torch.float32), rates)
            angles = torch.cat([angles, angles], dim=-1)
            self._table = torch.stack([angles.cos(), angles.sin()]).to(self.dtype)
        return self._table


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return functional.rms_norm(x, weight.shape, weight, eps)


def _rotated(x: torch.Tensor, tables: Tables) -> torch.Tensor:
    """x [N, heads, d] turned by its position (Su et al. 2021, the two halves as pairs)."""
    cosines, sines = tables
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines


def _attended(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, filled: torch.Tensor | None = None
) -> torch.Tensor:
    """Queries [H, n, d] over keys and values [K, m, d], the last n of which are their own -> [n, H · d].

    `filled` [m]: of one query, the keys that count; None: all.
    """
    count, length = queries.shape[1], keys.shape[1]
    if count == 1:  # all heads that share keys as one of several queries: no copy of the keys, and no mask
        shared = queries.reshape(1, len(keys), -1, queries.shape[-1])
        mask = None if filled is None else filled[None]
        made = functional.scaled_dot_product_attention(shared, keys[None], values[None], attn_mask=mask)
        return made.reshape(1, -1)
    mask = torch.ones(count, length, dtype=torch.bool, device=queries.device).tril(length - count)
    made = functional.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=mask, enable_gqa=len(queries) != len(keys)
    )
    return made[0].transpose(0, 1).flatten(1)

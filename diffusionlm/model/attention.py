"""Multi-head self-attention over documents packed in rows.

The attention pattern is an argument, not a property of the module: segments keep documents apart, ``causal`` restricts
them to earlier positions. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped queries: Ainslie et al. 2023,
https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from diffusionlm.kernels.attention import attend
from diffusionlm.model.linear import Linear
from diffusionlm.model.norm import RMSNorm
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.rope import apply_rope
from diffusionlm.process.layout import Layout


def attention_mask(layout: Layout) -> torch.Tensor | None:
    """Return (B, 1, T, T) bool, True where a query may see a key, or None where ``causal`` alone says it.

    Padding (segment 0) sees padding, so that no query is left without a key; nothing scores it.
    """
    conditions = []
    if layout.segments is not None and not one_document(layout.segments):
        conditions.append(_pairs(layout.segments, torch.eq))
    if layout.blocks is not None:
        conditions.append(_blocks_seen(layout.blocks, layout.clean))
    if not conditions:
        return None
    mask = conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]
    if layout.causal:
        mask = mask & torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).tril()
    return mask


def _pairs(values: torch.Tensor, relation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return (B, 1, S, S) bool: relation(value of the query, value of the key)."""
    return relation(values[:, None, :, None], values[:, None, None, :])


def _blocks_seen(blocks: torch.Tensor, clean: torch.Tensor | None) -> torch.Tensor:
    """Return (B, 1, S, S) bool, the pattern of block diffusion; see ``Layout``. arXiv:2503.09573, §3.4."""
    if clean is None:
        return _pairs(blocks, torch.ge)
    query, key = clean[:, None, :, None], clean[:, None, None, :]
    same, later = _pairs(blocks, torch.eq), _pairs(blocks, torch.gt)
    return torch.where(key, later | (query & same), same & ~query)


def one_document(segments: torch.Tensor) -> bool:
    """Return whether every row is known to be a single segment; asked on the CPU only, where looking is free.

    Never asked while compiling, where looking at values would break the graph.
    """
    if segments.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return bool((segments == segments[:, :1]).all())


class Attention(nn.Module):
    """Self-attention with rotary positions, grouped queries and optional normalisation of queries and keys."""

    def __init__(self, params: TransformerParams) -> None:
        super().__init__()
        self.heads, self.kv_heads = params.heads, params.resolved_kv_heads
        self.head_width = params.resolved_head_width
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        self.q = Linear(params.width, queries, bias=params.qkv_bias)
        self.k = Linear(params.width, keys, bias=params.qkv_bias)
        self.v = Linear(params.width, keys, bias=params.qkv_bias)
        self.o = Linear(queries, params.width)
        self.q_norm = RMSNorm(self.head_width, params.norm_eps) if params.qk_norm else None
        self.k_norm = RMSNorm(self.head_width, params.norm_eps) if params.qk_norm else None

    def forward(
        self,
        x: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        causal: bool,
    ) -> torch.Tensor:
        """Return (B, T, D) from (B, T, D).

        Args:
            x: Normalised states.
            rope: Cosine and sine tables of the positions.
            mask: (B, 1, T, T) or None, from ``attention_mask``, perhaps as a bias; it already contains ``causal``.
            causal: Used only where ``mask`` is None.
        """
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, self.heads, self.head_width)
        k = self.k(x).view(batch, length, self.kv_heads, self.head_width)
        v = self.v(x).view(batch, length, self.kv_heads, self.head_width)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = apply_rope(q, *rope), apply_rope(k, *rope)
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, causal)
        return self.o(out.transpose(1, 2).reshape(batch, length, -1))

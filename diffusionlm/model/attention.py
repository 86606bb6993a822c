"""Multi-head self-attention over documents packed in rows.

The attention pattern is an argument, not a property of the module (``diffusionlm.model.pattern``), and so is where keys
and values of earlier passes are kept (``diffusionlm.model.cache``). Vaswani et al. 2017,
https://arxiv.org/abs/1706.03762; grouped queries: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from diffusionlm.kernels.attention import attend
from diffusionlm.model.cache import Exchange
from diffusionlm.model.linear import Linear
from diffusionlm.model.norm import RMSNorm
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.rope import apply_rope

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


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
        mask: torch.Tensor | BlockMask | None,
        causal: bool,
        exchange: Exchange | None = None,
    ) -> torch.Tensor:
        """Return (B, T, D) from (B, T, D).

        Args:
            x: Normalised states.
            rope: Cosine and sine tables of the positions.
            mask: (B, 1, T, S), a block mask or None, from ``attention_pattern``; it already contains ``causal``.
            causal: Used only where ``mask`` is None.
            exchange: Keeps the new keys and values and returns all S that can be read; None = the T new ones.
        """
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, self.heads, self.head_width)
        k = self.k(x).view(batch, length, self.kv_heads, self.head_width)
        v = self.v(x).view(batch, length, self.kv_heads, self.head_width)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = apply_rope(q, *rope), apply_rope(k, *rope)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        if exchange is not None:
            k, v = exchange(k, v)
        out = attend(q.transpose(1, 2), k, v, mask, causal)
        return self.o(out.transpose(1, 2).reshape(batch, length, -1))

"""Attention over short rows as plain batched matmuls.

    O = softmax(Q Kᵀ/√d + mask) V

PyTorch's CPU flash attention never holds the (T, T) weights, which pays on long rows; on rows of a few hundred bfloat16
tokens its backward pass is several times slower than batched matmuls that keep them (benchmarking/attention.py).
``attend`` picks by one rule, on the mask's form, device, dtype and length. All paths have the same value up to
rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from diffusionlm.kernels.flex import flex_attend

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

SHORT_ROW = 512
"""Longest row, in tokens, that keeps its attention weights."""


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return (B, H, T, d) attention by PyTorch's own kernel; arguments as in ``attend``."""
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1]
    )


def as_bias(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a bool mask as 0 and −inf, to be added to the scores; a mask that is one already comes back as it is.

    Adding costs a fraction of filling by a mask on the CPU; made once, it serves every layer.
    """
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


class _MatmulAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        batch, heads, length, width = q.shape
        flat = [x.reshape(batch * heads, length, width) for x in (q * width**-0.5, k, v)]
        scores = torch.bmm(flat[0], flat[1].transpose(1, 2))
        if mask is not None:
            scores.view(batch, heads, length, length).add_(as_bias(mask, scores.dtype))
        weights = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(*flat, weights)
        return torch.bmm(weights, flat[2]).view(q.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        scaled_q, k, v, weights = ctx.saved_tensors
        shape = grads[0].shape
        grad = grads[0].reshape(v.shape)
        grad_v = torch.bmm(weights.transpose(1, 2), grad)
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        # d scores = weights · (d weights − Σ_j weights · d weights)
        grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_q = torch.bmm(grad_scores, k).mul_(shape[-1] ** -0.5)
        grad_k = torch.bmm(grad_scores.transpose(1, 2), scaled_q)
        return grad_q.view(shape), grad_k.view(shape), grad_v.view(shape), None


def keeps_weights(q: torch.Tensor, k: torch.Tensor) -> bool:
    """Return whether ``attend`` keeps the attention weights: short bfloat16 self-attention on the CPU."""
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] == k.shape[-2] <= SHORT_ROW


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | BlockMask | None, causal: bool = False
) -> torch.Tensor:
    """Return the (B, H, T, d) attention of queries over keys.

    Args:
        q: (B, H, T, d) queries.
        k: (B, H_kv, S, d) keys; H is a multiple of H_kv.
        v: (B, H_kv, S, d) values.
        mask: Broadcasts to (B, H, T, S). Bool, True where a query may see a key, or such a mask ``as_bias``; None =
            everywhere (or causal). A block mask goes to FlexAttention.
        causal: Used only where ``mask`` is None: query i sees keys 0 … i.
    """
    if mask is not None and not isinstance(mask, torch.Tensor):
        return flex_attend(q, k, v, mask)
    if not keeps_weights(q, k):
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal and mask is None, enable_gqa=q.shape[1] != k.shape[1]
        )
    if causal and mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if q.shape[1] != k.shape[1]:
        repeat = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
    if torch.compiler.is_compiling():  # the compiler differentiates the plain formula by itself
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        scores = scores if mask is None else scores + as_bias(mask, scores.dtype)
        return torch.softmax(scores, dim=-1) @ v
    result: torch.Tensor = _MatmulAttention.apply(q, k, v, mask)  # type: ignore[assignment]
    return result

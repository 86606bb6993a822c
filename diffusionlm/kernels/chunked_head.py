"""A linear head whose logits exist a chunk of rows at a time: what the losses of one share.

    Σ_n w_n · f(h_n Wᵀ, n)

A loss forms the gradient over a chunk's logits in place of them, and it is at once multiplied out, so the peak is one
chunk's logits whatever the batch. The idea is that of Liger-Kernel's fused linear cross-entropy,
https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Score = Callable[[torch.Tensor, slice, torch.Tensor, torch.Tensor, bool], torch.Tensor]
"""(logits (n, K) in the dtype of the states, which rows, their weights (n,), where their losses go (n,), whether a
gradient is wanted) → d Σ w·f / d logits (n, K) if it is; the logits may be overwritten."""


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, size: int, score: Score
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, head = hidden.shape[0], weight.detach().to(hidden.dtype)
        accurate = torch.promote_types(hidden.dtype, torch.float32)
        row_weight = row_weight.to(accurate)
        need_hidden, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        values = torch.empty(rows, dtype=accurate, device=row_weight.device)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=accurate) if need_weight else None
        for start in range(0, rows, size):
            chunk = slice(start, min(start + size, rows))
            h = hidden[chunk].detach()
            grad = score(h @ head.t(), chunk, row_weight[chunk], values[chunk], need_hidden or need_weight)
            if grad_hidden is not None:
                torch.mm(grad.to(h.dtype), head, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight += grad.to(h.dtype).t() @ h
            del grad  # else it would stand beside the next chunk's logits
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(values)
        return (values * row_weight).sum(), values

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        hidden, weight = (None if grad is None else grad * grads[0].to(grad) for grad in ctx.saved_tensors)
        return hidden, weight, None, None, None


def chunked_head(
    hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, size: int, score: Score
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of a loss of a linear head's logits, and the loss of each row.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states.
        weight: (K, D) head.
        row_weight: (N,) weights, any float dtype; no gradient flows to them. The losses are on their device.
        size: Rows of a chunk.
        score: The loss of a chunk and its gradient.

    Returns:
        The scalar Σ_n w_n·f_n, differentiable in ``hidden`` and ``weight``, and (N,) f without gradient; both float32
        (float64 for float64 states).
    """
    if not torch.is_grad_enabled():
        # A Function sees only whether its inputs want gradients; under no_grad it would form them for nothing.
        hidden, weight = hidden.detach(), weight.detach()
    result: Any = _ChunkedHead.apply(hidden, weight, row_weight, size, score)
    return result

"""Any loss of a linear head's logits, row by row, without ever holding all the logits.

    loss = Σ_n w_n · f(h_n Wᵀ, n)

What ``linear_cross_entropy`` is for the cross-entropy, for losses that read the whole distribution (the likelihood
bound under uniform noise, the generalised KL): rows are processed in chunks, each chunk's gradient over its logits is
formed by autograd while they exist, and at once multiplied out. The peak is a few (chunk, K) blocks whatever the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

CHUNK_ELEMENTS = 1 << 21
"""Logits of a chunk; a loss keeps several tensors of this size in float32 for its gradient."""

RowLoss = Callable[[torch.Tensor, slice], torch.Tensor]
"""(logits (n, K), which rows) → loss of each row (n,); differentiable in the logits."""


def chunk_rows(rows: int, classes: int) -> int:
    """Return how many rows one chunk takes: bounded memory, never less than 16 rows."""
    return max(16, min(rows, CHUNK_ELEMENTS // max(classes, 1)))


def reference(
    hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, loss: RowLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same by dense logits; what the chunked form is tested against."""
    logits = torch.nn.functional.linear(hidden, weight.to(hidden.dtype))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values = loss(logits, slice(0, len(hidden)))
    return (values * row_weight.to(values.dtype)).sum(), values.detach()


class _LinearRowLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, loss: RowLoss
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, classes = hidden.shape[0], weight.shape[0]
        accurate = torch.promote_types(hidden.dtype, torch.float32)
        head, row_weight = weight.detach().to(hidden.dtype), row_weight.to(accurate)
        need_hidden, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        values = torch.empty(rows, dtype=accurate, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=accurate) if need_weight else None
        size = chunk_rows(rows, classes)
        for start in range(0, rows, size):
            chunk = slice(start, min(start + size, rows))
            h = hidden[chunk].detach()
            logits = (h @ head.t()).to(accurate)
            with torch.set_grad_enabled(need_hidden or need_weight):
                leaf = logits.requires_grad_(need_hidden or need_weight)
                one = loss(leaf, chunk).to(accurate)
                values[chunk] = one.detach()
                if not leaf.requires_grad:
                    continue
                (grad,) = torch.autograd.grad((one * row_weight[chunk]).sum(), leaf)
            grad = grad.to(h.dtype)
            if grad_hidden is not None:
                torch.mm(grad, head, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight += grad.t() @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(values)
        return (values * row_weight).sum(), values

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0]
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * scale).to(grad_weight.dtype)
        return grad_hidden, grad_weight, None, None


def linear_row_loss(
    hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, loss: RowLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of a row loss of a linear head.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states of the scored rows.
        weight: (K, D) head.
        row_weight: (N,) weights, any float dtype; no gradient flows to them.
        loss: From logits (n, K), float32 (float64 for float64 states), of rows given by a slice of the N.

    Returns:
        The scalar Σ_n w_n·f_n, differentiable in ``hidden`` and ``weight``, and (N,) f without gradient.
    """
    if not torch.is_grad_enabled():
        # A Function sees only whether its inputs want gradients; under no_grad it would form them for nothing.
        hidden, weight = hidden.detach(), weight.detach()
    result: Any = _LinearRowLoss.apply(hidden, weight, row_weight, loss)
    return result

"""Cross-entropy of a linear head without ever holding all its logits.

    loss = Σ_n w_n · (logsumexp_j(h_n · W_j) − h_n · W_{y_n})

Rows are processed in chunks; the gradient of each chunk is formed while its logits are at hand, so the peak is one
(chunk, K) block whatever the batch. Logits are computed in the dtype of ``hidden``, the softmax in float32.
The idea is that of Liger-Kernel's fused linear cross-entropy, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ELEMENTS = 1 << 21
"""Logits held at once; 8 MiB in float32. Larger chunks spill the CPU's caches, smaller ones starve its matmul."""


def chunk_rows(rows: int, classes: int) -> int:
    """Return how many rows one chunk takes: bounded memory, never less than 64 rows."""
    return max(64, min(rows, CHUNK_ELEMENTS // max(classes, 1)))


def reference(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (Σ_n w_n·CE_n, CE) by dense logits; what the chunked form is tested against."""
    logits = torch.nn.functional.linear(hidden, weight.to(hidden.dtype))
    if logits.dtype != torch.float64:
        logits = logits.float()
    nll = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return (nll * row_weight.to(nll.dtype)).sum(), nll


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, classes = hidden.shape[0], weight.shape[0]
        accurate = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        head = weight.detach().to(hidden.dtype)
        need_hidden, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        nll = torch.empty(rows, dtype=accurate, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=accurate) if need_weight else None
        size = chunk_rows(rows, classes)
        for start in range(0, rows, size):
            chunk = slice(start, min(start + size, rows))
            h, y = hidden[chunk], target[chunk, None]
            log_p = torch.log_softmax(h @ head.t(), dim=-1, dtype=accurate)  # (chunk, K)
            nll[chunk] = -log_p.gather(1, y).squeeze(1)
            if grad_hidden is None and grad_weight is None:
                continue
            w = row_weight[chunk, None].to(accurate)
            # d loss / d logits = w·(softmax − one-hot)
            grad = log_p.exp_().mul_(w).scatter_add_(1, y, -w).to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad, head, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight += grad.t() @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(nll)
        return (nll * row_weight.to(accurate)).sum(), nll

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0]
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight * scale
        return grad_hidden, grad_weight, None, None


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted cross-entropy of a linear head, in nats.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states of the scored rows.
        weight: (K, D) head.
        target: (N,) int64 classes.
        row_weight: (N,) weights, any float dtype; no gradient flows to them.

    Returns:
        The scalar Σ_n w_n·CE_n, differentiable in ``hidden`` and ``weight``, and (N,) CE without gradient; both
        float32 (float64 for float64 input).
    """
    if not torch.is_grad_enabled():
        # A Function sees only whether its inputs want gradients; under no_grad it would form them for nothing.
        hidden, weight = hidden.detach(), weight.detach()
    result: Any = _LinearCrossEntropy.apply(hidden, weight, target, row_weight)
    return result

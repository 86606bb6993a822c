"""Cross-entropy of a linear head without ever holding all its logits.

    loss = Σ_n w_n · (logsumexp_j(h_n · W_j) − h_n · W_{y_n})

Rows are processed in chunks; the gradient of each chunk is formed in place of its logits, so the peak is one (chunk, K)
block whatever the batch. Logits are computed in the dtype of ``hidden``, the softmax in float32.
The idea is that of Liger-Kernel's fused linear cross-entropy, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ELEMENTS = 1 << 23
"""Logits held at once, in the dtype of the states: 16 MiB in bfloat16. Fewer starve the matmul."""
SLICE_ELEMENTS = 1 << 18
"""Logits that the CPU holds in float32 at once: 1 MiB, which its second-level cache keeps."""


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


def _softmax_slices(
    logits: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor, nll: torch.Tensor, gradient: bool
) -> None:
    """Write a chunk's cross-entropy into ``nll`` and, if asked for, its gradient over its logits.

    d loss / d logits = w·(softmax − one-hot), in the dtype of ``nll``, slice by slice so that the wide copies of the
    logits stay in the CPU's second-level cache.
    """
    rows, classes = logits.shape
    size = max(1, SLICE_ELEMENTS // classes) if logits.device.type == "cpu" else rows
    for start in range(0, rows, size):
        part = slice(start, start + size)
        y, w = target[part, None], row_weight[part, None]
        wide = logits[part].to(nll.dtype, copy=True)
        largest = wide.amax(dim=1, keepdim=True)
        own = wide.gather(1, y)
        total = wide.sub_(largest).exp_().sum(dim=1, keepdim=True)
        nll[part] = (total.log().add_(largest).sub_(own)).squeeze(1)
        if gradient:
            logits[part] = wide.mul_(w / total).scatter_add_(1, y, -w)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, classes = hidden.shape[0], weight.shape[0]
        accurate = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        target, head, place = target.to(hidden.device), weight.detach().to(hidden.dtype), row_weight.device
        row_weight = row_weight.to(accurate).to(hidden.device)
        need_hidden, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        nll = torch.empty(rows, dtype=accurate, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=accurate) if need_weight else None
        size = chunk_rows(rows, classes)
        for start in range(0, rows, size):
            chunk = slice(start, min(start + size, rows))
            h = hidden[chunk]
            logits = h @ head.t()  # (chunk, K), then their gradient
            _softmax_slices(logits, target[chunk], row_weight[chunk], nll[chunk], need_hidden or need_weight)
            if grad_hidden is not None:
                torch.mm(logits, head, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight += logits.t() @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(nll)
        return (nll * row_weight).sum().to(place), nll.to(place)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0]
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden)
        if grad_weight is not None:
            grad_weight = grad_weight * scale.to(grad_weight)
        return grad_hidden, grad_weight, None, None


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted cross-entropy of a linear head, in nats.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states of the scored rows.
        weight: (K, D) head.
        target: (N,) int64 classes.
        row_weight: (N,) weights, any float dtype; no gradient flows to them. Like ``target``, they may be on another
            device than the states.

    Returns:
        The scalar Σ_n w_n·CE_n, differentiable in ``hidden`` and ``weight``, and (N,) CE without gradient; both
        float32 (float64 for float64 input), on the device of ``row_weight``.
    """
    if not torch.is_grad_enabled():
        # A Function sees only whether its inputs want gradients; under no_grad it would form them for nothing.
        hidden, weight = hidden.detach(), weight.detach()
    result: Any = _LinearCrossEntropy.apply(hidden, weight, target, row_weight)
    return result

"""Any loss of a linear head's logits, row by row, without ever holding all the logits.

    loss = Σ_n w_n · f(h_n Wᵀ, n)

What ``linear_cross_entropy`` is for the cross-entropy, for losses that read the whole distribution (the likelihood
bound under uniform noise, the generalised KL): rows are processed in chunks, each chunk's gradient over its logits is
formed by autograd in place of them, and at once multiplied out. The peak is a few (chunk, K) blocks whatever the batch;
on a CPU the loss itself goes through a chunk slice by slice, so that what autograd keeps stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from diffusionlm.kernels.chunked_head import chunked_head

CHUNK_ELEMENTS = 1 << 21
"""Logits of a chunk; on a GPU a loss keeps several tensors of this size in float32 for its gradient."""
SLICE_ELEMENTS = 1 << 18
"""Logits that the loss sees at once on a CPU: 1 MiB in float32, so that its several tensors fit the caches."""

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


def _loss_slices(
    logits: torch.Tensor, first: int, row_weight: torch.Tensor, loss: RowLoss, values: torch.Tensor, gradient: bool
) -> torch.Tensor:
    """Write a chunk's losses into ``values`` and, if asked for, the gradient in place of its logits; return that.

    ``logits`` are (n, K); ``first`` is the number of the chunk's first row among all; ``row_weight`` and ``values``,
    (n,), are the chunk's.
    """
    rows, classes = logits.shape
    size = max(1, SLICE_ELEMENTS // classes) if row_weight.device.type == "cpu" else rows
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        leaf = logits[part].detach().to(row_weight.device)
        with torch.set_grad_enabled(gradient):
            one = loss(leaf.requires_grad_(gradient), slice(first + part.start, first + part.stop)).to(values.dtype)
            values[part] = one.detach()
            if gradient:
                (logits[part],) = torch.autograd.grad((one * row_weight[part]).sum(), leaf)
    return logits


def linear_row_loss(
    hidden: torch.Tensor, weight: torch.Tensor, row_weight: torch.Tensor, loss: RowLoss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of a row loss of a linear head.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states of the scored rows.
        weight: (K, D) head.
        row_weight: (N,) weights, any float dtype; no gradient flows to them. They may be on another device than the
            states; the loss is computed there.
        loss: From logits (n, K), float32 (float64 for float64 states), of rows given by a slice of the N.

    Returns:
        The scalar Σ_n w_n·f_n, differentiable in ``hidden`` and ``weight``, and (N,) f without gradient; both
        on the device of ``row_weight``.
    """

    def score(
        logits: torch.Tensor, chunk: slice, part: torch.Tensor, values: torch.Tensor, gradient: bool
    ) -> torch.Tensor:
        return _loss_slices(logits.to(values.dtype), chunk.start, part, loss, values, gradient)

    return chunked_head(hidden, weight, row_weight, chunk_rows(len(hidden), len(weight)), score)

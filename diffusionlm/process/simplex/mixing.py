"""Embeddings of points of the simplex, Σ_j w_j W_j, without ever holding the points of a batch.

Weights are made chunk by chunk from counter-based noise, multiplied out and thrown away; the backward pass makes them
again. The peak is one (chunk, V) block whatever the batch, and the gradient of the table, Wᵀ-side outer products with
the same weights, is exact. docs/MATH.md §3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from diffusionlm.process.simplex.state import chunk_sites, slice_sites

Weights = Callable[[slice, torch.dtype], torch.Tensor]
"""(which sites, dtype) → weights (n, V) of the rows of the table."""


def reference(table: torch.Tensor, weights: Weights, sites: int) -> torch.Tensor:
    """Return the same by dense weights; what the chunked form is tested against."""
    return weights(slice(0, sites), table.dtype) @ table


def _fill(block: torch.Tensor, first: int, weights: Weights) -> torch.Tensor:
    """Write the weights of the sites from ``first`` on into a block (n, V), as many at a time as a cache holds."""
    size = slice_sites(block.shape[1]) if block.device.type == "cpu" else len(block)
    for start in range(0, len(block), size):
        part = block[start : start + size]
        part.copy_(weights(slice(first + start, first + start + len(part)), block.dtype))
    return block


class _Mixing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, weights: Weights, sites: int) -> torch.Tensor:
        ctx.weights, ctx.entries = weights, table.shape[0]
        out = table.new_empty((sites, table.shape[1]))
        size = chunk_sites(sites, ctx.entries)
        block = table.new_empty((size, ctx.entries))
        for start in range(0, sites, size):
            part = out[start : start + size]
            torch.mm(_fill(block[: len(part)], start, weights), table, out=part)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grad,) = grads
        size = chunk_sites(len(grad), ctx.entries)
        total, block = grad.new_zeros((ctx.entries, grad.shape[1])), grad.new_empty((size, ctx.entries))
        for start in range(0, len(grad), size):
            part = grad[start : start + size]
            total.addmm_(_fill(block[: len(part)], start, ctx.weights).t(), part)
        return total, None, None


def mix(table: torch.Tensor, weights: Weights, sites: int) -> torch.Tensor:
    """Return (sites, D) mixtures of the rows of a table (V, D), differentiable in the table.

    Args:
        table: (V, D) float32 or float64.
        weights: Makes the weights of a slice of the sites; called twice for each, with the same result.
        sites: How many.
    """
    if not torch.is_grad_enabled():
        table = table.detach()
    result: Any = _Mixing.apply(table, weights, sites)
    return result

"""Root-mean-square normalisation, computed in float32.

    y = x / sqrt(mean(x²) + ε) · g

Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

BLOCK_ELEMENTS = 1 << 16
"""Elements of a block: 256 KiB in float32, and a few of them at once."""


def reference(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the plain formula, for the compiler and for the tests."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain).to(x.dtype)


def _blocks(rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of the rows: on the CPU of as many as its second-level cache holds in float32, else all at once."""
    size = max(1, BLOCK_ELEMENTS // width) if device.type == "cpu" else max(1, rows)
    return (slice(start, start + size) for start in range(0, rows, size))


class _RMSNorm(torch.autograd.Function):
    """Block by block in each direction; keeps x and the row's inverse RMS instead of float32 copies of x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
        width, flat = x.shape[-1], x.reshape(-1, x.shape[-1])
        out = torch.empty_like(flat)
        inverse = flat.new_empty((len(flat), 1), dtype=torch.promote_types(x.dtype, torch.float32))
        for rows in _blocks(len(flat), width, x.device):
            wide = flat[rows].to(inverse.dtype, copy=True)
            inverse[rows] = torch.linalg.vecdot(wide, wide).div_(width).add_(eps).rsqrt_().unsqueeze(-1)
            out[rows] = wide.mul_(inverse[rows]).mul_(gain)
        ctx.save_for_backward(x, gain, inverse)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        width, flat, grad = x.shape[-1], x.reshape(-1, x.shape[-1]), grads[0].reshape(-1, x.shape[-1])
        grad_x = torch.empty_like(flat)
        grad_gain = torch.zeros_like(gain, dtype=inverse.dtype)
        for rows in _blocks(len(flat), width, x.device):
            scaled = grad[rows].to(inverse.dtype, copy=True)
            normal = flat[rows].to(inverse.dtype) * inverse[rows]
            grad_gain += torch.linalg.vecdot(scaled, normal, dim=0)
            # d/dx: inverse · (g·grad − normal · mean(g·grad · normal))
            along = torch.linalg.vecdot(scaled.mul_(gain), normal).div_(width).unsqueeze(-1)
            grad_x[rows] = scaled.addcmul_(normal, along, value=-1).mul_(inverse[rows])
        return grad_x.view(x.shape), grad_gain.to(gain.dtype), None


class RMSNorm(nn.Module):
    """RMSNorm over the last dimension, with a learned gain that starts at 1."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (…, width); any float dtype, returned in the same."""
        if torch.compiler.is_compiling():  # the compiler fuses the plain formula, and its gradient, by itself
            return reference(x, self.weight, self.eps)
        return _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-any-return]

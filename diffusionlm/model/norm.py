"""Root-mean-square normalisation, computed in float32.

    y = x / sqrt(mean(x²) + ε) · g

Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def reference(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the plain formula, for the compiler and for the tests."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """One pass each way; keeps x and the row's inverse RMS instead of float32 copies of x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
        accurate = torch.promote_types(x.dtype, torch.float32)
        wide = x.to(accurate)
        inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, gain, inverse)
        return (wide * inverse).mul_(gain).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        accurate = inverse.dtype
        grad = grads[0].to(accurate)
        normal = x.to(accurate) * inverse
        grad_gain = (grad * normal).sum(dim=tuple(range(x.dim() - 1))) if ctx.needs_input_grad[1] else None
        # d/dx: inverse · (g·grad − normal · mean(g·grad · normal))
        scaled = grad * gain
        along = torch.linalg.vecdot(scaled, normal).div_(x.shape[-1]).unsqueeze(-1)
        grad_x = scaled.sub_(normal.mul_(along)).mul_(inverse)
        return grad_x.to(x.dtype), grad_gain, None


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

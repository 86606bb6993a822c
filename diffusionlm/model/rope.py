"""Rotary position embedding in the rotate-half layout of the Llama and Qwen families.

Channel i and channel i + d/2 of a head form a pair that is turned by the angle position · θ^(−2i/d).
Su et al. 2021, https://arxiv.org/abs/2104.09864.
"""

from __future__ import annotations

from typing import Any

import torch


def rope_tables(
    positions: torch.Tensor, head_width: int, theta: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines, each (…, 1, head_width / 2), for integer positions (…).

    Angles are computed in float32 (float64 for a float64 model) and only then rounded to ``dtype``.
    """
    accurate = torch.promote_types(dtype, torch.float32)
    index = torch.arange(0, head_width, 2, device=positions.device, dtype=accurate)
    angle = positions[..., None, None].to(accurate) * theta ** (-index / head_width)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    # Contiguous as (B, heads, T, head_width), the order in which attention reads it.
    out = x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).transpose(1, 2)
    half = x.shape[-1] // 2
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)
    return out


def reference(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return the plain formula, for the compiler and for the tests."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class _Rope(torch.autograd.Function):
    """Rotation; its gradient is the opposite rotation, so nothing of x is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def apply_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn (B, T, heads, head_width) by tables that broadcast to (B, T, heads, head_width / 2)."""
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula, and its gradient, by itself
        return reference(x, cos, sin)
    return _Rope.apply(x, cos, sin)  # type: ignore[no-any-return]

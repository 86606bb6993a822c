"""The feed-forward half of a block: SwiGLU or squared ReLU.

swiglu: down(silu(gate x) · up x)        Shazeer 2020, https://arxiv.org/abs/2002.05202
relu2:  down(relu(up x)²)                So et al. 2021, https://arxiv.org/abs/2109.08668
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from diffusionlm.model.linear import Linear
from diffusionlm.model.params import TransformerParams


class _SwiGLU(torch.autograd.Function):
    """silu(g)·u; recomputes silu in the backward pass instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        grad = grads[0]
        grad_up = nn.functional.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), grad_up


class _SquaredReLU(torch.autograd.Function):
    """relu(x)²; keeps relu(x) alone, from which both the value and the slope follow."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        positive = nn.functional.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (positive,) = ctx.saved_tensors
        return (grads[0] * positive).mul_(2.0)


class FeedForward(nn.Module):
    """(…, width) → (…, width) through the inner width."""

    def __init__(self, params: TransformerParams) -> None:
        super().__init__()
        inner = params.resolved_hidden
        self.gate = Linear(params.width, inner) if params.activation == "swiglu" else None
        self.up = Linear(params.width, inner)
        self.down = Linear(inner, params.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised states, any float dtype."""
        plain = torch.compiler.is_compiling()  # the compiler fuses the plain formulas, and their gradients, by itself
        if self.gate is None:
            up = self.up(x)
            return self.down(nn.functional.relu(up).square() if plain else _SquaredReLU.apply(up))  # type: ignore[arg-type]
        gate, up = self.gate(x), self.up(x)
        return self.down(nn.functional.silu(gate) * up if plain else _SwiGLU.apply(gate, up))  # type: ignore[arg-type]

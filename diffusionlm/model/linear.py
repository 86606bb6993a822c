"""A linear map with a float32 master weight, computed in the dtype of its input.

The cast is explicit, so precision is decided in one place (the dtype of the residual stream) and is the same on every
device, without autocast.
"""

from __future__ import annotations

import torch
from torch import nn


class Linear(nn.Module):
    """y = x Wᵀ + b, in the dtype of x."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, inputs) to (…, outputs)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return nn.functional.linear(x, self.weight.to(x.dtype), bias)

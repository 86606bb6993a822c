"""Telling the network the time: a modulation of each norm that is exactly zero at initialisation.

Sinusoidal features of t pass through one small hidden layer; each block maps them, by a zero-initialised matrix, to a
scale and a shift of its two norms. At step 0 the network therefore computes the same for every t. Peebles and Xie 2022
(adaLN-zero), https://arxiv.org/abs/2212.09748.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from diffusionlm.model.linear import Linear

FEATURES = 128
PERIODS = 1000.0
"""t ∈ [0, 1] is stretched to this length, so that neighbouring noise levels have different features."""


def time_features(t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return (B, T, FEATURES) sines and cosines of t, (B, T) in [0, 1]."""
    half = FEATURES // 2
    frequency = torch.exp(torch.arange(half, device=t.device, dtype=torch.float64) * (-math.log(10_000.0) / half))
    angle = PERIODS * t.double()[..., None] * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1).to(dtype)


class TimeEmbedding(nn.Module):
    """t → (B, T, FEATURES) conditioning shared by all blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear(FEATURES, FEATURES, bias=True)

    def forward(self, t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Embed (B, T) times, which may be on the device of the arithmetic."""
        return nn.functional.silu(self.inner(time_features(t, dtype).to(self.inner.weight.device)))


class Modulation(nn.Module):
    """Conditioning → scale and shift of one norm's output; both zero at initialisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = Linear(FEATURES, 2 * width, bias=True)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Modulate (…, width) states by (…, FEATURES) conditioning."""
        scale, shift = self.map(condition).chunk(2, dim=-1)
        return torch.addcmul(x + shift, x, scale)

"""Reveal every masked token whose most likely value has a probability of at least τ, and always the surest one.

τ = 1 is one token a call in the order of ``confidence`` with ``max_prob``; τ → 0 is everything at once.
Wu et al. 2025 (Fast-dLLM), https://arxiv.org/abs/2505.22618. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.sampling.parallel import Parallel


class ThresholdParams(Strict):
    """Reveal all tokens above a confidence; at least one a call."""

    name: Literal["threshold"] = "threshold"
    threshold: float = Field(default=0.9, gt=0.0, le=1.0)
    """τ, the least probability of a position's most likely token; 1 = one token a call."""


class Threshold(Parallel):
    """Confidence-threshold decoding. Fast-dLLM, https://arxiv.org/abs/2505.22618."""

    Params = ThresholdParams
    params: ThresholdParams

    def count(self, scores: torch.Tensor) -> torch.Tensor:
        # Scores are rounded, and 1 must not take in what is merely near it.
        sure = (scores.exp() >= self.params.threshold) if self.params.threshold < 1.0 else torch.zeros_like(scores)
        return sure.long().sum(1).clamp_min(1)

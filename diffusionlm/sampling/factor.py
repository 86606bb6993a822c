"""Reveal the largest number n of the surest masked tokens with (n + 1)·(1 − c_(n)) < f, and always the surest one.

c_(1) ≥ c_(2) ≥ … are the probabilities of the positions' most likely tokens. If n tokens each fall short of certainty
by at most ε and (n + 1)·ε ≤ 1, the mode of their product is the mode of their joint; f is how much of that is used.
f → 0 is one token a call. Wu et al. 2025 (Fast-dLLM), https://arxiv.org/abs/2505.22618. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.sampling.parallel import Parallel


class FactorParams(Strict):
    """Reveal the more tokens at once the surer they are; at least one a call."""

    name: Literal["factor"] = "factor"
    factor: float = Field(default=1.0, gt=0.0)
    """f, the bound on (n + 1)·(1 − confidence); small = one token a call, large = everything at once."""


class Factor(Parallel):
    """Factor-based parallel decoding. Fast-dLLM, https://arxiv.org/abs/2505.22618."""

    Params = FactorParams
    params: FactorParams

    def count(self, scores: torch.Tensor) -> torch.Tensor:
        n = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        # −expm1 of the log-probability is 1 − c without cancellation.
        fits = ((n + 1) * -torch.expm1(scores) < self.params.factor) & (scores > -torch.inf)
        return torch.where(fits, n, 1).amax(1)

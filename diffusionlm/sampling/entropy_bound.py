"""Reveal the largest set of masked tokens with Σ H − max H ≤ γ, H the entropies of their predictives in nats.

Σ H − max H bounds how far the joint of the set may lie from the product that it is drawn from: H of the joint is at
least that of its largest part. The largest set is a prefix of the positions sorted by entropy. γ = 0 is one token a
call (tokens of entropy 0 go with it), a large γ everything at once. Ben-Hamu et al. 2025 (EB-Sampler),
https://arxiv.org/abs/2505.24857. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.sampling.confidence import Order
from diffusionlm.sampling.parallel import Parallel


class EntropyBoundParams(Strict):
    """Reveal as many tokens at once as a bound on their dependence allows; at least one a call."""

    name: Literal["entropy_bound"] = "entropy_bound"
    gamma: float = Field(default=0.1, ge=0.0)
    """γ in nats, the bound on the sum of the entropies less the largest; 0 = one token a call."""


class EntropyBound(Parallel):
    """Entropy-bounded unmasking. EB-Sampler, https://arxiv.org/abs/2505.24857."""

    Params = EntropyBoundParams
    params: EntropyBoundParams
    order: Order = "entropy"

    def count(self, scores: torch.Tensor) -> torch.Tensor:
        entropy = torch.where(scores > -torch.inf, -scores, 0.0)
        # Sorted by entropy the largest of a prefix is its last, so that Σ H − max H is the sum of those before it.
        fits = (entropy.cumsum(1) - entropy <= self.params.gamma) & (scores > -torch.inf)
        return fits.sum(1).clamp_min(1)

"""The Dirichlet flow: the clean entry's concentration grows.

    x_α ~ Dirichlet(1 + (α − 1)·e_i),   α = 1 + (α_max − 1)·t

so that ln q(x | i) = (α − 1)·ln x_i + const. The conditional field that carries these laws along is
u(x | i) = c(x_i, α)(e_i − x), and the field of a posterior is p⊙c − x⟨p, c⟩, O(V) (``beta_velocity.py``). A step holds
p and c fixed and solves it exactly, x ← e^{−CΔα}·x + (1 − e^{−CΔα})·p⊙c/C with C = ⟨p, c⟩, which stays on the simplex.
K = V always. The larger V, the longer a token hides and the more steps the flow takes; ``logit`` takes fewer. The
network is shown the posterior under a uniform prior, Σ_j p_j W_j, p ∝ x^{α−1}. Stärk et al. 2024,
https://arxiv.org/abs/2402.05841. docs/MATH.md §3.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.simplex.base import FlowProcess
from diffusionlm.process.simplex.beta_velocity import gamma_quantile, velocity
from diffusionlm.process.vocabulary import Vocabulary


class DirichletParams(Strict):
    """The Dirichlet flow."""

    name: Literal["dirichlet"] = "dirichlet"
    max_alpha: float | None = Field(default=None, gt=1.0, le=200.0)
    """α at the end of the clock; unset = 1 + 3·ln V, where a token is nearly always known from its own state."""


class DirichletProcess(FlowProcess):
    """Dirichlet laws of growing concentration. https://arxiv.org/abs/2402.05841."""

    Params = DirichletParams

    def __init__(self, params: DirichletParams, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        self.max_alpha = 1.0 + 3.0 * math.log(vocabulary.size) if params.max_alpha is None else params.max_alpha

    def level(self, t: torch.Tensor) -> torch.Tensor:
        """Return α."""
        return 1.0 + (self.max_alpha - 1.0) * t

    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        # The clean entry's own exponential at its quantile: at α = 1 nothing changes.
        u = -torch.expm1(-exponentials.gather(1, x[:, None]).squeeze(1).double())
        own = gamma_quantile(u, level).to(exponentials.dtype)
        race = exponentials.scatter_(1, x[:, None], own[:, None])
        return race.div_(race.sum(1, keepdim=True))

    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.evidence(coordinates, level).softmax(1)

    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return coordinates.clamp_min(1e-30).log() * (level - 1.0).to(coordinates.dtype)[:, None]

    def advance(self, coordinates: torch.Tensor, p: torch.Tensor, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        x = coordinates.to(p.dtype)
        pull = p * velocity(x, 0.5 * (t + u), self.entries)  # p⊙c, c at the middle of the step
        total = pull.sum(1, keepdim=True).clamp_min(1e-30)
        stay = torch.exp(-total * (u - t).to(p.dtype)[:, None])
        moved = (x * stay + (1.0 - stay) * pull / total).clamp_min(0.0)
        return (moved / moved.sum(1, keepdim=True)).to(coordinates.dtype)

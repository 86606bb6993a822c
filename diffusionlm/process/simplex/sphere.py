"""The sphere flow: square roots of probabilities move along great circles.

    q = √x,   q_0 = √Dirichlet(1),   dq/dτ = q_1 − q⟨q, q_1⟩,
    q(τ) = [(1 + ρ)q_1 + 2e^{−τ}(q_0 − ρq_1) − (1 − ρ)e^{−2τ}q_1] / [1 + ρ + (1 − ρ)e^{−2τ}],   ρ = ⟨q_0, q_1⟩

The drift is linear in q_1, so the flow of the posterior replaces q_1 by p; a step is the same formula towards p/|p|
over |p|·Δτ and is exact for a constant p. The network is shown Σ_j q_j W_j, in training and in sampling.

After τ the clean entry has x_i ≥ h = tanh²τ, and an entry below h cannot be the clean one. The expected number of
rivals above it, (V − 1)(1 − h)^{V − 1}, falls from V − 1 to 1 − accuracy evenly in its logarithm over the clock, which
spreads the narrow stretch of τ where a token is decided. KL-Flow, https://arxiv.org/abs/2411.16821; Davis et al. 2024
(Fisher-Flow), https://arxiv.org/abs/2405.14664. docs/MATH.md §3.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.simplex.base import FlowProcess

IMPOSSIBLE = -1e4
"""Log-likelihood of what cannot be; finite, because a step of finite length may leave every entry impossible."""


class SphereParams(Strict):
    """The great-circle flow of square roots of probabilities."""

    name: Literal["sphere"] = "sphere"
    accuracy: float = Field(default=0.99, gt=0.0, le=0.999999)
    """At the end of the clock 1 − accuracy rivals of the clean token are left on average."""


def towards(q: torch.Tensor, direction: torch.Tensor, rho: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """Return q (n, V) moved for a time τ (n, 1) along the great circle to a unit vector; ρ = ⟨q, direction⟩, (n, 1)."""
    fall = torch.exp(-tau)
    whole = 1.0 + rho + (1.0 - rho) * fall.square()
    gained = (1.0 + rho - 2.0 * rho * fall - (1.0 - rho) * fall.square()) / whole
    return q * (2.0 * fall / whole) + direction * gained


class SphereProcess(FlowProcess):
    """Great circles. Fisher-Flow, https://arxiv.org/abs/2405.14664."""

    Params = SphereParams

    def level(self, t: torch.Tensor) -> torch.Tensor:
        """Return τ."""
        others = self.vocabulary.size - 1
        h = -torch.expm1(math.log((1.0 - self.params.accuracy) / others) * t / others)
        return torch.atanh(h.sqrt())

    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        q_0 = (exponentials / exponentials.sum(1, keepdim=True)).sqrt()
        q_1 = torch.nn.functional.one_hot(x, self.entries).to(q_0.dtype)
        return towards(q_0, q_1, q_0.gather(1, x[:, None]), level.to(q_0.dtype)[:, None])

    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return coordinates

    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return the log-density of the state under every token: x_0 is uniform, and the flow's Jacobian is known.

        With q_0 = tanh(artanh q_i − τ) it is ln[(q_0/q_i)(1 − q_0²)/(1 − q_i²)] + (V − 2)·ln[(1 − q_0²)/(1 − q_i²)].
        """
        q = coordinates.clamp(1e-12, 1.0 - 1e-7)
        bound = torch.tanh(level).to(q.dtype)[:, None]
        q_0 = torch.tanh(torch.atanh(q) - torch.atanh(bound)).clamp_min(1e-12)
        spread = torch.log1p(-q_0.square()) - torch.log1p(-q.square())
        density = q_0.log() - q.log() + (self.entries - 1) * spread
        return torch.where(q >= bound, density, IMPOSSIBLE * (1.0 + bound - q))

    def advance(self, coordinates: torch.Tensor, p: torch.Tensor, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        length = p.norm(dim=1, keepdim=True)
        q, direction = coordinates.to(p.dtype), p / length
        rho = (q * direction).sum(1, keepdim=True)
        moved = towards(q, direction, rho, length * (u - t).to(p.dtype)[:, None])
        return (moved / moved.norm(dim=1, keepdim=True)).to(coordinates.dtype)

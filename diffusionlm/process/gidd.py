"""GIDD: mask noise at first, with uniform noise mixed in on the way, so that a model learns to correct its mistakes.

With s = 1 − t the paper's time (s = 0 is data), c = B·(s(1 − s))^{γ/2} and C = 1 + c:

    κ_t = (1 − s)/C,      ν_t = (s·δ_m + c·(1/K on the data tokens))/C,      B = 2^γ·p_u/(1 − p_u)

Both ends are pure: all mask at t = 0, the text at t = 1; in the middle p_u of the mass is uniform noise. The kind of
noise changes with t, so this is not a mixture path, and an evaluator's levels are those of t = sin²(π·level/2), whose
density absorbs the poles of the bound's weights at both ends. The bound is tight for the leave-one-out predictive.
von Rütte et al. 2025, "Generalized Interpolating Discrete Diffusion", https://arxiv.org/abs/2503.04482. docs/MATH.md.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.process.discrete import DiscreteParams, DiscreteProcess
from diffusionlm.process.noise import Noise
from diffusionlm.process.schedules import Schedule
from diffusionlm.process.vocabulary import Vocabulary

NEAREST = 1e-15
"""c has a vertical tangent at both ends of time for γ < 2; no time is taken closer to them than this."""
HALVINGS = 60


class GIDDParams(DiscreteParams):
    """Mask noise with a share of uniform noise that comes and goes."""

    name: Literal["gidd"] = "gidd"
    p_u: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Largest share of uniform noise, reached half way; without any this is the mask process."""
    gamma: float = Field(default=1.0, gt=0.0, le=2.0)
    """γ, how fast uniform noise comes and goes; beyond 2 the rate of the noising process would be negative."""


class GIDDSchedule(Schedule):
    """κ(t) = t/(1 + c(t)). https://arxiv.org/abs/2503.04482"""

    Params = GIDDParams

    def mixed(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return c(t) and dc/dt; both are the same read from either end of time."""
        t = t.clamp(NEAREST, 1.0 - NEAREST)
        p_u, gamma = self.params.p_u, self.params.gamma
        c = 2.0**gamma * p_u / (1.0 - p_u) * (t * (1.0 - t)) ** (gamma / 2.0)
        return c, 0.5 * gamma * (1.0 - 2.0 * t) / (t * (1.0 - t)) * c

    def kappa(self, t: torch.Tensor) -> torch.Tensor:
        return t / (1.0 + self.mixed(t)[0])

    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        c, _ = self.mixed(t)
        return (1.0 - t + c) / (1.0 + c)

    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        c, dc = self.mixed(t)
        return (1.0 + c - t * dc) / (1.0 + c) ** 2

    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        # κ has no closed inverse; it increases, and 60 halvings of [0, 1] leave nothing of float64.
        low, high = torch.zeros_like(kappa), torch.ones_like(kappa)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = self.kappa(middle) < kappa
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


class GIDDProcess(DiscreteProcess):
    """Mask noise, uniform noise on the way. GIDD, https://arxiv.org/abs/2503.04482."""

    Params = GIDDParams
    bound = "tight"

    def __init__(self, params: Any, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        self._schedule = GIDDSchedule(params)

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    def noise(self, t: torch.Tensor) -> Noise:
        c, dc = self._schedule.mixed(t)
        total = 1.0 + c
        return Noise(
            kappa=t / total,
            dkappa=(total - t * dc) / total**2,
            mask=(1.0 - t) / total,
            dmask=-(total + (1.0 - t) * dc) / total**2,
            uniform=c / total,
            duniform=dc / total**2,
            size=self.vocabulary.size,
        )

    def time_of_level(self, level: torch.Tensor) -> torch.Tensor:
        return torch.sin(0.5 * math.pi * level) ** 2

    def level_rate(self, t: torch.Tensor) -> torch.Tensor:
        return 1.0 / (math.pi * (t * (1.0 - t)).clamp_min(NEAREST).sqrt())

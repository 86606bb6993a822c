"""Schedules κ(t): the probability that a token is clean at time t.

κ(0) = 0, κ(1) = 1, increasing; t = 0 is noise and t = 1 is data. Each schedule is three formulas: κ, its derivative κ̇
and its inverse. ``remaining`` is 1 − κ, written so that it keeps its precision near t = 1.
See docs/MATH.md §0; Gat et al. 2024, "Discrete Flow Matching", https://arxiv.org/abs/2407.15595.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict


class Schedule(ABC):
    """κ(t) on float64 tensors of any shape."""

    Params: ClassVar[type[Strict]]

    def __init__(self, params: Any) -> None:
        self.params = params

    def kappa(self, t: torch.Tensor) -> torch.Tensor:
        """Return κ(t) ∈ [0, 1]."""
        return 1.0 - self.remaining(t)

    @abstractmethod
    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        """Return 1 − κ(t)."""

    @abstractmethod
    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        """Return κ̇(t) = dκ/dt."""

    @abstractmethod
    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        """Return the t at which κ(t) = ``kappa``."""

    def jump_rate(self, t: torch.Tensor) -> torch.Tensor:
        """Return c(t) = κ̇ / (1 − κ), the rate at which a noised token becomes clean."""
        return self.dkappa(t) / self.remaining(t)


class LinearParams(Strict):
    """κ = t."""

    name: Literal["linear"] = "linear"


class Linear(Schedule):
    """κ(t) = t. https://arxiv.org/abs/2406.07524"""

    Params = LinearParams

    def kappa(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        return 1.0 - t

    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        return kappa


class PolynomialParams(Strict):
    """κ = tⁿ."""

    name: Literal["polynomial"] = "polynomial"
    exponent: float = Field(default=3.0, ge=1.0, le=16.0)
    """n in κ = tⁿ; 1 is linear."""


class Polynomial(Schedule):
    """κ(t) = tⁿ. https://arxiv.org/abs/2407.15595"""

    Params = PolynomialParams

    def kappa(self, t: torch.Tensor) -> torch.Tensor:
        return t**self.params.exponent

    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        # 1 − tⁿ = −expm1(n·ln t): no cancellation near t = 1.
        return -torch.expm1(self.params.exponent * torch.log(t))

    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        return self.params.exponent * t ** (self.params.exponent - 1.0)

    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        return kappa ** (1.0 / self.params.exponent)


class CosineParams(Strict):
    """κ = 1 − cos(πt/2)."""

    name: Literal["cosine"] = "cosine"


class Cosine(Schedule):
    """κ(t) = 1 − cos(πt/2). https://arxiv.org/abs/2202.04200"""

    Params = CosineParams

    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(0.5 * math.pi * (1.0 - t))

    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        return 0.5 * math.pi * torch.sin(0.5 * math.pi * t)

    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        return 2.0 / math.pi * torch.arccos(1.0 - kappa)


class QuadraticParams(Strict):
    """κ = 1 − (1 − t)²."""

    name: Literal["quadratic"] = "quadratic"


class Quadratic(Schedule):
    """κ(t) = 1 − (1 − t)². https://arxiv.org/abs/2407.15595"""

    Params = QuadraticParams

    def remaining(self, t: torch.Tensor) -> torch.Tensor:
        return (1.0 - t) ** 2

    def dkappa(self, t: torch.Tensor) -> torch.Tensor:
        return 2.0 * (1.0 - t)

    def inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        return 1.0 - torch.sqrt(1.0 - kappa)

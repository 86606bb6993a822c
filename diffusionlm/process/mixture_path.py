"""Mixture paths: noise whose kind never changes, q_t(z | x) = κ_t·1[z = x] + (1 − κ_t)·π(z).

    π = a·δ_m + (1 − a)·(1/K on the data tokens)

a = 1 is the mask process, a = 0 the uniform one, and what lies between mixes the two in fixed shares. A token is noised
once, at a time that depends on κ alone, which is what the CTMC samplers use. docs/MATH.md §1;
Gat et al. 2024, "Discrete Flow Matching", https://arxiv.org/abs/2407.15595 eq. 8.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.process.discrete import DiscreteParams, DiscreteProcess
from diffusionlm.process.noise import Noise
from diffusionlm.process.registries import SCHEDULES
from diffusionlm.process.schedules import Schedule
from diffusionlm.process.vocabulary import Vocabulary


class MixturePathParams(DiscreteParams):
    """What every mixture path has."""

    schedule: SCHEDULES.union(default="linear") = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=SCHEDULES["linear"].Params, validate_default=True
    )
    """κ(t), the probability that a token is clean."""


class MixturePath(DiscreteProcess):
    """ν_t = (1 − κ_t)·π with π fixed."""

    def __init__(self, params: Any, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        self._schedule: Schedule = SCHEDULES.build(params.schedule)

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    @property
    @abstractmethod
    def mask_share(self) -> float:
        """a, the mask token's share of the noise."""

    def noise(self, t: torch.Tensor) -> Noise:
        a, dkappa, remaining = self.mask_share, self.schedule.dkappa(t), self.schedule.remaining(t)
        return Noise(
            kappa=self.schedule.kappa(t),
            dkappa=dkappa,
            mask=a * remaining,
            dmask=-a * dkappa,
            uniform=(1.0 - a) * remaining,
            duniform=-(1.0 - a) * dkappa,
            size=self.vocabulary.size,
        )

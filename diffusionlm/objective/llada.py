"""LLaDA's training loss: cross-entropy over the masking probability, and now and then a shortened row.

    p_mask = (1 − ε)(1 − t) + ε;     loss = Σ_{i masked} CE_i / p_mask / (editable tokens)

One row in a hundred is cut to a random length, so that the model meets short contexts. With linear κ this is the bound
up to ε. Nie et al. 2025, https://arxiv.org/abs/2502.09992 (Algorithm 1, §2.2).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.objective.base import ObjectiveParams
from diffusionlm.objective.noised import OfNoised
from diffusionlm.process.base import Corrupted
from diffusionlm.rng import Draws


class LLaDAParams(ObjectiveParams):
    """LLaDA's loss."""

    name: Literal["llada"] = "llada"
    epsilon: float = Field(default=1e-3, ge=0.0, lt=1.0)
    """Smallest masking probability."""
    random_length_probability: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of the rows that are cut to a random length, uniform on 1 … T."""


class LLaDA(OfNoised):
    """Masked cross-entropy over p_mask. https://arxiv.org/abs/2502.09992"""

    Params = LLaDAParams

    def clock(self, t: torch.Tensor) -> torch.Tensor:
        # κ' = (1 − ε)·κ(t) makes 1 − κ' = (1 − ε)(1 − κ) + ε, LLaDA's p_mask, for any schedule.
        schedule = self.process.schedule
        return schedule.inverse((1.0 - self.params.epsilon) * schedule.kappa(t))

    def crop(self, segments: torch.Tensor, draws: Draws) -> torch.Tensor:
        if self.params.random_length_probability == 0.0:
            return segments
        # One decision and one length per row, from the draws at its first position.
        chosen = draws.uniform("objective/crop")[:, :1] < self.params.random_length_probability
        length = torch.ceil(draws.uniform("objective/crop-length")[:, :1] * segments.shape[1])
        beyond = torch.arange(segments.shape[1], device=segments.device)[None] >= length
        return torch.where(chosen & beyond, 0, segments)

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return torch.where(corrupted.noised, 1.0 / corrupted.noise_probability, 0.0)

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

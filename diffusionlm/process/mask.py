"""The absorbing process: a token is clean with probability κ(t) and the mask token m otherwise.

    q_t(z | x) = κ_t·1[z = x] + (1 − κ_t)·1[z = m]

Its bound is tight for the head p(x_i | visible tokens) and is a weighted cross-entropy at the masked positions:

    NELBO(x) = E_{t ~ U(0,1)} c(t) Σ_{i : z_i = m} −ln p_i(x_i | z),     c = κ̇ / (1 − κ)

The value does not depend on κ. References: Sahoo et al. 2024 (MDLM), https://arxiv.org/abs/2406.07524 eq. 10;
Shi et al. 2024 (MD4), https://arxiv.org/abs/2406.04329; Gat et al. 2024, https://arxiv.org/abs/2407.15595.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.process.base import Choice, Corrupted, Measure
from diffusionlm.process.mixture_path import MixturePath, MixturePathParams
from diffusionlm.process.selection import bernoulli, document_counts, exact_count
from diffusionlm.rng import Draws


class MaskParams(MixturePathParams):
    """The absorbing (mask) process of MDLM, LLaDA and masked discrete flow matching."""

    name: Literal["mask"] = "mask"
    mask_id: int | None = Field(default=None, ge=0)
    """Model row of the mask token; unset = the row after the tokenizer's ids."""


class MaskProcess(MixturePath):
    """Absorbing process. MDLM, https://arxiv.org/abs/2406.07524."""

    Params = MaskParams
    bound = "tight"
    bound_form = "ce"
    sampler = "ancestral"
    time_conditioning = False

    @property
    def mask_share(self) -> float:
        return 1.0

    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        if self.counts_first:
            return self._exactly(x_1, 1.0 - (t if measure == "t" else self.schedule.kappa(t)), editable, groups, draws)
        probability = self.schedule.remaining(t)
        weight = self.schedule.jump_rate(t) if measure == "t" else 1.0 / probability
        return self._masked(x_1, t, editable, bernoulli(probability, editable, draws), probability, weight)

    def corrupt_level(
        self,
        x_1: torch.Tensor,
        level: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        choice: Choice,
    ) -> Corrupted:
        if choice == "exact_count":
            return self._exactly(x_1, 1.0 - level, editable, groups, draws)
        t = self.time_of_level(level)
        probability = self.schedule.remaining(t)
        return self._masked(x_1, t, editable, bernoulli(probability, editable, draws), probability, 1.0 / probability)

    def _exactly(
        self, x_1: torch.Tensor, u: torch.Tensor, editable: torch.Tensor, groups: torch.Tensor, draws: Draws
    ) -> Corrupted:
        """Mask 1 + ⌊L·u⌋ of each group's L editable tokens, at the time at which that many are expected."""
        # t ≥ 0 makes u ≤ 1; u = 1 itself would count one too many.
        masked, n = exact_count(u.clamp(max=1.0 - 1e-12), editable, groups, draws)
        probability = n.double() / document_counts(editable, groups).clamp_min(1)
        t = torch.where(n > 0, self.schedule.inverse(1.0 - probability), 1.0 - u)
        return self._masked(x_1, t, editable, masked, probability, 1.0 / probability.clamp_min(1e-12))

    def _masked(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        masked: torch.Tensor,
        probability: torch.Tensor,
        weight: torch.Tensor,
    ) -> Corrupted:
        return Corrupted(
            x_t=torch.where(masked, self.vocabulary.mask_id, x_1),
            t=t,
            noised=masked,
            editable=editable,
            weight=torch.where(masked, weight, 0.0),
            noise_probability=probability,
            noise=self.noise(t),
        )

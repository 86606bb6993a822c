"""ν_t of a discrete process: how much noise there is at a time, and of which kind.

    q_t(z | x) = κ_t·1[z = x] + ν_t(z),      ν_t = mask_t·δ_m + uniform_t·(1/K on the K data tokens)

Every discrete process of the field is a choice of these three functions of t with κ + mask + uniform = 1. From them and
their derivatives follow the marginals, the likelihood bound, the change of head and the transition law of the samplers;
the (K + 1) × (K + 1) matrices of the papers are never formed. docs/MATH.md §1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from diffusionlm.lazy import torch
from diffusionlm.process.vocabulary import Vocabulary

SMALLEST_KAPPA = 1e-30
"""κ is not divided by less. A weight stays finite in float32, in which the rows of a loss are multiplied by theirs."""


@dataclass(frozen=True)
class Noise:
    """ν_t and its derivative at some times; every tensor is float64, all of one shape.

    Attributes:
        kappa, dkappa: κ and κ̇, the probability that a token is clean.
        mask, dmask: The mass of the mask token, and its derivative by t.
        uniform, duniform: The mass spread evenly over the K data tokens, and its derivative.
        size: K.
    """

    kappa: torch.Tensor
    dkappa: torch.Tensor
    mask: torch.Tensor
    dmask: torch.Tensor
    uniform: torch.Tensor
    duniform: torch.Tensor
    size: int

    def at(self, z: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
        """Return ν_t(z), float64 of the shape of ``z``, which is that of the times; 0 at rows that are neither."""
        return self._of(z, vocabulary, self.mask, self.uniform)

    def marginal(self, z: torch.Tensor, x: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
        """Return q_t(z | x), float64."""
        return self.at(z, vocabulary) + torch.where(z == x, self.kappa, 0.0)

    def rate(self, z: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
        """Return ρ_t(z) = −∂_t ν_t(z) + (κ̇/κ)·ν_t(z), the rate into z of the noising process, float64 and finite.

        It has a pole at κ = 0, where what it multiplies vanishes as κ²; ``SMALLEST_KAPPA`` keeps 0 · ∞ out.
        """
        decay = self.dkappa / self.kappa.clamp_min(SMALLEST_KAPPA)
        return decay * self.at(z, vocabulary) - self._of(z, vocabulary, self.dmask, self.duniform)

    def evidence(self) -> torch.Tensor:
        """Return ln(q_t(z | z)/q_t(z | x ≠ z)) of a data token z: what a token says for itself, in nats; ∞ if sure.

        0 where a token can be neither clean nor noise (all is masked): nothing is known of a state that cannot be.
        """
        return torch.where(self.kappa > 0, torch.log1p(self.kappa * self.size / self.uniform), 0.0)

    def rows(self, index: torch.Tensor | slice) -> Noise:
        """Return the noise at some of the (flattened) positions."""
        picked = {f.name: vars(self)[f.name].flatten()[index] for f in fields(self) if f.name != "size"}
        return Noise(**picked, size=self.size)

    def _of(self, z: torch.Tensor, vocabulary: Vocabulary, mask: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        of_token = torch.where(z < self.size, uniform / self.size, 0.0)
        return torch.where(z == vocabulary.mask_id, mask, of_token)

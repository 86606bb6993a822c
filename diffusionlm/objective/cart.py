"""Context-adaptive weights: a noised token counts by how much clean text stands near it, whatever the noise level.

    w_i = ½ Σ_{j clean, j ≠ i} Geo(p; |i − j|),  Geo(p; d) = p·(1 − p)^{d − 1};   loss = Σ_{i noised} w_i·CE_i / Σ w_i

over the j of the same document, given tokens included; w is 1 inside an endless clean text and 0 where nothing is
clean. Dividing by the sum of the weights over the whole step leaves a mean in nats per token. Not a bound.
Ye et al. 2025 (Dream 7B), https://arxiv.org/abs/2508.15487, "context-adaptive token-level noise rescheduling".

The sum over j to the left obeys S_i = (1 − p)·S_{i−1} + p·1[i − 1 is clean], S = 0 where a document begins: a linear
recurrence, solved for all positions at once by doubling the distance, in O(T log T) instead of O(T²).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams, Term
from diffusionlm.objective.bound import Scored
from diffusionlm.process.base import Corrupted, Process
from diffusionlm.process.mask import MaskProcess
from diffusionlm.registry import params_name


class CARTParams(ObjectiveParams):
    """Cross-entropy of the noised tokens, weighted by the clean text near them (Dream)."""

    name: Literal["cart"] = "cart"
    sharpness: float = Field(default=0.3, gt=0.0, lt=1.0)
    """p of the geometric law of distances: the larger, the more the nearest tokens decide."""


class CART(Objective):
    """Dream's context-adaptive weights. https://arxiv.org/abs/2508.15487"""

    Params = CARTParams
    head = "posterior"

    @classmethod
    def refusal(cls, process: type[Process]) -> str | None:
        if process.state == "ids" and not issubclass(process, MaskProcess):
            # The weights tell which tokens are noised. Where noise looks like text the network cannot see that, and
            # the minimiser is the predictive of no process.
            return (
                "objective 'cart' needs noise that is visible as such (a mask process); "
                f"process {params_name(process.Params)!r} has other noise"
            )
        return super().refusal(process)

    def terms(
        self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> list[Term]:
        view, weight = self.process.view(corrupted, x_1, segments, positions), self.weight(corrupted)
        return [Term(view, Scored(weight > 0, weight, self.with_head(self.loss())))]

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return self.weight(corrupted) > 0

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        assert corrupted.segments is not None, "the engine names the documents of every batch"
        clean = (corrupted.segments > 0) & ~corrupted.noised
        weight = context_weight(clean, corrupted.segments, self.params.sharpness)
        return torch.where(corrupted.noised, weight, 0.0)

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        weight = self.weight(corrupted)
        return (weight if corrupted.importance is None else weight * corrupted.importance).sum()


def context_weight(clean: torch.Tensor, segments: torch.Tensor, p: float) -> torch.Tensor:
    """Return ½ Σ_{j clean, same segment, j ≠ i} p·(1 − p)^{|i − j| − 1}, (B, T) float64.

    Args:
        clean: (B, T) bool.
        segments: (B, T) int64; a segment is a run of equal numbers.
        p: In (0, 1).
    """
    left = _from_the_left(clean, segments, p)
    right = _from_the_left(clean.flip(1), segments.flip(1), p).flip(1)
    return (left + right) / 2


def _from_the_left(clean: torch.Tensor, segments: torch.Tensor, p: float) -> torch.Tensor:
    """Return Σ_{j < i} of ``context_weight``, without the half."""
    follows = torch.zeros_like(clean)
    follows[:, 1:] = segments[:, 1:] == segments[:, :-1]
    total = torch.zeros(clean.shape, dtype=torch.float64, device=clean.device)
    total[:, 1:] = p * (follows[:, 1:] & clean[:, :-1]).double()
    keep, distance = (1.0 - p) * follows.double(), 1
    # After each round ``total`` sums over the nearest ``distance`` positions and ``keep`` carries what lies beyond.
    while distance < clean.shape[1]:
        further = torch.nn.functional.pad(total, (distance, 0))[:, : clean.shape[1]]
        total = total + keep * further
        keep = keep * torch.nn.functional.pad(keep, (distance, 0))[:, : clean.shape[1]]
        distance *= 2
    return total

"""Diffusion and autoregression on one network: the mask bound plus λ times the next-token loss.

    loss = (NELBO + λ · Σ_i −ln p_i(x_i | x_{<i})) / (editable tokens)

Two passes, the first over the noisy state with the process's own attention, the second over the clean text shifted by
one under a causal mask (m in front of each document), through the same weights and the same head. Not a bound, but each
part is one. Ye et al. 2025 train diffusion from and beside autoregressive weights, https://arxiv.org/abs/2508.15487;
Arriola et al. 2025 interpolate between the two, https://arxiv.org/abs/2503.09573.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams, Term
from diffusionlm.objective.bound import Scored, bound_of
from diffusionlm.process import Layout, MaskProcess
from diffusionlm.process.ar import causal_view
from diffusionlm.process.base import Corrupted


class JointParams(ObjectiveParams):
    """The mask bound plus a share of the autoregressive loss."""

    name: Literal["joint"] = "joint"
    ar_weight: float = Field(default=1.0, ge=0.0)
    """λ, the weight of the next-token loss; 0 = the bound alone."""


class Joint(Objective):
    """Mask bound + λ · next-token loss. https://arxiv.org/abs/2503.09573 interpolates between the same two."""

    Params = JointParams
    head = "posterior"
    requires = MaskProcess
    params: JointParams

    @classmethod
    def also_trains(cls, params: JointParams) -> tuple[str, ...]:
        return ("ar",) if params.ar_weight > 0.0 else ()

    @property
    def scale(self) -> float:
        return 1.0 + self.params.ar_weight

    def terms(
        self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> list[Term]:
        view = self.process.view(corrupted, x_1, segments, positions)
        terms = [Term(view, bound_of(self.process, corrupted, self.network_head))]
        if self.params.ar_weight > 0.0:
            editable, layout = corrupted.editable, Layout(segments=segments, positions=positions)
            next_token = Scored(editable, self.params.ar_weight * editable.double(), None)
            terms.append(Term(causal_view(x_1, layout, self.process.vocabulary.mask_id), next_token))
        return terms

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.weight > 0

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.weight

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

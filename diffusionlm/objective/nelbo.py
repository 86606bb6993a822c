"""The likelihood bound itself as the training loss.

    loss = NELBO / (editable tokens)

In expectation this is the negative ELBO in nats per token, for any discrete process; the formula is in
``diffusionlm.objective.bound``, and for the mask process it is E_t c(t) Σ_{i masked} CE_i. docs/MATH.md §1. Its weights
may be tamed for training (``weighting``); the loss is then no bound.
Sahoo et al. 2024, https://arxiv.org/abs/2406.07524 eq. 10; Shi et al. 2024, https://arxiv.org/abs/2406.04329.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams, Term
from diffusionlm.objective.bound import bound_of
from diffusionlm.objective.weighting import WeightingParams, check_weighting, training_weight
from diffusionlm.process.base import Corrupted


class NELBOParams(ObjectiveParams):
    """The negative evidence lower bound, in nats per token."""

    name: Literal["nelbo"] = "nelbo"
    weighting: WeightingParams = WeightingParams()
    """Weights of lower variance than the bound's, for training."""


class NELBO(Objective):
    """Negative ELBO. https://arxiv.org/abs/2406.07524"""

    Params = NELBOParams
    head = "leave_one_out"
    is_bound = True

    @property
    def reports_bound(self) -> bool:
        return super().reports_bound and self.params.weighting.rule == "none"

    @classmethod
    def check_params(cls, params: Any, process: Any) -> None:
        super().check_params(params, process)
        check_weighting(params.weighting, process)

    def terms(
        self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> list[Term]:
        view = self.process.view(corrupted, x_1, segments, positions)
        scored = bound_of(self.process, corrupted, self.network_head)
        weight = training_weight(self.params.weighting, self.process, corrupted, x_1)
        return [Term(view, replace(scored, chosen=weight > 0, weight=weight))]

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.weight > 0

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.weight

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

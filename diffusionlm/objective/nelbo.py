"""The likelihood bound itself as the training loss.

    loss = E_t c(t) Σ_{i noised} CE_i / (editable tokens)            (absorbing process)

In expectation this is the negative ELBO in nats per token; see docs/MATH.md §1. Sahoo et al. 2024,
https://arxiv.org/abs/2406.07524 eq. 10; Shi et al. 2024, https://arxiv.org/abs/2406.04329.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.process.base import Corrupted


class NELBOParams(ObjectiveParams):
    """The negative evidence lower bound, in nats per token."""

    name: Literal["nelbo"] = "nelbo"


class NELBO(Objective):
    """Negative ELBO. https://arxiv.org/abs/2406.07524"""

    Params = NELBOParams
    head = "leave_one_out"
    is_bound = True

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.weight

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

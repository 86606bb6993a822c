"""Plain cross-entropy at the noised positions.

    loss = Σ_{i noised} CE_i / (noised tokens)

Every masked token counts the same, whatever the noise level; not a bound. The "CE" variant of Gat et al. 2024,
https://arxiv.org/abs/2407.15595; Chang et al. 2022 (MaskGIT), https://arxiv.org/abs/2202.04200.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.process.base import Corrupted


class CEParams(ObjectiveParams):
    """Mean cross-entropy over the noised tokens."""

    name: Literal["ce"] = "ce"


class CE(Objective):
    """Mean cross-entropy of the noised tokens. https://arxiv.org/abs/2202.04200"""

    Params = CEParams
    head = "posterior"
    states = frozenset({"ids", "simplex"})

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised.double()

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised.sum()

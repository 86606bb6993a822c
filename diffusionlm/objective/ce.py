"""Plain cross-entropy at the noised positions.

    loss = Σ_{i noised} CE_i / (noised tokens)

Every noised token counts the same, whatever the noise level; not a bound. The "CE" variant of Gat et al. 2024,
https://arxiv.org/abs/2407.15595; Chang et al. 2022 (MaskGIT), https://arxiv.org/abs/2202.04200.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import ObjectiveParams
from diffusionlm.objective.noised import OfNoised
from diffusionlm.process.base import Corrupted


class CEParams(ObjectiveParams):
    """Mean cross-entropy over the noised tokens."""

    name: Literal["ce"] = "ce"


class CE(OfNoised):
    """Mean cross-entropy of the noised tokens. https://arxiv.org/abs/2202.04200"""

    Params = CEParams
    states = frozenset({"ids", "simplex"})

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised.double()

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        # Where times have a law of their own, tokens are counted as they are weighted.
        return (corrupted.noised if corrupted.importance is None else corrupted.noised * corrupted.importance).sum()

"""Plain cross-entropy at every editable position, the clean ones included.

    loss = Σ_{i editable} CE_i / (editable tokens)

It teaches p(x_i | z), what is there taken into account: how sure to be that a token that stands is right. That is what
correcting samplers (any position, Euler with a corrector) ask of a model. Not a bound. The cross-entropy of discrete
flow matching, Gat et al. 2024, https://arxiv.org/abs/2407.15595.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.process.base import Corrupted


class CEAllParams(ObjectiveParams):
    """Mean cross-entropy over all editable tokens."""

    name: Literal["ce_all"] = "ce_all"


class CEAll(Objective):
    """Mean cross-entropy of the editable tokens. https://arxiv.org/abs/2407.15595"""

    Params = CEAllParams
    head = "posterior"

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.double()

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

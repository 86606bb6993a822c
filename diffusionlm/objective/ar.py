"""Next-token prediction: the negative log-likelihood itself.

    loss = Σ_i −ln p_i(x_i | x_{<i}) / (editable tokens)

over every editable position, the first one of a document included (the process ``ar`` puts m in front of it). Equal to
``nelbo`` on that process; draws do not enter. Bengio et al. 2003; Radford et al. 2019,
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.process import ArProcess
from diffusionlm.process.base import Corrupted


class ARParams(ObjectiveParams):
    """Next-token cross-entropy, in nats per token."""

    name: Literal["ar"] = "ar"


class AR(Objective):
    """Autoregressive negative log-likelihood. GPT: https://arxiv.org/abs/2005.14165."""

    Params = ARParams
    head = "posterior"
    is_bound = True
    requires = ArProcess

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.double()

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()

"""Cross-entropy at the noised positions, less an entropy term that fades with time.

    loss = Σ_{i noised} [CE_i − λ(t)·H(p_i)] / (noised tokens),     λ(t) = λ·(1 − t)

The term rewards predictions that keep their alternatives while the state says little (Pereyra et al. 2017,
https://arxiv.org/abs/1701.06548). At λ = 0 it is ``ce``; above, its minimum is flatter than the posterior where t < 1.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.objective.base import ObjectiveParams
from diffusionlm.objective.ce import CE
from diffusionlm.objective.rows import Loss, Rows, cross_entropy


class CEEntropyParams(ObjectiveParams):
    """Mean cross-entropy over the noised tokens, less λ(1 − t) times the entropy of the prediction."""

    name: Literal["ce_entropy"] = "ce_entropy"
    entropy: float = Field(default=0.0, ge=0.0, lt=1.0)
    """λ; 0 = plain cross-entropy."""


class CEEntropy(CE):
    """Cross-entropy with a confidence penalty. https://arxiv.org/abs/1701.06548"""

    Params = CEEntropyParams

    def loss(self) -> Loss | None:
        strength, plain = self.params.entropy, super().loss()
        if strength == 0.0:
            return plain

        def penalised(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
            log_p = logits.log_softmax(-1)
            entropy = -(log_p.exp() * log_p).sum(-1)
            value = cross_entropy(logits, rows) if plain is None else plain(logits, rows)
            return value - strength * (1.0 - rows.t).to(logits.dtype) * entropy

        return penalised

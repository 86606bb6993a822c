"""The generalised KL of discrete flow matching: a bound for any mixture path, tight for the mask process alone.

    ℓ_i = c(t)·( 1[z_i = x_i] − p_i(z_i) − 1[z_i ≠ x_i]·ln p_i(x_i) ),      c = κ̇/(1 − κ)

It compares the rates *towards the data* of the true and of the predicted path. With the mask process, its visible
tokens carried over, it is the weighted cross-entropy of ``nelbo``. Where noise can look like text it is a valid bound
but a **loose** one, minimised by the posterior p(x_i | z): its value stands under its own name, never in one column
with the tight bound. Gat et al. 2024, "Discrete Flow Matching", https://arxiv.org/abs/2407.15595;
Shaul et al. 2024, https://arxiv.org/abs/2412.03487. docs/MATH.md.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.objective.rows import Loss, Rows
from diffusionlm.process.base import Bound, Corrupted, Process
from diffusionlm.process.mixture_path import MixturePath
from diffusionlm.registry import params_name


class GKLParams(ObjectiveParams):
    """The generalised KL of discrete flow matching, in nats per token."""

    name: Literal["gkl"] = "gkl"


class GKL(Objective):
    """Generalised KL of the rates to the data. https://arxiv.org/abs/2407.15595"""

    Params = GKLParams
    head = "posterior"
    is_bound = True
    process: MixturePath

    @classmethod
    def refusal(cls, process: type[Process]) -> str | None:
        if process.state == "ids" and process.bound != "none" and not issubclass(process, MixturePath):
            return (
                "objective 'gkl' needs noise whose kind never changes (a mixture path), which process "
                f"{params_name(process.Params)!r} does not have"
            )
        return super().refusal(process)

    @classmethod
    def tightness(cls, process: type[Process]) -> Bound:
        return process.bound if process.bound_form == "ce" else "loose"

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised if self.process.bound_form == "ce" else corrupted.editable

    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        if self.process.bound_form == "ce":
            return corrupted.weight
        if self.process.counts_first:
            return self.level_weight(corrupted)
        noise = corrupted.noise
        assert noise is not None, "a mixture path is discrete"
        return torch.where(corrupted.editable, noise.dkappa / (noise.mask + noise.uniform), 0.0)

    def level_weight(self, corrupted: Corrupted) -> torch.Tensor:
        """Return the weights (B, T) of a batch that was corrupted at times uniform in κ: c/κ̇ = 1/(1 − κ)."""
        if self.process.bound_form == "ce":
            return corrupted.weight
        noise = corrupted.noise
        assert noise is not None, "a mixture path is discrete"
        return torch.where(corrupted.editable, 1.0 / (noise.mask + noise.uniform), 0.0)

    def loss(self) -> Loss | None:
        return None if self.process.bound_form == "ce" else generalised_kl

    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.editable.sum()


def generalised_kl(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return 1[z = x] − p(z) − 1[z ≠ x]·ln p(x), (N,); predictions give the mask token no mass.

    At z = x it is 1 − p(x), written so that it keeps its precision where p is nearly one.
    """
    classes = logits.shape[1]
    total = logits.logsumexp(-1)
    log_x = logits.gather(1, rows.x[:, None]).squeeze(1) - total
    log_z = logits.gather(1, rows.z.clamp(max=classes - 1)[:, None]).squeeze(1) - total
    wrong = -log_x - torch.where(rows.z < classes, log_z.exp(), 0.0)
    return torch.where(rows.z == rows.x, -torch.expm1(log_x), wrong)

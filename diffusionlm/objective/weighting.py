"""Training weights of the bound: what a scored position counts, where the bound's own weights vary too much.

The bound is Σ_i w_i·D_i with w = ρ_t(z)/q_t(z|x) and D a divergence (``diffusionlm.objective.bound``). w grows without
limit towards both ends of time, and with it the variance of the gradient. Three rules of training replace it:

    clipped          min(w, limit)
    dynamic          2 where z is the mask token, 1 where it is a wrong token, (B/K)·e^{−λ/2} where it is the right one
    dynamic_release  the same, with the last one as GIDD's released code has it: B/(K + 1)·e^{σ(t − 1)/2}

In GIDD's terms B·e^{−λ/2} is c_t/(1 − t) with noise time t, and that is the ratio of the uniform noise's mass to κ, for
any ν_t; so ``dynamic`` is defined for every discrete process. Where the bound is written with the cross-entropy (the
mask process, D = κ·CE) ``clipped`` clips what multiplies the cross-entropy, c(t), and the other two give 2κ.
None of them is a bound, and the evaluator never uses one. von Rütte et al. 2025 (GIDD),
https://arxiv.org/abs/2503.04482 §4; the clip: also Sahoo et al. 2024, https://arxiv.org/abs/2406.07524.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, Process
from diffusionlm.process.base import Corrupted
from diffusionlm.process.discrete import DiscreteProcess
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.registry import params_name


class WeightingParams(Strict):
    """What a position counts in training; all but "none" give up the bound for less variance."""

    rule: Literal["none", "clipped", "dynamic", "dynamic_release"] = "none"
    """none = the bound's own weight; clipped = at most limit; dynamic, dynamic_release = GIDD's, as paper and code."""
    limit: float = Field(default=2.0, gt=0.0)
    """Largest weight under "clipped"."""


def training_weight(params: WeightingParams, process: Process, corrupted: Corrupted, x_1: torch.Tensor) -> torch.Tensor:
    """Return (B, T) float64, what each position counts; 0 where the bound has no term.

    Args:
        params: The rule.
        process: Discrete, unless the rule is "none" or "clipped".
        corrupted: Its batch.
        x_1: (B, T) int64 clean tokens.
    """
    if params.rule == "none":
        return corrupted.weight
    if params.rule == "clipped":
        return corrupted.weight.clamp(max=params.limit)
    noise, z = corrupted.noise, corrupted.x_t
    assert noise is not None, "checked when the objective was built"
    assert isinstance(z, torch.Tensor), "checked when the objective was built"
    if params.rule == "dynamic":
        right = noise.uniform / (noise.size * noise.kappa)
    else:
        assert isinstance(process, DiscreteProcess), "checked when the objective was built"
        at = torch.full((), 0.5, dtype=torch.float64, device=z.device)
        right = released_share(process, at) / (noise.size + 1) * torch.exp(torch.sigmoid(corrupted.t - 1.0) / 2.0)
    weight = torch.where(z == process.vocabulary.mask_id, 2.0, torch.where(z == x_1, right, 1.0))
    if process.bound_form == "ce":
        weight = weight * noise.kappa
    return torch.where(corrupted.weight > 0, weight, 0.0)


def released_share(process: DiscreteProcess, half: torch.Tensor) -> torch.Tensor:
    """Return B = uniform over mask mass at t = ½, which at GIDD's γ = 1 is its 2·p_u/(1 − p_u)."""
    noise = process.noise(half)
    return noise.uniform / noise.mask


def check_weighting(params: WeightingParams, process: Any) -> None:
    """Refuse a rule that a process has no numbers for.

    Args:
        params: The rule.
        process: Parameters of the process.

    Raises:
        PairingError: In one line.
    """
    if params.rule not in ("dynamic", "dynamic_release"):
        return
    kind, name = PROCESSES[params_name(type(process))], params_name(type(process))
    if not issubclass(kind, DiscreteProcess):
        raise PairingError(
            f'objective.weighting.rule = "{params.rule}" tells masks from wrong and right tokens, which process '
            f'{name!r} does not have; set it to "none" or "clipped"'
        )
    if params.rule == "dynamic_release":
        mask_id = process.mask_id if "mask_id" in type(process).model_fields else None
        some = PROCESSES.build(process, Vocabulary(1, mask_id or 1, (mask_id or 1) + 1))
        assert isinstance(some, DiscreteProcess), "asked above"
        if not math.isfinite(float(released_share(some, torch.full((), 0.5, dtype=torch.float64)))):
            raise PairingError(
                f'objective.weighting.rule = "dynamic_release" needs noise that is partly masks, and process {name!r} '
                'has none; set it to "dynamic"'
            )

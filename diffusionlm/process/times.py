"""Training and evaluation times: stratified over the global batch, one value per document.

A step draws one u; row b of the B rows of the whole step (all ranks, all micro-batches) takes t = (u + b/B) mod 1. The
documents of a packed row take further points of the same lattice, shifted by multiples of the golden ratio, so that
each document has its own t and every slice of the batch stays evenly spread. docs/MATH.md §0;
Kingma et al. 2021, "Variational Diffusion Models" §I.1, https://arxiv.org/abs/2107.00630.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.rng import scalar_uniform

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
"""The irrational whose multiples mod 1 stay the most evenly spread."""


class TimesParams(Strict):
    """How training times are drawn."""

    t_range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest t; narrower than (0, 1) the loss is no longer a bound."""
    per: Literal["document", "batch"] = "document"
    """One t per document, or one shared by the whole step (to reproduce a named system)."""
    epsilon: float = Field(default=1e-4, ge=0.0, lt=0.5)
    """Times are clipped to at most 1 − epsilon, which bounds the largest weight."""

    @model_validator(mode="after")
    def _ordered(self) -> TimesParams:
        low, high = self.t_range
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(f"t_range must be two increasing values in [0, 1], got [{low}, {high}]")
        return self

    @property
    def whole_range(self) -> bool:
        """Whether t covers all of [0, 1], as a bound needs."""
        return self.t_range == (0.0, 1.0)


def draw_times(
    params: TimesParams,
    seed: int,
    step: int,
    rows: torch.Tensor,
    global_rows: int,
    segments: torch.Tensor,
) -> torch.Tensor:
    """Return (B, T) float64 times for some rows of a step.

    Args:
        params: Range, sharing and clipping.
        seed: Seed of the run or of the evaluation.
        step: Optimizer step, or the index of an evaluation draw.
        rows: (B,) int64, the index of each row within the step's global batch.
        global_rows: Rows of the step over all ranks and micro-batches.
        segments: (B, T) int64, document segments; 0 is padding.
    """
    u = scalar_uniform(seed, "times", step)
    if params.per == "batch":
        unit = torch.full(segments.shape, u, dtype=torch.float64, device=segments.device)
    else:
        row = u + rows.to(segments.device, torch.float64)[:, None] / global_rows
        unit = (row + GOLDEN * (segments - 1).clamp_min(0).double()) % 1.0
    low, high = params.t_range
    return (low + (high - low) * unit).clamp(max=1.0 - params.epsilon)

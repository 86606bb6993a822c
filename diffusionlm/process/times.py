"""Training and evaluation times: stratified over the global batch, one value per document.

A step draws one u; row b of the B rows of the whole step (all ranks, all micro-batches) takes t = (u + b/B) mod 1. The
documents of a packed row take further points of the same lattice, shifted by multiples of the golden ratio, so that
each document has its own t and every slice of the batch stays evenly spread. docs/MATH.md §0;
Kingma et al. 2021, "Variational Diffusion Models" §I.1, https://arxiv.org/abs/2107.00630.

Times may follow another density than the uniform one, constant over equal bins of the range: where losses are large,
more of them are drawn, each counting 1/density, so that the expected loss is what it was and its variance is less.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal, Self

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
    law: Literal["uniform", "importance"] = "uniform"
    """Times uniform over the range, or with the density given, each then weighted by 1/density."""
    density: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    """Relative density over equal bins of the range, for law = "importance"; empty = uniform until a search."""
    search_every: int = Field(default=0, ge=0)
    """Steps between two searches on held-out rows for the law of least variance, the first one after as many steps;
    0 = none. With law = "uniform" they set t_range, with "importance" density."""
    search_ranges: tuple[tuple[float, float], ...] = ((0.0, 1.0), (0.0, 0.5), (0.05, 0.55), (0.2, 0.7), (0.5, 1.0))
    """Ranges that a search with law = "uniform" chooses from; BD3-LM's, in multiples of 0.05."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in [("t_range", self.t_range), *(("search_ranges", pair) for pair in self.search_ranges)]:
            if not 0.0 <= low < high <= 1.0:
                raise ValueError(f"{name} must be two increasing values in [0, 1], got [{low}, {high}]")
        if self.law == "uniform" and self.density:
            raise ValueError('density needs law = "importance"; set it, or leave density out')
        if self.law == "importance" and not self.density and not self.search_every:
            raise ValueError('law = "importance" needs a density, or search_every > 0 to find one')
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
    if params.density:
        edges = _edges(params.density, unit.device)
        index = torch.searchsorted(edges, unit, right=True).clamp(1, len(params.density))
        unit = (index - 1 + (unit - edges[index - 1]) / (edges[index] - edges[index - 1])) / len(params.density)
    low, high = params.t_range
    return (low + (high - low) * unit).clamp(max=1.0 - params.epsilon)


def time_weight(params: TimesParams, t: torch.Tensor) -> torch.Tensor:
    """Return what a loss at each time counts, so that its expectation is that of uniform times: 1/density, float64.

    Args:
        params: The law.
        t: Times as ``draw_times`` returned them, any shape.
    """
    if not params.density:
        return torch.ones_like(t)
    (low, high), bins = params.t_range, len(params.density)
    edges = _edges(params.density, t.device)
    index = ((t - low) / (high - low) * bins).long().clamp(0, bins - 1)
    return 1.0 / (bins * (edges[index + 1] - edges[index]))


@lru_cache(maxsize=8)
def _edges(density: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return the cumulative shares of the bins, (bins + 1,) float64; kept, so that a step copies nothing."""
    shares = torch.tensor(density, dtype=torch.float64).cumsum(0)
    return torch.cat((torch.zeros(1, dtype=torch.float64), shares / shares[-1])).to(device)

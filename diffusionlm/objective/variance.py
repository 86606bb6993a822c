"""How much the training loss varies, by noise level, and which law of training times makes it vary least.

A training step is a Monte-Carlo estimate whose variance the law of t decides. On held-out rows the loss ℓ of every
document (of every block, where blocks have times of their own), per editable token, is measured in equal bins of t:

    m_k = E[ℓ | t in bin k],   s_k = E[ℓ² | t in bin k]

**Clipped range.** With t uniform on [β, ω] the variance is mean s − (mean m)² over the bins inside, and the range of
least variance among the candidates is chosen: BD3-LM's data-driven clipped schedule (Arriola et al. 2025,
https://arxiv.org/abs/2503.09573 §5). The loss is then no bound; the evaluator keeps the whole range.

**Importance.** With density p and weight 1/p the mean stays and the variance is mean (s/p) − (mean m)², least for
p ∝ √s, the root mean square of the loss. Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672 §3.3.

The search is a function of the weights, the rows and the step alone, so a resumed run finds what the unbroken one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from diffusionlm.data.batch import Batch
from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective
from diffusionlm.objective.engine import Network, make_pass, run_pass
from diffusionlm.process.layout import time_groups
from diffusionlm.process.times import TimesParams, draw_times
from diffusionlm.rng import Draws, key

BINS = 20
LEAST_DENSITY = 0.05
"""Of an importance law, relative to its mean: a bin that looks harmless on a few rows is still visited."""


class Trainable(Network, Protocol):
    """A network with a training mode."""

    training: bool

    def train(self, mode: bool = True) -> object:
        """Switch between training and evaluation mode."""
        ...


@dataclass(frozen=True)
class Spread:
    """Moments of a document's loss in equal bins of t.

    Attributes:
        span: Lowest and highest t.
        mean, square: E[ℓ] and E[ℓ²] in each bin, in nats per token and their square.
    """

    span: tuple[float, float]
    mean: tuple[float, ...]
    square: tuple[float, ...]

    def variance(self, low: float, high: float) -> float:
        """Return the variance of the loss with t uniform on [low, high], inside the span."""
        shares = self._shares(low, high)
        first = sum(share * m for share, m in zip(shares, self.mean, strict=True))
        return sum(share * s for share, s in zip(shares, self.square, strict=True)) - first**2

    def importance_variance(self, density: Sequence[float]) -> float:
        """Return the variance of the weighted loss with t of a density, one relative value for each bin."""
        bins, total = len(self.mean), sum(density)
        first = sum(self.mean) / bins
        return sum(s * total / (bins * p) for s, p in zip(self.square, density, strict=True)) / bins - first**2

    def best_range(self, candidates: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Return the candidate of least variance, the earliest of equals."""
        return min(candidates, key=lambda pair: self.variance(*pair))

    def density(self) -> tuple[float, ...]:
        """Return the density of least variance, mean 1 before its floor."""
        rms = [s**0.5 for s in self.square]
        mean = sum(rms) / len(rms)
        return tuple(max(r / mean, LEAST_DENSITY) if mean > 0 else 1.0 for r in rms)

    def _shares(self, low: float, high: float) -> list[float]:
        begin, bins = self.span[0], len(self.mean)
        width = (self.span[1] - begin) / bins
        edges = [(begin + k * width, begin + (k + 1) * width) for k in range(bins)]
        return [max(0.0, min(b, high) - max(a, low)) / (high - low) for a, b in edges]


def measure_spread(
    objective: Objective,
    model: Trainable,
    batches: Sequence[Batch],
    *,
    seed: int,
    step: int,
    device: torch.device | str = "cpu",
    span: tuple[float, float] = (0.0, 1.0),
    bins: int = BINS,
) -> Spread:
    """Measure the loss of every document once in every bin of t, without the corruption modes of training.

    Args:
        objective: Its weights and losses are those of training.
        model: The network, on ``device``; in evaluation mode meanwhile.
        batches: Held-out rows.
        seed, step: Of the noise, a stream of its own.
        device: Where the batches go.
        span: Lowest and highest t.
        bins: Equal parts of the span; a pass over the rows each.
    """
    rows, low, width = sum(len(batch) for batch in batches), span[0], (span[1] - span[0]) / bins
    noise, was_training = key(seed, "search"), model.training
    moments = torch.zeros((3, bins), dtype=torch.float64)  # number, Σ ℓ, Σ ℓ²
    model.train(False)
    try:
        with torch.no_grad():
            first = 0
            for batch in (batch.to(device) for batch in batches):
                index = torch.arange(first, first + len(batch))
                groups = time_groups(batch.segments, objective.process.blocks(batch.positions))
                for k in range(bins):
                    part = (low + k * width, min(low + (k + 1) * width, 1.0))
                    law = TimesParams(t_range=part, epsilon=objective.times.epsilon)
                    t = draw_times(law, noise, step, index, rows, groups)
                    draws = Draws(noise, step * bins + k, batch.document, batch.window, batch.positions)
                    losses = _losses(objective, model, batch, t, groups, draws).cpu()
                    moments[:, k] += torch.stack([torch.ones_like(losses), losses, losses**2]).sum(1)
                first += len(batch)
    finally:
        model.train(was_training)
    number, mean, square = moments
    return Spread(span, tuple((mean / number).tolist()), tuple((square / number).tolist()))


def search_times(
    objective: Objective,
    model: Trainable,
    batches: Sequence[Batch],
    *,
    seed: int,
    step: int,
    device: torch.device | str,
) -> tuple[TimesParams, float]:
    """Return the times of least variance, of the kind that the objective's parameters ask for, and how much less.

    Returns:
        The times, and their variance as a share of that of uniform times over the range of the parameters.
    """
    asked = objective.params.times
    span = asked.t_range if asked.law == "importance" else (0.0, 1.0)
    spread = measure_spread(objective, model, batches, seed=seed, step=step, device=device, span=span)
    if asked.law == "importance":
        found = spread.density()
        chosen, variance = with_found(asked, found), spread.importance_variance(found)
    else:
        best = spread.best_range(asked.search_ranges)
        chosen, variance = with_found(asked, best), spread.variance(*best)
    before = spread.variance(*asked.t_range)
    return chosen, variance / before if before > 0 else 1.0


def found_in(times: TimesParams) -> list[float]:
    """Return what a search sets, as numbers for a checkpoint."""
    return list(times.density if times.law == "importance" else times.t_range)


def with_found(times: TimesParams, found: Sequence[float]) -> TimesParams:
    """Return the times with what a search found, the inverse of ``found_in``."""
    name = "density" if times.law == "importance" else "t_range"
    return times.model_copy(update={name: tuple(found)})


def _losses(
    objective: Objective, model: Network, batch: Batch, t: torch.Tensor, groups: torch.Tensor, draws: Draws
) -> torch.Tensor:
    """Return (G,) float64, the loss per editable token of every group of the batch that has any."""
    corrupted = objective.process.corrupt(batch.x_1, objective.clock(t), batch.editable, groups, draws)
    corrupted = replace(corrupted, segments=batch.segments)
    rows, length = batch.x_1.shape
    slot = (torch.arange(rows, device=groups.device)[:, None] * (length + 1) + groups).flatten()
    tokens = torch.bincount(slot[batch.editable.flatten()], minlength=rows * (length + 1))
    total = torch.zeros(len(tokens), dtype=torch.float64, device=groups.device)
    for term in objective.terms(corrupted, batch.x_1, batch.segments, batch.positions):
        one = make_pass(term, corrupted, batch.x_1)
        _, values = run_pass(model, one)
        total.index_add_(0, slot[one.rows.index], one.weight * values.double())
    present = tokens > 0
    return total[present] / tokens[present]

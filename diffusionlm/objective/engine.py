"""From a clean batch to a differentiable loss: corrupt, run the network, gather, chunked cross-entropy.

The loss of a step is a sum over rows divided by a count over the *whole* step (all micro-batches, all ranks), so the
caller corrupts every micro-batch first, adds up ``Prepared.denominator``, and only then runs ``loss_sum``. Splitting a
batch therefore never changes the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from diffusionlm.kernels.linear_cross_entropy import linear_cross_entropy
from diffusionlm.objective.base import Objective
from diffusionlm.process.base import Corrupted
from diffusionlm.process.layout import Layout
from diffusionlm.process.times import draw_times
from diffusionlm.rng import Draws

ROW_MULTIPLE = 256
"""Scored rows are padded to a multiple of this, in batches large enough for it not to matter."""


class Network(Protocol):
    """What the engine needs of a model; see ``diffusionlm.model.transformer.Transformer``."""

    @property
    def head_weight(self) -> torch.Tensor:
        """(K, D) head."""
        ...

    def __call__(
        self, x_t: torch.Tensor, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (N, D) states of the rows."""
        ...


class CleanBatch(Protocol):
    """What the engine needs of a batch; see ``diffusionlm.data``."""

    @property
    def x_1(self) -> torch.Tensor: ...
    @property
    def segments(self) -> torch.Tensor: ...
    @property
    def positions(self) -> torch.Tensor: ...
    @property
    def document(self) -> torch.Tensor: ...
    @property
    def window(self) -> torch.Tensor: ...
    @property
    def frozen(self) -> torch.Tensor: ...


@dataclass(frozen=True)
class Prepared:
    """A corrupted micro-batch with what its loss needs.

    Attributes:
        corrupted: The noisy states.
        layout: Segments (after cropping) and positions.
        rows: (N,) int64 flat indices of the scored positions, then repeats of the first one (see ``gather_scored``).
        target: (N,) int64 clean tokens there.
        weight: (N,) float64 weights there; 0 at the repeats.
        scored: How many of the N are scored.
        denominator: 0-dim int64, this batch's share of the divisor.
    """

    corrupted: Corrupted
    layout: Layout
    rows: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    scored: int
    denominator: torch.Tensor


@dataclass(frozen=True)
class LossSum:
    """The loss of a micro-batch before division.

    Attributes:
        total: 0-dim, Σ weight · CE in nats, differentiable.
        nll: CE of each scored row in nats, without gradient.
    """

    total: torch.Tensor
    nll: torch.Tensor


def prepare(
    objective: Objective, batch: CleanBatch, seed: int, step: int, rows_of_step: torch.Tensor, global_rows: int
) -> Prepared:
    """Corrupt a micro-batch.

    Args:
        objective: The objective, which knows its process.
        batch: Clean tokens, (B, T).
        seed: Seed of the corruption.
        step: Optimizer step.
        rows_of_step: (B,) int64, the index of each row within the step's global batch.
        global_rows: Rows of the whole step.
    """
    draws = Draws(seed=seed, step=step, document=batch.document, window=batch.window, position=batch.positions)
    segments = objective.crop(batch.segments, draws)
    t = objective.clock(draw_times(objective.params.times, seed, step, rows_of_step, global_rows, segments))
    editable = (segments > 0) & ~batch.frozen
    corrupted = objective.process.corrupt(batch.x_1, t, editable, segments, draws)
    rows, weight, scored = gather_scored(objective.scored(corrupted), objective.weight(corrupted))
    return Prepared(
        corrupted=corrupted,
        layout=Layout(segments=segments, positions=batch.positions),
        rows=rows,
        target=batch.x_1.flatten()[rows],
        weight=weight,
        scored=scored,
        denominator=objective.denominator(corrupted),
    )


def loss_sum(model: Network, prepared: Prepared) -> LossSum:
    """Run the network on a prepared micro-batch and return its undivided loss."""
    hidden = model(prepared.corrupted.x_t, prepared.corrupted.t, prepared.layout, prepared.rows)
    total, nll = linear_cross_entropy(hidden, model.head_weight, prepared.target, prepared.weight)
    return LossSum(total=total, nll=nll[: prepared.scored])


def gather_scored(chosen: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return the flat indices and weights of the chosen positions, padded to a round number, and how many are chosen.

    The number of noised positions differs from batch to batch, and matmul libraries compile and keep a kernel for every
    shape that they meet (oneDNN: milliseconds and 256 KiB each). Rounded up, with the first position repeated at weight
    0, a run meets a handful of shapes.

    Args:
        chosen: (B, T) bool.
        weight: (B, T), the weight of each chosen position.

    Returns:
        (N,) int64 indices, (N,) weights, and how many of the N are chosen.
    """
    rows = chosen.flatten().nonzero().squeeze(1)
    multiple = ROW_MULTIPLE if chosen.numel() >= 8 * ROW_MULTIPLE else 1
    padded = torch.cat((rows, rows[:1].expand(-len(rows) % multiple)))
    weights = weight.flatten()[padded]
    weights[len(rows) :] = 0.0
    return padded, weights, len(rows)

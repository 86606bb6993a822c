"""From a clean batch to a differentiable loss: corrupt, run the network, gather, chunked cross-entropy.

The loss of a step is a sum over rows divided by a count over the *whole* step (all micro-batches, all ranks), so the
caller corrupts every micro-batch first, adds up ``Prepared.denominator``, and only then runs ``loss_sum``. Splitting a
batch therefore never changes the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from diffusionlm.kernels.linear_cross_entropy import linear_cross_entropy
from diffusionlm.kernels.linear_row_loss import linear_row_loss
from diffusionlm.objective.base import Objective, Term
from diffusionlm.objective.masking import apply_masking
from diffusionlm.objective.rows import Loss, Rows
from diffusionlm.process.base import Corrupted, Tokens, View
from diffusionlm.process.layout import Layout, time_groups
from diffusionlm.process.times import draw_times, time_weight
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
        self, x_t: Tokens, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
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
class Pass:
    """One pass of the network over a corrupted micro-batch, with the rows that it scores.

    Attributes:
        view: What the network is shown.
        columns: (N,) int64 flat indices into the view of the scored rows.
        rows: What the loss may read at them.
        weight: (N,) float64 weights; 0 at the repeats.
        scored: How many of the N are scored; repeats of the first one follow (see ``gather_scored``).
        loss: Of a row; None = the cross-entropy.
    """

    view: View
    columns: torch.Tensor
    rows: Rows
    weight: torch.Tensor
    scored: int
    loss: Loss | None


@dataclass(frozen=True)
class Prepared:
    """A corrupted micro-batch with what its loss needs.

    Attributes:
        corrupted: The noisy states.
        passes: The passes of the network, of which most objectives have one.
        denominator: 0-dim int64 or float64, this batch's share of the divisor.
    """

    corrupted: Corrupted
    passes: tuple[Pass, ...]
    denominator: torch.Tensor


@dataclass(frozen=True)
class LossSum:
    """The loss of a micro-batch before division.

    Attributes:
        total: 0-dim, Σ weight · loss in nats, differentiable.
        values: Loss of each scored row in nats, without gradient.
    """

    total: torch.Tensor
    values: torch.Tensor


def prepare(
    objective: Objective,
    batch: CleanBatch,
    seed: int,
    step: int,
    rows_of_step: torch.Tensor,
    global_rows: int,
    time: float | None = None,
) -> Prepared:
    """Corrupt a micro-batch.

    Args:
        objective: The objective, which knows its process.
        batch: Clean tokens, (B, T).
        seed: Seed of the corruption.
        step: Optimizer step.
        rows_of_step: (B,) int64, the index of each row within the step's global batch.
        global_rows: Rows of the whole step.
        time: The time of every position, to look at one noise level; None draws times by the objective's law.
    """
    draws = Draws(seed=seed, step=step, document=batch.document, window=batch.window, position=batch.positions)
    segments = objective.crop(batch.segments, draws)
    segments, frozen, draws = apply_masking(objective.params.masking, segments, batch.frozen, draws)
    groups = time_groups(segments, objective.process.blocks(batch.positions))
    if time is None:
        t = draw_times(objective.times, seed, step, rows_of_step, global_rows, groups)
    else:
        t = torch.full(groups.shape, time, dtype=torch.float64, device=groups.device)
    corrupted = objective.process.corrupt(batch.x_1, objective.clock(t), (segments > 0) & ~frozen, groups, draws)
    importance = corrupted.importance
    if objective.times.density and time is None:
        of_law = time_weight(objective.times, t)
        importance = of_law if importance is None else of_law * importance
    corrupted = replace(corrupted, importance=importance, segments=segments)
    terms = objective.terms(corrupted, batch.x_1, segments, batch.positions)
    return Prepared(
        corrupted=corrupted,
        passes=tuple(make_pass(term, corrupted, batch.x_1) for term in terms),
        denominator=objective.denominator(corrupted),
    )


def make_pass(term: Term, corrupted: Corrupted, x_1: torch.Tensor) -> Pass:
    """Gather what a term scores."""
    weight = term.scored.weight if corrupted.importance is None else term.scored.weight * corrupted.importance
    index, weight, scored = gather_scored(term.scored.chosen, weight)
    rows = Rows.of(corrupted, x_1, index)
    return Pass(term.view, term.view.columns(index, x_1.shape[1]), rows, weight, scored, term.scored.loss)


def run_pass(model: Network, one: Pass) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the network on a pass: Σ weight · loss, differentiable, and (N,) the loss of each row, repeats included."""
    hidden = model(one.view.tokens, one.view.t, one.view.layout, one.columns)
    loss, rows = one.loss, one.rows
    if loss is None:
        return linear_cross_entropy(hidden, model.head_weight, rows.x, one.weight)
    return linear_row_loss(hidden, model.head_weight, one.weight, lambda logits, chunk: loss(logits, rows.part(chunk)))


def loss_sum(model: Network, prepared: Prepared) -> LossSum:
    """Run the network on a prepared micro-batch and return its undivided loss."""
    total, values = torch.zeros((), device=prepared.denominator.device), []
    for one in prepared.passes:
        part, value = run_pass(model, one)
        total = total + part
        values.append(value[: one.scored])
    return LossSum(total=total, values=torch.cat(values))


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

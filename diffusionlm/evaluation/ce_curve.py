"""The cross-entropy of clean tokens at a fixed grid of times: what a process without a likelihood bound can report.

    CE(t) = mean over tokens of −ln p(x_i | x_t),   t ∈ TIMES

Low times say how well the network knows language, high ones that it reads the state. The mean over the grid orders two
runs of one process; it bounds nothing, so it is never called a perplexity nor turned into bits per byte.
docs/MATH.md §3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.device import arithmetic_device
from diffusionlm.errors import DataError
from diffusionlm.evaluation.likelihood import ScoredModel
from diffusionlm.objective.base import Term
from diffusionlm.objective.bound import Scored
from diffusionlm.objective.engine import make_pass, run_pass
from diffusionlm.objective.rows import Loss, Rows, cross_entropy
from diffusionlm.process import Process
from diffusionlm.process.head import add_dense_evidence, convert_head
from diffusionlm.process.layout import time_groups
from diffusionlm.rng import Draws, key

TIMES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class CECurve:
    """Cross-entropies on a grid of times.

    Attributes:
        times: t of each.
        nats: Nats per token at each, mean over the tokens.
        tokens: Tokens scored at each.
    """

    times: tuple[float, ...]
    nats: tuple[float, ...]
    tokens: int

    @property
    def mean(self) -> float:
        """The mean over the grid, nats per token; not a bound."""
        return sum(self.nats) / len(self.nats)

    def words(self) -> str:
        """Return the curve in one line."""
        points = ", ".join(f"{nats:.3f} at t = {t:g}" for t, nats in zip(self.times, self.nats))
        return f"cross-entropy in nats per token (no bound exists for this process): {points}; mean {self.mean:.3f}"


def ce_curve(
    model: ScoredModel,
    process: Process,
    batches: Iterable[Batch],
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> CECurve:
    """Return the cross-entropies of some rows, with noise that depends on nothing but the seed.

    Args:
        model: On ``device``; in evaluation mode meanwhile.
        process: Any.
        batches: Rows of clean tokens, each window once; frozen positions are context, not scored.
        seed: Seed of the noise.
        device: Where the model is; the batches go to where its arithmetic happens.

    Raises:
        DataError: There is nothing to score.
    """
    place, tokens, was_training = arithmetic_device(device), 0, model.training
    totals = torch.zeros(len(TIMES), dtype=torch.float64, device=place)
    model.train(False)
    try:
        with torch.no_grad():
            for batch in batches:
                moved = batch.to(place)
                tokens += int(moved.editable.sum())
                totals += torch.stack([_at(model, process, moved, step, seed) for step in range(len(TIMES))])
    finally:
        model.train(was_training)
    if not tokens:
        raise DataError("there is nothing to score: the text has no tokens; give one with at least one document")
    return CECurve(TIMES, tuple((totals / tokens).tolist()), tokens)


def _at(model: ScoredModel, process: Process, batch: Batch, step: int, seed: int) -> torch.Tensor:
    """Return the sum of the cross-entropies of a batch at one time of the grid, 0-dim float64."""
    t = torch.full(batch.x_1.shape, TIMES[step], dtype=torch.float64, device=batch.x_1.device)
    groups = time_groups(batch.segments, process.blocks(batch.positions))
    noise = Draws(key(seed, "evaluation/ce"), step, batch.document, batch.window, batch.positions)
    # The measure is an evaluator's: noise at this very time, whatever training fixes first. No weight of it is read.
    corrupted = process.corrupt(batch.x_1, t, batch.editable, groups, noise, "level")
    view = process.view(corrupted, batch.x_1, batch.segments, batch.positions)
    weight = batch.editable.double()
    term = Term(view, Scored(batch.editable, weight, _posterior_loss(model, process)))
    one = make_pass(term, corrupted, batch.x_1)
    return (run_pass(model, one)[1].double() * one.weight).sum()


def _posterior_loss(model: ScoredModel, process: Process) -> Loss | None:
    """Return the cross-entropy of the posterior, whichever head the network has."""
    if model.kind == "posterior":
        return None

    def loss(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
        if rows.state is not None:
            evidence = rows.state.evidence(rows.index, logits.dtype)
            return cross_entropy(add_dense_evidence(logits, evidence, "leave_one_out", "posterior"), rows)
        assert rows.noise is not None, "a process over ids knows its noise"
        turned = convert_head(logits, rows.z, rows.noise, process.vocabulary, "leave_one_out", "posterior")
        return cross_entropy(turned, rows)

    return loss

"""The likelihood bound of a text under a model, with its standard error.

    NELBO(x) = E_{k ~ U(0,1)} Σ_{i noised} w_i·CE_i,     at the time t = κ⁻¹(k)  (the mask process)

The noise level is uniform in κ, not in t, so the value does not depend on the schedule (docs/MATH.md §1). For an
absorbing process w = 1/(1 − κ) with every token masked alone, or L/n with exactly n ~ U{1 … L} of a document's L tokens
masked, which has the same expectation and less variance: LLaDA's scorer, https://arxiv.org/abs/2502.09992, after
https://arxiv.org/abs/2406.03736. Other discrete noise has its number fixed first as well (``process/selection.py``).

Draw j of D scores a window (document d, piece w) at k = (u + d·φ + w·ψ + j/D) mod 1: one random u, two irrational
steps. Every k is uniform, so the estimate is unbiased; over the draws of a window the levels are stratified, and over
windows they are spread evenly. Which positions are noised is a function of (seed, draw, document, window, position)
alone. So neither the levels nor the noise, and hence not the value, depend on the batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.device import arithmetic_device
from diffusionlm.errors import DataError, PairingError
from diffusionlm.evaluation.summary import BoundName, Estimator, LikelihoodReport, WindowScores, summarise
from diffusionlm.objective.base import Term
from diffusionlm.objective.bound import Scored, bound_of
from diffusionlm.objective.engine import Network, make_pass, run_pass
from diffusionlm.objective.gkl import GKL, GKLParams
from diffusionlm.process import Process
from diffusionlm.process.base import Corrupted
from diffusionlm.process.head import Head
from diffusionlm.process.layout import time_groups
from diffusionlm.process.times import GOLDEN
from diffusionlm.rng import Draws, key, scalar_uniform

PSI = math.sqrt(2.0) - 1.0
SILVER = math.sqrt(3.0) - 1.0
LARGEST_LEVEL = 1.0 - 1e-9
"""Beyond it a weight 1/(1 − κ) would be all rounding; the share of the integral left out is below 1e-9."""


class ScoredModel(Network, Protocol):
    """A network that can be put into evaluation mode, and says what its output is."""

    training: bool

    @property
    def kind(self) -> Head:
        """What its logits are."""
        ...

    def train(self, mode: bool = True) -> object:
        """Switch between training and evaluation mode."""
        ...


def likelihood(
    model: ScoredModel,
    process: Process,
    batches: Iterable[Batch],
    byte_lengths: np.ndarray,
    *,
    draws: int,
    seed: int,
    estimator: Estimator = "exact_count",
    bound: BoundName = "nelbo",
    device: torch.device | str = "cpu",
    on_rows: Callable[[int], None] | None = None,
) -> LikelihoodReport:
    """Bound the likelihood of some rows.

    The arguments are those of ``score_windows``; the numbers are explained at ``LikelihoodReport``.

    Raises:
        PairingError: The process has no likelihood bound, or not this one.
        DataError: There is nothing to score.
    """
    scores = score_windows(
        model,
        process,
        batches,
        byte_lengths,
        draws=draws,
        seed=seed,
        estimator=estimator,
        bound=bound,
        device=device,
        on_rows=on_rows,
    )
    return report_of(scores, process, estimator, bound)


def report_of(
    scores: WindowScores, process: Process, estimator: Estimator = "exact_count", bound: BoundName = "nelbo"
) -> LikelihoodReport:
    """Return the report of what ``score_windows`` found, or of a part of it.

    Raises:
        DataError: The scored tokens stand for no bytes at all.
    """
    tightness = process.bound if bound == "nelbo" else GKL.tightness(type(process))
    used: Estimator = estimator if process.counts else "bernoulli"
    return summarise(scores, used, tightness if process.random else "exact", bound)


def score_windows(
    model: ScoredModel,
    process: Process,
    batches: Iterable[Batch],
    byte_lengths: np.ndarray,
    *,
    draws: int,
    seed: int,
    estimator: Estimator = "exact_count",
    bound: BoundName = "nelbo",
    device: torch.device | str = "cpu",
    on_rows: Callable[[int], None] | None = None,
) -> WindowScores:
    """Return the bound estimate of every window, one for each draw.

    Args:
        model: The network, on ``device``. It is in evaluation mode meanwhile, and computes in its own dtype.
        process: The noising process; its schedule does not change the value.
        batches: Rows of clean tokens, each window once; frozen positions are context, not scored.
        byte_lengths: (K,) int64, UTF-8 bytes of each token (``Tokenizer.byte_lengths()``).
        draws: D, noise levels per window, at least 1; 1 is made of it where nothing is random (autoregression).
        seed: Seed of the noise; a stream of its own, apart from training's with the same seed.
        estimator: ``exact_count`` (lower variance) or ``bernoulli``; discrete processes have the choice.
        bound: The negative ELBO, for which the network's head is converted to the leave-one-out predictive; or the
            generalised KL, a loose bound for noise that can look like text, at the posterior.
        device: Where the model is; the batches go to where its arithmetic happens.
        on_rows: Called with the number of rows just scored, for a progress bar.

    Raises:
        PairingError: The process has no likelihood bound.
        DataError: There is nothing to score.
    """
    assert draws >= 1, f"{draws} draws; at least one is needed"
    if process.bound == "none":
        name = type(process.params).model_fields["name"].default
        raise PairingError(f"process {name!r} has no likelihood bound; report generation metrics instead")
    draws = draws if process.random else 1  # the others would repeat the first
    if bound == "gkl":
        GKL.check(type(process))
    place = arithmetic_device(device)
    lengths = torch.as_tensor(byte_lengths, dtype=torch.int64).to(place)
    parts: list[tuple[np.ndarray, ...]] = []
    rows, was_training = 0, model.training
    model.train(False)
    try:
        with torch.no_grad():
            for batch in batches:
                parts.append(_score_batch(model, process, batch.to(place), lengths, draws, seed, estimator, bound))
                rows += draws * len(batch)
                if on_rows is not None:
                    on_rows(draws * len(batch))
    finally:
        model.train(was_training)
    if not parts or not sum(part[0].size for part in parts):
        raise DataError("there is nothing to score: the text has no tokens; give one with at least one document")
    document, window, tokens, sizes = (np.concatenate([part[i] for part in parts]) for i in range(4))
    return WindowScores(document, window, tokens, sizes, np.concatenate([part[4] for part in parts], axis=1), rows)


def _scored(process: Process, corrupted: Corrupted, head: Head, bound: BoundName) -> Scored:
    """Return what a bound scores, with weights per level."""
    if bound == "nelbo":
        return bound_of(process, corrupted, head)
    objective = GKL(GKLParams(head=head), process)
    return Scored(objective.scored(corrupted), objective.level_weight(corrupted), objective.with_head(objective.loss()))


def noise_levels(batch: Batch, blocks: torch.Tensor | None, draw: int, draws: int, seed: int) -> torch.Tensor:
    """Return (B, T) float64 levels k ∈ [0, 1) of one draw, constant over a window, or over each of its blocks (B, T).

    See the module's docstring; blocks take a third irrational step.
    """
    u = scalar_uniform(seed, "evaluation/times", 0)
    base = u + batch.document.double() * GOLDEN + batch.window.double() * PSI + draw / draws
    return (base if blocks is None else base + blocks.double() * SILVER) % 1.0


def _score_batch(
    model: ScoredModel,
    process: Process,
    batch: Batch,
    byte_lengths: torch.Tensor,
    draws: int,
    seed: int,
    estimator: Estimator,
    bound: BoundName,
) -> tuple[np.ndarray, ...]:
    """Return document, window, tokens, bytes (S,) and nats (D, S) of the windows of a batch."""
    editable, groups = batch.editable, batch.x_1.shape[0] * (batch.x_1.shape[1] + 1)
    row = torch.arange(batch.x_1.shape[0], device=batch.x_1.device)[:, None]
    group = (row * (batch.x_1.shape[1] + 1) + batch.segments).flatten()  # every window of the batch has its own
    tokens = torch.bincount(group[editable.flatten()], minlength=groups)
    present = tokens.nonzero().squeeze(1)  # (S,)

    def total(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return torch.zeros(groups, dtype=values.dtype, device=values.device).index_add_(0, where, values)[present]

    def name(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(groups, dtype=torch.int64, device=values.device).scatter_(0, group, values.flatten())[
            present
        ]

    sizes = torch.where(editable, byte_lengths[batch.x_1.clamp(max=len(byte_lengths) - 1)], 0)
    nats, blocks = [], process.blocks(batch.positions)
    shared = time_groups(batch.segments, blocks)
    for draw in range(draws):
        level = noise_levels(batch, blocks, draw, draws, seed).clamp(max=LARGEST_LEVEL)
        noise = Draws(key(seed, "evaluation"), draw, batch.document, batch.window, batch.positions)
        corrupted = process.corrupt_level(batch.x_1, level, editable, shared, noise, estimator)
        view = process.view(corrupted, batch.x_1, batch.segments, batch.positions)
        one = make_pass(Term(view, _scored(process, corrupted, model.kind, bound)), corrupted, batch.x_1)
        _, values = run_pass(model, one)
        nats.append(total(one.weight * values.double(), group[one.rows.index]))
    parts = (name(batch.document), name(batch.window), tokens[present], total(sizes.flatten(), group))
    return (*(part.cpu().numpy() for part in parts), torch.stack(nats).cpu().numpy())

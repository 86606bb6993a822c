"""Bounds at the exact head on a tiny joint: by enumeration and quadrature, and through the evaluator.

    ∫ dk Σ_x p(x) Σ_z q_t(z | x) Σ_i w_i · loss_i,     t = the time of level k

Every sequence, every noisy state and a Gauss–Legendre grid of levels: no random number is drawn, so a tight bound gives
the entropy to the accuracy of the quadrature. docs/MATH.md §1.
"""

from __future__ import annotations

import math

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.evaluation import score_windows
from diffusionlm.objective import Objective
from diffusionlm.objective.base import Term
from diffusionlm.objective.bound import bound_of
from diffusionlm.objective.engine import make_pass, run_pass
from diffusionlm.oracle import ExactHead, Joint
from diffusionlm.oracle.joint import gauss_legendre
from diffusionlm.process import Corrupted, DiscreteProcess, Process
from diffusionlm.process.base import Measure
from diffusionlm.rng import Draws

NODES = 64


def levels(process: Process) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return nodes and weights of the integral over levels, 0-dim float64; one where nothing depends on the time."""
    if not process.random:
        return [(torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))]
    return list(zip(*gauss_legendre(NODES), strict=True))


def every_state(process: Process, joint: Joint, t: torch.Tensor, measure: Measure) -> tuple[Corrupted, Batch]:
    """Return all pairs of a sequence and a noisy state that the noise can make of it at a time, as a corrupted batch.

    Args:
        process: The process, with a bound.
        joint: The data distribution, K^L.
        t: 0-dim float64.
        measure: What the times are uniform in.
    """
    if not process.random:  # each sequence has one state
        batch = rows_of(joint.sequences())
        everywhere = torch.ones_like(batch.x_1, dtype=torch.bool)
        draws = Draws(0, 0, batch.document, batch.window, batch.positions)
        return process.corrupt(batch.x_1, t.expand(everywhere.shape), everywhere, batch.segments, draws, measure), batch
    assert isinstance(process, DiscreteProcess), "states are enumerated from the noise of each position"
    size, length = joint.vocabulary, joint.length
    ids = torch.tensor([*range(size), process.vocabulary.mask_id])
    z = torch.cartesian_prod(*[ids] * length).reshape(-1, length)
    x = joint.sequences().repeat_interleave(len(z), 0)
    z = z.repeat(size**length, 1)
    possible = (process.noise(t.expand(x.shape)).marginal(z, x, process.vocabulary) > 0).all(1)
    x, z = x[possible], z[possible]
    noise = process.noise(t.expand(x.shape))
    weight = noise.rate(z, process.vocabulary) / noise.marginal(z, x, process.vocabulary)
    if process.bound_form == "ce":
        weight = weight * noise.kappa  # the braces of the bound are κ·CE there
    if measure == "level":
        weight = weight / process.level_rate(t)
    everywhere = torch.ones_like(x, dtype=torch.bool)
    corrupted = Corrupted(z, t.expand(x.shape), z != x, everywhere, weight, 1.0 - noise.kappa, noise)
    return corrupted, rows_of(x)


def rows_of(x: torch.Tensor) -> Batch:
    """Return sequences (B, L) as rows, each a document of its own."""
    ones = torch.ones_like(x)
    return Batch(
        x_1=x,
        segments=ones,
        positions=torch.arange(x.shape[1]).expand_as(x),
        document=torch.arange(len(x))[:, None].expand_as(x),
        window=ones * 0,
        frozen=ones < 0,
    )


def exact_bound(process: Process, joint: Joint) -> float:
    """Return the bound that the evaluator estimates, in nats per sequence, at the exact leave-one-out head."""
    model, total = ExactHead(joint, process, "leave_one_out"), 0.0
    for k, share in levels(process):
        corrupted, batch = every_state(process, joint, process.time_of_level(k), "level")
        view = process.view(corrupted, batch.x_1, batch.segments, batch.positions)
        term = Term(view, bound_of(process, corrupted, model.kind))
        total += float(share) * _expected(model, corrupted, batch, [term])
    return total


def exact_loss(objective: Objective, process: Process, joint: Joint) -> float:
    """Return the expectation of a training loss, in nats per sequence, at the exact head that it declares.

    Training times are uniform in t, and the integral runs over levels, dt = dk/(d level/dt): where a loss has a pole in
    t at an end of the clock, the process's levels have none.
    """
    model, total = ExactHead(joint, process, objective.network_head), 0.0
    for k, share in levels(process):
        t = process.time_of_level(k)
        corrupted, batch = every_state(process, joint, objective.clock(t), "t")
        terms = objective.terms(corrupted, batch.x_1, batch.segments, batch.positions)
        total += float(share / process.level_rate(t)) * _expected(model, corrupted, batch, terms)
    return total


def _expected(model: ExactHead, corrupted: Corrupted, batch: Batch, terms: list[Term]) -> float:
    """Return Σ_x p(x) Σ_z q(z | x) Σ_i weight · loss over all pairs of a sequence and a state."""
    joint, x_t = model.joint, corrupted.x_t
    chance = joint.log_probability(batch.x_1).exp()
    if corrupted.noise is not None:
        assert isinstance(x_t, torch.Tensor), "states of a discrete process are ids"
        chance = chance * corrupted.noise.marginal(x_t, batch.x_1, model.process.vocabulary).prod(1)
    total = 0.0
    for term in terms:
        one = make_pass(term, corrupted, batch.x_1)
        _, values = run_pass(model, one)
        row = one.rows.index // joint.length
        total += float((chance[row] * one.weight * values.double()).sum())
    return total


def evaluator_bound(process: Process, joint: Joint, rows: int, draws: int) -> tuple[float, float, float]:
    """Return what ``flowlm eval`` would say in nats per sequence, the exact answer, and the standard error.

    Every sequence takes part in proportion to its probability, so the noise is all that is random.
    """
    counts = (joint.flat() * rows).round().long()
    batch = rows_of(joint.sequences().repeat_interleave(counts, 0))
    lengths = torch.ones(joint.vocabulary, dtype=torch.int64).numpy()
    head = ExactHead(joint, process, "posterior")
    per_row = score_windows(head, process, [batch], lengths, draws=draws, seed=0).nats.mean(0)
    exact = float((counts.double() * -joint.flat().log()).sum() / counts.sum())
    return float(per_row.mean()), exact, float(per_row.std(ddof=1)) / math.sqrt(len(per_row))

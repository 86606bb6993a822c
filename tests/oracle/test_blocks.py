"""Block diffusion between autoregression and the mask bound, and autoregression itself, on joints that are enumerated.

The head is the exact predictive from what each column of the network's view may know. With such a head every bound
here is −ln p(x) of the joint, whatever the block length, so the bounds are told apart by a ``Flattened`` head, whose
conditionals belong to no joint: its bound depends on the block length, and is enumerated.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from diffusionlm.evaluation.likelihood import score_windows
from diffusionlm.generation.loop import sample
from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import PROCESSES, Process, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters
from diffusionlm.sampling.predictor import ModelPredictor
from tests.oracle.joint import Joint, OracleModel, OraclePredictor, noise_floor, random_joint, total_variation
from tests.oracle.test_mask_bound import rows_of
from tests.oracle.test_samplers import canvas

K, L = 3, 4
TRUTH, OTHER = random_joint(K, L, seed=0), random_joint(K, L, seed=9)
BYTES = np.ones(K, dtype=np.int64)


def build(name: str, **values: object) -> Process:
    return PROCESSES.build(PROCESSES[name].Params.model_validate(values), Vocabulary.after(K))


def conditional_nll(joint: Joint, x: torch.Tensor) -> torch.Tensor:
    """Return Σ_i −ln p_i(x_i | x_{<i}) by the table, (N,)."""
    return -joint.log_probability(x)


class Flattened(OracleModel):
    """A head with p^(1/2), normalised, in place of p."""

    def __call__(self, *arguments: Any) -> torch.Tensor:
        return super().__call__(*arguments) / 2

    @staticmethod
    def probabilities(p: torch.Tensor) -> torch.Tensor:
        return p.sqrt() / p.sqrt().sum(-1, keepdim=True)


def block_bound(head: Joint, x: torch.Tensor, length: int, flat: bool = True) -> torch.Tensor:
    """Return the block bound of sequences (N, L) by enumeration: exact counts of every mask of every block."""
    oracle, total = OraclePredictor(head), torch.zeros(len(x), dtype=torch.float64)
    for start in range(0, L, length):
        block = list(range(start, min(start + length, L)))
        for n in range(1, len(block) + 1):
            masks = list(itertools.combinations(block, n))
            for masked in masks:
                z = x.clone()
                z[:, block[-1] + 1 :] = head.mask_id
                z[:, list(masked)] = head.mask_id
                p = Flattened.probabilities(oracle.probabilities(z)) if flat else oracle.probabilities(z)
                cost = -sum(p[torch.arange(len(x)), i, x[:, i]].log() for i in masked)
                total += cost * (len(block) / n) / len(block) / len(masks)
    return total


def evaluator(
    process: Process, head: OracleModel, x: torch.Tensor, draws: int, estimator: str = "exact_count"
) -> np.ndarray:
    scores = score_windows(head, process, [rows_of(x)], BYTES, draws=draws, seed=1, estimator=estimator)  # type: ignore[arg-type]
    return scores.nats


def test_the_autoregressive_likelihood_is_exact_in_one_draw() -> None:
    x = TRUTH.sequences()
    nats = evaluator(build("ar"), OracleModel(TRUTH), x, draws=7)
    assert nats.shape[0] == 1
    assert np.allclose(nats[0], conditional_nll(TRUTH, x).numpy(), atol=1e-12)


@pytest.mark.parametrize("objective", ["ar", "nelbo"])
def test_the_autoregressive_loss_is_the_likelihood(objective: str) -> None:
    x = TRUTH.sequences()
    made = OBJECTIVES.build(OBJECTIVES[objective].Params(), build("ar"))
    part = prepare(made, rows_of(x), 0, 3, torch.arange(len(x)), len(x))
    loss = float(loss_sum(OracleModel(TRUTH), part).total / part.denominator)
    assert loss == pytest.approx(float(conditional_nll(TRUTH, x).mean()) / L, rel=1e-6)


@pytest.mark.parametrize("estimator", ["exact_count", "bernoulli"])
def test_blocks_of_one_token_are_autoregression(estimator: str) -> None:
    x = TRUTH.sequences()
    [exact] = evaluator(build("ar"), Flattened(OTHER), x, draws=1)
    assert np.allclose(exact, block_bound(OTHER, x, 1).numpy(), atol=1e-12)
    nats = evaluator(
        build("block", block_length=1), Flattened(OTHER), x, draws=4 if estimator == "exact_count" else 200
    )
    if estimator == "exact_count":  # n = 1 of 1 at weight 1: no randomness is left
        assert np.allclose(nats, exact[None], atol=1e-12)
    error = nats.std(axis=0, ddof=1) / math.sqrt(len(nats))
    assert bool((np.abs(nats.mean(0) - exact) < 5 * error + 1e-9).all())


def test_one_block_is_the_mask_bound_draw_by_draw() -> None:
    x = TRUTH.sequences()
    block = evaluator(build("block", block_length=L), Flattened(OTHER), x, draws=6)
    mask = evaluator(build("mask"), Flattened(OTHER), x, draws=6)
    assert np.allclose(block, mask, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("estimator", ["exact_count", "bernoulli"])
def test_the_evaluator_gives_the_enumerated_block_bound(length: int, estimator: str) -> None:
    x = TRUTH.sequences()
    exact = block_bound(OTHER, x, length)
    nats = torch.from_numpy(evaluator(build("block", block_length=length), Flattened(OTHER), x, 60, estimator)).mean(0)
    # 81 sequences, 60 draws each: the mean over sequences is known within its own spread.
    difference = nats - exact
    error = max(float(difference.std()) / math.sqrt(len(x)), 1e-9)
    assert abs(float(difference.mean())) < 4.5 * error
    assert error < 0.02 * float(exact.mean())


def test_the_bound_depends_on_the_block_length_unless_the_head_is_exact() -> None:
    x, p = TRUTH.sequences(), TRUTH.flat()
    values = [float((p * block_bound(OTHER, x, length)).sum()) for length in range(1, L + 1)]
    assert min(b - a for a, b in itertools.pairwise(sorted(values))) > 1e-3
    for length in range(1, L + 1):
        assert torch.allclose(block_bound(TRUTH, x, length, flat=False), conditional_nll(TRUTH, x), atol=1e-9)


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_training_loss_is_the_enumerated_block_bound(corruption: str, length: int) -> None:
    x, steps = TRUTH.sequences(), 60
    objective = OBJECTIVES.build(
        OBJECTIVES["nelbo"].Params(), build("block", block_length=length, corruption=corruption)
    )
    losses = torch.zeros(steps, dtype=torch.float64)
    for step in range(steps):
        part = prepare(objective, rows_of(x), 7, step, torch.arange(len(x)), len(x))
        losses[step] = loss_sum(Flattened(OTHER), part).total / part.denominator
    exact = float(block_bound(OTHER, x, length).mean()) / L
    error = float(losses.std()) / math.sqrt(steps)
    # What t ≤ 1 − 1e-4 leaves out is below 1e-3 of the bound.
    assert abs(float(losses.mean()) - exact) < 4.5 * error + 1e-3 * exact
    assert error < 0.02 * exact


def test_the_joint_loss_is_the_sum_of_its_parts() -> None:
    x, steps, weight = TRUTH.sequences(), 10, 0.5
    made = {
        name: OBJECTIVES.build(OBJECTIVES[name].Params.model_validate(values), build(process))
        for name, process, values in (
            ("nelbo", "mask", {}),
            ("ar", "ar", {}),
            ("joint", "mask", {"ar_weight": weight}),
        )
    }
    for step in range(steps):
        loss = {}
        for name, objective in made.items():
            part = prepare(objective, rows_of(x), 7, step, torch.arange(len(x)), len(x))
            loss[name] = float(loss_sum(Flattened(OTHER), part).total / part.denominator)
        assert loss["joint"] == pytest.approx(loss["nelbo"] + weight * loss["ar"], rel=1e-6)


SAMPLES = 20_000


def drawn(process: Process, sampler: str, steps: int) -> torch.Tensor:
    rule = SAMPLERS.build(SAMPLERS[sampler].Params(), process, Filters())
    many = canvas(SAMPLES)
    many = type(many)(
        torch.zeros(SAMPLES, L, dtype=torch.int64),
        torch.ones(SAMPLES, L).bool(),
        torch.ones(SAMPLES, L).long(),
        many.sample,
    )
    return sample(ModelPredictor(OracleModel(TRUTH), many.layout(), process), rule, many, steps=steps, seed=5).ids


def test_left_to_right_has_exactly_the_joint_law() -> None:
    ids = drawn(build("ar"), "ar", 1)
    assert total_variation(TRUTH, ids) < 1.5 * noise_floor(TRUTH, SAMPLES)


@pytest.mark.parametrize(("length", "sampler", "steps", "slack"), [
    (1, "ancestral", L, 0.0),
    (2, "confidence", L, 0.0),
    (2, "ancestral", 64, 0.01),
    (4, "confidence", L, 0.0),
])  # fmt: skip
def test_samplers_inside_blocks_have_the_joint_law(length: int, sampler: str, steps: int, slack: float) -> None:
    ids = drawn(build("block", block_length=length), sampler, steps)
    assert total_variation(TRUTH, ids) < 1.5 * noise_floor(TRUTH, SAMPLES) + slack

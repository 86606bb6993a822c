"""The mask bound equals the entropy with an exact head, for every schedule, in both forms (docs/MATH.md §1, §6)."""

import math
from typing import Literal

import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.evaluation.likelihood import likelihood, score_windows
from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import PROCESSES, MaskProcess, Vocabulary
from diffusionlm.rng import Draws
from tests.oracle.joint import (
    Joint,
    OracleModel,
    bernoulli_bound,
    exact_count_bound,
    gauss_legendre,
    masked_cross_entropy,
    masks_by_count,
    random_joint,
)

SCHEDULES = ["linear", {"name": "polynomial", "exponent": 3.0}, "cosine", "quadratic"]
JOINTS = [random_joint(3, 3, seed=0), random_joint(5, 4, seed=1), random_joint(2, 4, seed=2, sharpness=3.0)]


def mask_process(joint: Joint, schedule, corruption: str = "bernoulli") -> MaskProcess:
    table = {"name": schedule} if isinstance(schedule, str) else schedule
    params = PROCESSES["mask"].Params.model_validate({"schedule": table, "corruption": corruption})
    process = PROCESSES.build(params, Vocabulary.after(joint.vocabulary))
    assert isinstance(process, MaskProcess)
    return process


def rows_of(x: torch.Tensor, document: torch.Tensor | None = None) -> Batch:
    """Return sequences (B, L) as rows, each a document of its own."""
    ones = torch.ones_like(x)
    index = torch.arange(len(x)) if document is None else document
    return Batch(
        x_1=x,
        segments=ones,
        positions=torch.arange(x.shape[1]).expand_as(x),
        document=index[:, None].expand_as(x),
        window=ones * 0,
        frozen=ones.bool() & False,
    )


@pytest.mark.parametrize("joint", JOINTS, ids=["3^3", "5^4", "2^4"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "polynomial", "cosine", "quadratic"])
def test_bernoulli_bound_is_the_entropy(joint, schedule):
    schedule = mask_process(joint, schedule).schedule
    assert bernoulli_bound(joint, schedule.kappa, schedule.jump_rate) == pytest.approx(joint.entropy(), abs=1e-3)


@pytest.mark.parametrize("joint", JOINTS, ids=["3^3", "5^4", "2^4"])
def test_exact_count_bound_is_the_entropy(joint):
    assert exact_count_bound(joint) == pytest.approx(joint.entropy(), abs=1e-9)


def noised_rows(process: MaskProcess, t: torch.Tensor, measure: Literal["t", "level"], repeats: int, length: int):
    """Return what corrupt() makes of ``repeats`` rows at each time: masks as numbers (Q, R), weights, probabilities."""
    shape = (len(t) * repeats, length)
    row = torch.arange(shape[0])[:, None].expand(shape)
    x, everywhere = torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool)
    draws = Draws(0, 0, row, x, torch.arange(length).expand(shape))
    times = t.repeat_interleave(repeats)[:, None].expand(shape)
    out = process.corrupt(x, times, everywhere, x + 1, draws, measure=measure)
    assert bool((out.x_t == process.vocabulary.mask_id).eq(out.noised).all())
    code = (out.noised.long() << torch.arange(length)).sum(1)
    by_time = (len(t), repeats * length)
    weight, noised = out.weight.reshape(by_time), out.noised.reshape(by_time)
    largest = weight.amax(1)
    assert bool(noised.any(1).all()), "a time at which nothing was noised shows no weight"
    assert torch.equal(weight, torch.where(noised, largest[:, None], 0.0)), "one weight per time"
    return code.reshape(len(t), repeats), largest, out.noise_probability.reshape(by_time)[:, 0]


def grid(corruption: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes in (0, 1) and their weights, exact for what each form integrates.

    A polynomial of degree L − 1 in κ (Gauss–Legendre), or a step function with L equal steps (midpoints).
    """
    if corruption == "bernoulli":
        return gauss_legendre(8)
    nodes = (torch.arange(2 * length, dtype=torch.float64) + 0.5) / (2 * length)
    return nodes, torch.full_like(nodes, 1 / len(nodes))


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "polynomial", "cosine", "quadratic"])
@pytest.mark.parametrize("measure", ["t", "level"])
def test_the_process_weights_integrate_to_the_entropy(schedule, measure, corruption):
    """The weights that corrupt() returns, at the masks' own probabilities, against all 2^L masks and all times."""
    joint, repeats = JOINTS[1], 8192
    process = mask_process(joint, schedule, corruption)
    nodes, node_weight = grid(corruption, joint.length)
    t = nodes if measure == "t" else process.schedule.inverse(nodes)
    code, weight, noise_probability = noised_rows(process, t, measure, repeats, joint.length)
    n, cross_entropy = masks_by_count(joint.length), masked_cross_entropy(joint)
    p = noise_probability[:, None]
    if corruption == "bernoulli":
        probability = p**n * (1 - p) ** (joint.length - n)
    else:
        ways = torch.tensor([math.comb(joint.length, int(count)) for count in n], dtype=torch.float64)
        probability = ((joint.length * p).round() == n).double() / ways
    assert torch.allclose(probability.sum(1), torch.ones(len(t), dtype=torch.float64), atol=1e-12)
    # The masks come out with these probabilities: every mask of every time within five standard deviations.
    seen = torch.stack([torch.bincount(row, minlength=2**joint.length) for row in code]) / repeats
    spread = (probability * (1 - probability) / repeats).sqrt()
    assert bool(((seen - probability).abs() <= 5 * spread + 2 / repeats).all())
    assert bool((seen[probability == 0] == 0).all())
    bound = float((node_weight * weight * (probability * cross_entropy).sum(1)).sum())
    assert bound == pytest.approx(joint.entropy(), abs=1e-6)


@pytest.mark.parametrize("estimator", ["exact_count", "bernoulli"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "polynomial", "cosine", "quadratic"])
def test_the_evaluator_estimates_the_entropy(schedule, estimator):
    joint = JOINTS[0]
    x = joint.sequences()
    # Every sequence in proportion to its probability: the only randomness left is the noise.
    counts = (joint.flat() * 1500).round().long()
    batch = rows_of(x.repeat_interleave(counts, 0))
    scores = score_windows(
        OracleModel(joint),
        mask_process(joint, schedule, "bernoulli" if estimator == "exact_count" else "exact_count"),
        [batch],
        torch.ones(joint.vocabulary, dtype=torch.int64).numpy(),
        draws=8,
        seed=3,
        estimator=estimator,
    )
    per_sequence = scores.nats.mean(0)
    exact = float((counts.double() * -joint.flat().log()).sum() / counts.sum())
    error = per_sequence.std(ddof=1) / math.sqrt(per_sequence.size)
    # Stratified levels make the true error smaller than this one, so five of them is a generous bound.
    assert abs(per_sequence.mean() - exact) < 5 * error
    assert error < 0.05


@pytest.mark.parametrize("estimator", ["exact_count", "bernoulli"])
def test_the_value_does_not_depend_on_the_schedule(estimator):
    joint = JOINTS[1]
    batch = rows_of(joint.sample(64, seed=1))
    lengths = torch.ones(joint.vocabulary, dtype=torch.int64).numpy()
    values = [
        likelihood(
            OracleModel(joint), mask_process(joint, s), [batch], lengths, draws=4, seed=0, estimator=estimator
        ).nats_per_token
        for s in SCHEDULES
    ]
    assert max(values) - min(values) < 1e-9 * values[0]


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_training_loss_and_the_evaluator_agree(schedule, corruption):
    """The mean NELBO loss of many steps on one batch is the likelihood bound of that batch, in nats per token."""
    joint, steps = JOINTS[1], 120
    process, model = mask_process(joint, schedule, corruption), OracleModel(joint)
    batch = rows_of(joint.sample(128, seed=1))
    objective = OBJECTIVES.build(OBJECTIVES["nelbo"].Params(), process)
    losses = torch.zeros(steps, dtype=torch.float64)
    for step in range(steps):
        prepared = prepare(objective, batch, 7, step, torch.arange(len(batch)), len(batch))
        losses[step] = loss_sum(model, prepared).total / prepared.denominator
    lengths = torch.ones(joint.vocabulary, dtype=torch.int64).numpy()
    report = likelihood(model, process, [batch], lengths, draws=40, seed=0, estimator="exact_count")
    assert report.noise_error is not None
    error = math.hypot(float(losses.std()) / math.sqrt(steps), report.noise_error)
    assert error < 0.025 * report.nats_per_token
    assert abs(float(losses.mean()) - report.nats_per_token) < 4 * error


def test_a_wrong_head_is_above_the_entropy():
    """The bound is minimised at the exact head: another joint's head costs more by at least a KL of one position."""
    truth, other = random_joint(3, 3, seed=0), random_joint(3, 3, seed=9)
    batch = rows_of(truth.sequences().repeat_interleave((truth.flat() * 600).round().long(), 0))
    lengths = torch.ones(3, dtype=torch.int64).numpy()
    process = mask_process(truth, "linear")
    right = likelihood(OracleModel(truth), process, [batch], lengths, draws=8, seed=0)
    wrong = likelihood(OracleModel(other), process, [batch], lengths, draws=8, seed=0)
    assert wrong.nats_per_token > 1.2 * right.nats_per_token

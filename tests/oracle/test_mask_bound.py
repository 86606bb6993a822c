"""The mask bound equals the entropy with an exact head, for every schedule, in both forms (docs/MATH.md §1, §6)."""

import math

import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.evaluation.likelihood import likelihood, score_windows
from diffusionlm.objective import OBJECTIVES
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


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "polynomial", "cosine", "quadratic"])
@pytest.mark.parametrize("measure", ["t", "kappa"])
def test_the_process_weights_integrate_to_the_entropy(schedule, measure):
    """The weights and probabilities that corrupt() returns, on a grid of times, against all 2^L masks."""
    joint = JOINTS[1]
    process = mask_process(joint, schedule)
    nodes, node_weight = gauss_legendre(200)
    t = nodes if measure == "t" else process.schedule.inverse(nodes)
    # Wide rows, so that at almost every time some position is noised and shows the weight of that time.
    shape = (len(t), 4096)
    site = torch.arange(shape[0])[:, None].expand(shape)
    draws = Draws(0, 0, site, site * 0, torch.arange(shape[1]).expand(shape))
    x, everywhere = torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool)
    out = process.corrupt(x, t[:, None].expand(shape), everywhere, x + 1, draws, measure=measure)
    weight = out.weight.amax(1)
    seen = weight > 0
    n, cross_entropy = masks_by_count(joint.length).double(), masked_cross_entropy(joint)
    probability = process.schedule.remaining(t)[:, None]
    inner = (probability**n * (1 - probability) ** (joint.length - n) * cross_entropy).sum(-1)
    # Times so close to 1 that no token in 4096 is noised carry a share of the integral that is below the tolerance.
    lost = (node_weight * inner / probability[:, 0] if measure == "kappa" else node_weight * inner)[~seen].sum()
    assert float(lost) < 3e-3 * joint.entropy()
    assert float((node_weight * weight * inner)[seen].sum()) == pytest.approx(joint.entropy(), rel=4e-3)


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


def test_the_training_bound_and_the_evaluator_agree_on_the_objective():
    """NELBO is the one objective that calls itself a bound, and its head is the one that the oracle has."""
    nelbo = OBJECTIVES.build(OBJECTIVES["nelbo"].Params(), mask_process(JOINTS[0], "linear"))
    assert nelbo.is_bound
    assert nelbo.head == "leave_one_out"
    assert not OBJECTIVES["ce"].is_bound


def test_a_wrong_head_is_above_the_entropy():
    """The bound is minimised at the exact head: another joint's head costs more by at least a KL of one position."""
    truth, other = random_joint(3, 3, seed=0), random_joint(3, 3, seed=9)
    batch = rows_of(truth.sequences().repeat_interleave((truth.flat() * 600).round().long(), 0))
    lengths = torch.ones(3, dtype=torch.int64).numpy()
    process = mask_process(truth, "linear")
    right = likelihood(OracleModel(truth), process, [batch], lengths, draws=8, seed=0)
    wrong = likelihood(OracleModel(other), process, [batch], lengths, draws=8, seed=0)
    assert wrong.nats_per_token > 1.2 * right.nats_per_token

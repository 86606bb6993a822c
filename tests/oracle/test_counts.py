"""Counts first: the number of noised tokens, then the share, then the state; the same bound with a finite variance.

The law of what ``exact_count_and_share`` draws, the bound under that law by enumeration, and the evaluator's estimates.
docs/MATH.md §1, "Counts first".
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from diffusionlm.evaluation import score_windows
from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.bound import divergence
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.rows import Rows
from diffusionlm.oracle import ExactHead, Joint
from diffusionlm.process import PROCESSES, DiscreteProcess, Process, Vocabulary
from diffusionlm.process.base import Choice
from diffusionlm.process.selection import count_importance, exact_count_and_share
from diffusionlm.workflows.selftest_bound import rows_of
from tests.diffusionlm.process.batches import draws_of, lay_rows
from tests.oracle.joint import gauss_legendre, predictive, random_joint
from tests.oracle.noises import discrete_evidence
from tests.oracle.test_bounds import SMALL, build, by_hand, variants

DENSE = sorted({name for name, _ in variants() if PROCESSES[name].bound_form == "dense"})
LENGTH, MANY = 5, 12_000


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noised (MANY, L), n (MANY,) and s (MANY,) of documents of L = 5 tokens, two in each row."""
    batch = lay_rows([[(i, [1] * LENGTH), (i + MANY, [1] * LENGTH)] for i in range(MANY // 2)], 2 * LENGTH + 1)
    u = (batch.document.double() * 0.6180339887498949) % 1.0
    noised, n, share = exact_count_and_share(u, batch.editable, batch.segments, draws_of(batch))
    kept = [a[:, : 2 * LENGTH].reshape(-1, LENGTH) for a in (noised, n, share)]
    return kept[0], kept[1][:, 0], kept[2][:, 0]


def test_every_number_is_as_likely_and_is_what_is_noised(drawn):
    noised, n, _ = drawn
    assert torch.equal(noised.sum(1), n)
    shares = torch.bincount(n, minlength=LENGTH + 1) / MANY
    assert torch.allclose(shares, torch.full_like(shares, 1 / (LENGTH + 1)), atol=2e-3)


@pytest.mark.parametrize("n", range(LENGTH + 1))
def test_the_share_has_the_law_of_an_order_statistic(drawn, n):
    """Beta(n, L − n + 1): its first two moments; of the smallest draw where nothing is noised."""
    s = drawn[2][drawn[1] == n]
    k = max(n, 1)
    mean, square = k / (LENGTH + 1), k * (k + 1) / ((LENGTH + 1) * (LENGTH + 2))
    for power, expected in ((1, mean), (2, square)):
        error = float((s**power).std()) / math.sqrt(len(s))
        assert float((s**power).mean()) == pytest.approx(expected, abs=5 * error)


def test_every_set_of_a_size_is_as_likely_whatever_the_share(drawn):
    noised, n, share = drawn
    for low in (True, False):
        of_two = noised[(n == 2) & ((share < 2 / (LENGTH + 1)) == low)]
        codes = (of_two * 2 ** torch.arange(LENGTH)).sum(1).unique(return_counts=True)[1] / len(of_two)
        assert len(codes) == math.comb(LENGTH, 2)
        assert float((codes - 0.1).abs().max()) < 5 * math.sqrt(0.09 / len(of_two))


def test_the_importance_is_a_density(drawn):
    _, n, share = drawn
    importance = count_importance(share, n, torch.full_like(n, LENGTH))
    for wanted in range(LENGTH + 1):
        values = importance[n == wanted]
        assert float(values.mean()) == pytest.approx(1.0, abs=5 * float(values.std()) / math.sqrt(len(values)))


def test_nothing_to_noise_is_nothing(drawn):
    del drawn
    batch = lay_rows([[(0, [1, 2, 3])]], 6, frozen=3)
    noised, n, share = exact_count_and_share(torch.ones(1, 6).double(), batch.editable, batch.segments, draws_of(batch))
    assert not bool(noised.any())
    assert int(n.max()) == 0
    assert bool((share == 0.5).all())


def bound_of_counts(process: DiscreteProcess, joint: Joint, nodes: int) -> float:
    """Return Σ_n 1/(L + 1) ∫ Beta(s) Σ_z P(z | x, n, s) Σ_i importance · weight · loss at the exact head.

    P(z | x, n, s): each set of n positions alike, noise at these and the text elsewhere.
    """
    length, total = joint.length, 0.0
    states = range(joint.vocabulary + process.has_mask)
    z = torch.tensor(list(itertools.product(states, repeat=length)))
    x = joint.sequences().repeat_interleave(len(z), 0)
    z = z.repeat(joint.vocabulary**length, 1)
    p = joint.log_probability(x).exp()
    for s, node in zip(*(a.tolist() for a in gauss_legendre(nodes)), strict=True):
        t = process.schedule.inverse(torch.full(z.shape, 1.0 - s, dtype=torch.float64))
        noise = process.noise(t)
        drawn = noise.at(z, process.vocabulary) / (1.0 - noise.kappa)
        evidence = discrete_evidence(process, joint)(z, t)
        rows = Rows(x.flatten(), z.flatten(), t.flatten(), noise.rows(slice(None)), torch.arange(z.numel()))
        loss = divergence(predictive(joint, evidence, "leave_one_out").reshape(-1, joint.vocabulary).log(), rows)
        scored = process.bound_weight(z, x, t, "kappa") * loss.reshape(z.shape)
        for n in range(length + 1):
            k = max(n, 1)
            beta = k * math.comb(length, k) * s ** (k - 1) * (1 - s) ** (length - k)
            sets = list(itertools.combinations(range(length), n))
            given = torch.zeros(len(z), dtype=torch.float64)
            for chosen in sets:
                at = torch.tensor([i in chosen for i in range(length)])
                given += torch.where(at, drawn, (z == x).double()).prod(1) / len(sets)
            weight = count_importance(torch.tensor(s).double(), torch.tensor(n), torch.tensor(length))
            total += node / (length + 1) * beta * float(weight * (p * given * scored.sum(1)).sum())
    return total


@pytest.mark.parametrize("name", DENSE)
def test_the_bound_is_the_entropy(name):
    joint = random_joint(3, 3, seed=1)
    assert bound_of_counts(build(name, dict(variants())[name], joint), joint, 60) == pytest.approx(
        joint.entropy(), abs=1e-3
    )


def estimate(process: Process, joint: Joint, choice: Choice) -> tuple[float, float, float]:
    """Return the mean of the evaluator's estimates of every sequence, the exact answer, and the standard error."""
    counts = (joint.flat() * 4000).round().long()
    batch = rows_of(joint.sequences().repeat_interleave(counts, 0))
    model, lengths = ExactHead(joint, process, "posterior"), torch.ones(joint.vocabulary, dtype=torch.int64).numpy()
    nats = score_windows(model, process, [batch], lengths, draws=8, seed=5, estimator=choice).nats.mean(0)
    exact = float((counts.double() * -joint.flat().log()).sum() / counts.sum())
    return float(nats.mean()), exact, float(nats.std(ddof=1)) / math.sqrt(len(nats))


@pytest.mark.parametrize("name", DENSE)
def test_the_evaluator_estimates_the_entropy_either_way_and_counts_have_less_noise(name):
    joint = random_joint(2, 6, seed=3)
    process = build(name, dict(variants())[name], joint)
    errors = {}
    for choice in ("exact_count", "bernoulli"):
        mean, exact, errors[choice] = estimate(process, joint, choice)
        assert abs(mean - exact) < 4.5 * errors[choice]
        assert errors[choice] < 0.05 * exact
    assert errors["exact_count"] < errors["bernoulli"]


@pytest.mark.parametrize("name", DENSE)
def test_one_token_alone_has_a_finite_variance(name):
    """The largest estimate grows with the number of estimates under 1/s with s uniform; under counts it is bounded."""
    joint = random_joint(4, 1, seed=2)
    process = build(name, dict(variants())[name], joint)
    batch = rows_of(joint.sample(4000, seed=0))
    model, lengths = ExactHead(joint, process, "posterior"), torch.ones(4, dtype=torch.int64).numpy()
    largest = {
        choice: float(score_windows(model, process, [batch], lengths, draws=2, seed=1, estimator=choice).nats.max())
        for choice in ("exact_count", "bernoulli")
    }
    assert largest["exact_count"] < 0.1 * largest["bernoulli"]


def trained(name: str, objective: str, **params: object) -> tuple[float, float, float]:
    """Return the mean training loss at the exact head, per sequence of SMALL, its standard error, and the entropy.

    The entropy is that of the sequences that were drawn.
    """
    given = {"corruption": "exact_count", **params}
    process = PROCESSES.build(PROCESSES[name].Params.model_validate(given), Vocabulary.after(SMALL.vocabulary))
    made = OBJECTIVES.build(OBJECTIVES[objective].Params(), process)
    counts = (SMALL.flat() * 4000).round().long()
    x = SMALL.sequences().repeat_interleave(counts, 0)
    batch = rows_of(x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))])
    model, losses = ExactHead(SMALL, process, made.network_head), []
    for step in range(8):
        part = prepare(made, batch, 0, step, torch.arange(len(batch)), len(batch))
        losses.append(float(loss_sum(model, part).total / part.denominator) * SMALL.length)
    spread = torch.tensor(losses).std() / math.sqrt(len(losses))
    return sum(losses) / len(losses), float(spread), float((counts.double() * -SMALL.flat().log()).sum() / counts.sum())


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_training_loss_is_the_entropy(name, schedule):
    """``process.corruption = "exact_count"`` is every discrete process's, and changes no expectation."""
    has = "schedule" in PROCESSES[name].Params.model_fields
    mean, error, entropy = trained(name, "nelbo", **({"schedule": {"name": schedule}} if has else {}))
    assert error < 0.02 * entropy
    assert abs(mean - entropy) < 4.5 * error


@pytest.mark.parametrize(("name", "mask_share"), [("uniform", 0.0), ("mixture", 0.3)])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_generalised_kl_of_training_keeps_its_value(name, mask_share, schedule):
    mean, error, _ = trained(name, "gkl", schedule={"name": schedule})
    exact = by_hand(SMALL, mask_share, 40)
    assert error < 0.02 * exact
    assert abs(mean - exact) < 4.5 * error + 5e-3  # texts are in whole numbers of copies


def test_a_law_of_times_and_counts_multiply():
    """Each alone leaves the loss what it was, and so do both."""
    params = OBJECTIVES["nelbo"].Params.model_validate({"times": {"law": "importance", "density": [1.0, 3.0]}})
    process = PROCESSES.build(
        PROCESSES["uniform"].Params.model_validate({"corruption": "exact_count"}), Vocabulary.after(3)
    )
    batch, whole = rows_of(SMALL.sample(500, seed=0)), OBJECTIVES["nelbo"].Params()
    plain, law = (
        prepare(OBJECTIVES.build(p, process), batch, 0, 0, torch.arange(500), 500).corrupted for p in (whole, params)
    )
    for one in (plain, law):
        assert one.importance is not None
    n = law.noised.sum(1)
    of_counts = count_importance(process.schedule.remaining(law.t), n[:, None], torch.full_like(n, 2)[:, None])
    ratio = (law.importance / of_counts).unique()
    assert sorted({round(float(r), 9) for r in ratio}) == pytest.approx([2 / 3, 2.0])

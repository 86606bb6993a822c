"""The oracle itself, against definitions written out longhand."""

import itertools
import math

import pytest
import torch

from tests.oracle.joint import (
    Joint,
    OraclePredictor,
    exact_count_bound,
    gauss_legendre,
    masked_cross_entropy,
    noise_floor,
    predictive,
    random_joint,
    total_variation,
)


@pytest.fixture
def joint():
    return random_joint(3, 3, seed=4)


def longhand_posterior(joint: Joint, z: list[int], i: int) -> list[float]:
    """Return p(x_i = k | visible tokens of z) by loops over all sequences; m is K."""
    mass = [0.0] * joint.vocabulary
    for x in itertools.product(range(joint.vocabulary), repeat=joint.length):
        if all(c in (joint.vocabulary, a) for a, c in zip(x, z, strict=True)):
            mass[x[i]] += float(joint.probability[x])
    return [value / sum(mass) for value in mass]


def test_masked_posterior_is_the_conditional(joint):
    oracle = OraclePredictor(joint)
    states = list(itertools.product(range(4), repeat=3))
    table = oracle.probabilities(torch.tensor(states))
    for z, row in zip(states, table, strict=True):
        for i in range(3):
            assert row[i].tolist() == pytest.approx(longhand_posterior(joint, list(z), i), abs=1e-12)


def test_predict_gathers_flat_rows(joint):
    oracle = OraclePredictor(joint)
    z = torch.tensor([[3, 1, 3], [0, 3, 2]])
    rows = torch.tensor([0, 2, 4])
    logits = oracle.predict(z, None, rows)
    assert logits.shape == (3, 3)
    assert logits.dtype == torch.float64
    assert torch.equal(logits, oracle.predict(z, None)[rows])
    assert logits.exp().sum(-1).tolist() == pytest.approx([1.0] * 3)
    assert oracle.calls == 2


def test_leave_one_out_ignores_the_position_itself(joint):
    def uniform(z, t):
        return 0.25 + 0.75 * (z[..., None] == torch.arange(3)).double()

    oracle = OraclePredictor(joint, evidence=uniform, kind="leave_one_out")
    a = oracle.probabilities(torch.tensor([[0, 1, 2]]))
    b = oracle.probabilities(torch.tensor([[2, 1, 2]]))
    assert torch.equal(a[0, 0], b[0, 0])
    assert not torch.equal(a[0, 1], b[0, 1])


def test_bayes_turns_leave_one_out_into_the_posterior(joint):
    """p_post(x) ∝ p_loo(x)·q(z_i | x)."""
    z = torch.tensor([[0, 1, 2], [2, 2, 0]])
    evidence = 0.25 + 0.75 * (z[..., None] == torch.arange(3)).double()
    post, loo = predictive(joint, evidence, "posterior"), predictive(joint, evidence, "leave_one_out")
    bayes = loo * evidence
    assert torch.allclose(post, bayes / bayes.sum(-1, keepdim=True), atol=1e-14)


def test_a_known_entropy_and_its_chain_rule():
    fair = Joint(torch.full((2, 2, 2), 0.125, dtype=torch.float64))
    assert fair.entropy() == pytest.approx(3 * math.log(2))
    assert exact_count_bound(fair) == pytest.approx(3 * math.log(2))
    # Everything masked: each position pays its marginal entropy; one masked: its conditional entropy.
    assert masked_cross_entropy(fair).tolist() == pytest.approx([bin(m).count("1") * math.log(2) for m in range(8)])


def test_quadrature_is_exact_on_polynomials():
    nodes, weights = gauss_legendre(6)
    for power in range(12):
        assert float((weights * nodes**power).sum()) == pytest.approx(1 / (power + 1), abs=1e-13)


def test_total_variation_of_exact_samples_is_the_noise_floor(joint):
    number = 20_000
    measured = total_variation(joint, joint.sample(number, seed=1))
    assert measured == pytest.approx(noise_floor(joint, number), rel=0.4)
    assert total_variation(joint, joint.sequences()[:1].expand(9, 3)) == pytest.approx(1 - float(joint.flat()[0]))


def test_a_mask_in_a_sample_is_refused(joint):
    with pytest.raises(AssertionError, match=r"tokens 0\.\.3"):
        total_variation(joint, torch.tensor([[0, 3, 1]]))

"""Cross-entropies on a grid of times against closed forms, and what the report says of them."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.errors import DataError
from diffusionlm.evaluation import CECurve, ce_curve
from diffusionlm.evaluation.ce_curve import TIMES
from diffusionlm.process import PROCESSES, Head, Layout, Process, Vocabulary
from diffusionlm.process.simplex.logit import LogitProcess
from tests.diffusionlm.process.batches import lay_rows, random_documents

K = 6


class FlatModel:
    """Says 1/K everywhere, as the head that it is told to be."""

    training = True

    def __init__(self, kind: Head, size: int = K) -> None:
        self.kind: Head = kind
        self.head_weight = torch.zeros(size, 2, dtype=torch.float64)

    def train(self, mode: bool = True):
        self.training = mode
        return self

    def __call__(self, x_t, t, layout: Layout, rows=None):
        assert not self.training
        assert rows is not None
        return torch.zeros(len(rows), 2, dtype=torch.float64)


def process(name: str, size: int = K) -> Process:
    return PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(size))


def batch(documents: int = 1500, length: int = 12, size: int = K, frozen: int = 0) -> Batch:
    return lay_rows([[document] for document in random_documents([length] * documents, size)], length, frozen)


@pytest.mark.parametrize("name", ["logit", "dirichlet", "sphere", "one_shot", "keep", "mask"])
def test_a_flat_posterior_costs_ln_k_at_every_time(name: str) -> None:
    curve = ce_curve(FlatModel("posterior"), process(name), [batch(20)], seed=0)
    assert curve.times == TIMES
    assert curve.nats == pytest.approx([math.log(K)] * len(TIMES), abs=1e-12)
    assert curve.mean == pytest.approx(math.log(K), abs=1e-12)
    assert curve.tokens == 240


def test_a_flat_context_under_a_mask_costs_what_is_hidden() -> None:
    """κ = t: a visible token is certain, a masked one costs ln K, so CE(t) = (1 − t)·ln K."""
    curve = ce_curve(FlatModel("leave_one_out"), process("mask"), [batch()], seed=0)
    for t, nats in zip(curve.times, curve.nats, strict=True):
        error = math.log(K) * math.sqrt(t * (1 - t) / curve.tokens)
        assert nats == pytest.approx((1 - t) * math.log(K), abs=4.5 * error + 1e-12)


def test_a_flat_context_under_uniform_noise() -> None:
    """The token that stands there has q = t + (1 − t)/K, any other (1 − q)/(K − 1): CE is the entropy of that."""
    curve = ce_curve(FlatModel("leave_one_out"), process("uniform"), [batch()], seed=0)
    for t, nats in zip(curve.times, curve.nats, strict=True):
        q = t + (1 - t) / K
        other = (1 - q) / (K - 1)
        expected = -q * math.log(q) - (1 - q) * math.log(other)
        error = abs(math.log(q / other)) * math.sqrt(q * (1 - q) / curve.tokens)
        assert nats == pytest.approx(expected, abs=4.5 * error + 1e-12)


def test_a_flat_context_in_a_race_of_two() -> None:
    """u = r_1/(r_1 + r_2) of token 1 has the density s/(s(1 − u) + u)², and −ln of Bayes' posterior is integrated."""
    made = process("logit_updated", 2)
    assert isinstance(made, LogitProcess)
    curve = ce_curve(FlatModel("leave_one_out", 2), made, [batch(size=2)], seed=0)
    for t, nats in zip(curve.times, curve.nats, strict=True):
        s = float(made.level(torch.tensor(t, dtype=torch.float64)).exp())

        def density(u: float, s: float = s) -> float:
            return s / (s * (1 - u) + u) ** 2

        def cost(u: float) -> float:
            return density(u) * -mpmath.log(density(u) / (density(u) + density(1 - u)))

        assert float(mpmath.quad(density, [0, 0.5, 0.9, 1])) == pytest.approx(1.0, abs=1e-9)
        expected = float(mpmath.quad(cost, [0, 0.5, 0.9, 1]))
        square = float(mpmath.quad(lambda u: cost(u) ** 2 / density(u), [0, 0.5, 0.9, 1]))
        error = math.sqrt(max(square - expected**2, 0.0) / curve.tokens)
        assert nats == pytest.approx(expected, abs=4.5 * error + 1e-9)


def test_it_depends_on_the_seed_and_not_on_the_split() -> None:
    model, rows = FlatModel("leave_one_out"), batch(30)
    curve = ce_curve(model, process("logit_updated"), [rows], seed=1)
    parts = [rows.rows(0, 7), rows.rows(7, 8), rows.rows(8, 30)]
    assert ce_curve(model, process("logit_updated"), parts, seed=1).nats == pytest.approx(curve.nats, rel=1e-12)
    again = ce_curve(model, process("logit_updated"), [concatenate(parts)], seed=1)
    assert again == curve
    assert ce_curve(model, process("logit_updated"), [rows], seed=2).nats != curve.nats
    assert model.training, "left as it was found"


def test_given_tokens_are_context() -> None:
    curve = ce_curve(FlatModel("leave_one_out"), process("mask"), [batch(10, frozen=5)], seed=0)
    assert curve.tokens == 10 * 7
    assert curve.nats[0] == pytest.approx(math.log(K), abs=1e-12)


def test_nothing_to_score_is_refused_and_the_model_restored() -> None:
    for batches in ([], [batch(3, 4, frozen=4)]):
        model = FlatModel("posterior")
        with pytest.raises(DataError, match="nothing to score"):
            ce_curve(model, process("logit"), batches, seed=0)
        assert model.training


def test_the_words_claim_no_bound() -> None:
    words = CECurve((0.0, 0.5), (2.0, 1.0), 10).words()
    assert "2.000 at t = 0, 1.000 at t = 0.5; mean 1.500" in words
    assert "no bound exists" in words
    assert "\n" not in words
    assert "bits per byte" not in words
    assert "perplexity" not in words


def test_what_training_fixes_first_changes_no_curve() -> None:
    """The noise is that of the time that the curve names: counts belong to training."""
    curves = []
    for corruption in ("bernoulli", "exact_count"):
        made = PROCESSES.build(PROCESSES["keep"].Params.model_validate({"corruption": corruption}), Vocabulary.after(K))
        curves.append(ce_curve(FlatModel("leave_one_out"), made, [batch(200)], seed=0).nats)
    assert curves[0] == curves[1]

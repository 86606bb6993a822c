"""The report's arithmetic on made-up scores."""

import math

import numpy as np
import pytest

from diffusionlm.evaluation import WindowScores, summarise
from diffusionlm.evaluation.error import draw_error, monte_carlo_error, ratio_error


def scores(document, nats, tokens=None, sizes=None) -> WindowScores:
    document, nats = np.asarray(document), np.atleast_2d(np.asarray(nats, dtype=float))
    ones = np.ones(len(document), dtype=np.int64)
    return WindowScores(
        document,
        np.arange(len(document)),
        ones * 4 if tokens is None else np.asarray(tokens),
        ones * 10 if sizes is None else np.asarray(sizes),
        nats,
        rows=7,
    )


def test_values_are_totals_over_totals():
    report = summarise(scores([0, 1], [[8.0, 2.0], [12.0, 6.0]], tokens=[4, 1], sizes=[10, 4]), "exact_count", "tight")
    assert report.nats_per_token == pytest.approx((10 + 4) / 5)
    assert report.bits_per_token == pytest.approx((10 + 4) / 5 / math.log(2))
    assert report.bits_per_byte == pytest.approx((10 + 4) / 14 / math.log(2))
    assert (report.tokens, report.bytes, report.documents, report.windows, report.draws) == (5, 14, 2, 2, 2)
    assert (report.network_evaluations, report.estimator, report.bound) == (7, "exact_count", "tight")


def test_the_scores_of_some_documents():
    whole = scores([0, 2, 1, 2], [[8.0, 2.0, 1.0, 3.0], [12.0, 6.0, 1.0, 5.0]], sizes=[10, 4, 5, 6])
    part = summarise(whole.of_documents(1, 3), "exact_count", "tight")
    assert part.bits_per_byte == pytest.approx((4 + 1 + 4) / 15 / math.log(2))
    assert (part.documents, part.windows) == (2, 3)
    assert whole.of_documents(3, 9).bytes.sum() == 0


@pytest.mark.parametrize(
    ("documents", "windows", "draws", "unit"),
    [
        (8, 8, 1, "document"),
        (7, 8, 1, "window"),
        (1, 100, 4, "window"),
        (2, 2, 4, "draw"),
        (1, 2, 1, "window"),
        (1, 1, 1, "none"),
    ],
)
def test_what_the_error_is_clustered_by(documents, windows, draws, unit):
    generator = np.random.default_rng(0)
    report = summarise(
        scores(np.arange(windows) % documents, generator.normal(10, 1, (draws, windows))), "exact_count", "tight"
    )
    assert report.error_unit == unit
    assert (report.nats_per_token_error is None) == (unit == "none")
    assert (report.noise_error is None) == (draws == 1)
    if report.nats_per_token_error is not None and report.bits_per_byte_error is not None:
        assert report.bits_per_token_error == pytest.approx(report.nats_per_token_error / math.log(2))
        # Equal windows: bytes are 2.5 times the tokens, so the errors scale alike.
        assert report.bits_per_byte_error == pytest.approx(report.nats_per_token_error / math.log(2) / 2.5)


def test_windows_of_one_document_are_one_cluster():
    """Ten copies of each document's value: the error must not shrink with copies that carry no information."""
    values = np.random.default_rng(1).normal(10, 1, 20)
    once = summarise(scores(np.arange(20), values), "exact_count", "tight")
    copies = summarise(scores(np.repeat(np.arange(20), 10), np.repeat(values, 10)), "exact_count", "tight")
    assert copies.nats_per_token_error == pytest.approx(once.nats_per_token_error)


def test_ratio_error_covers_the_truth():
    """Of 400 intervals of two errors, in a skewed population, about 95 % hold the truth."""
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        counts = generator.geometric(0.05, 60)
        totals = counts * 2.0 + generator.normal(0, 1, 60) * np.sqrt(counts) * 3
        error = ratio_error(totals, counts)
        hits += abs(totals.sum() / counts.sum() - 2.0) < 2 * error
    assert 0.91 < hits / 400 < 0.985


def test_ratio_error_by_hand():
    # Residuals of (3, 5) over (1, 1) about their mean 4 are ∓1: sqrt(2 · 2) / 2 = 1.
    assert ratio_error(np.array([3.0, 5.0]), np.array([1, 1])) == pytest.approx(1.0)
    assert ratio_error(np.array([2.0, 4.0]), np.array([1, 2])) == pytest.approx(0.0)


def test_draw_and_noise_errors_by_hand():
    nats = np.array([[1.0, 2.0], [3.0, 6.0]])
    counts = np.array([1, 1])
    # Draw totals 3 and 9: standard deviation sqrt(18), over sqrt(2), over 2.
    assert draw_error(nats, counts) == pytest.approx(math.sqrt(18 / 2) / 2)
    # Variances 2 and 8: sqrt(10 / 2) / 2.
    assert monte_carlo_error(nats, counts) == pytest.approx(math.sqrt(10 / 2) / 2)

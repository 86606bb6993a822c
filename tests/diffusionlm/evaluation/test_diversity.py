"""Entropy and distinct-n of samples, on cases that can be counted by hand."""

import pytest

from diffusionlm.evaluation import Diversity, diversity


def test_by_hand():
    found = diversity([[1, 2, 3, 4], [1, 1, 1, 1]])
    assert found.entropy == pytest.approx((2.0 + 0.0) / 2)
    assert found.distinct == pytest.approx(3 / 4)  # 123, 234, 111, 111
    assert found.tokens == 4


def test_nothing_to_measure():
    assert diversity([[], []]) == Diversity(None, None, 0.0)
    assert diversity([[1, 2]]).distinct is None
    assert diversity([]) == Diversity(None, None, 0.0)

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.data.order import permute


@pytest.mark.parametrize("n", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 65536, 65537])
@pytest.mark.parametrize("key", [0, 1, 2**64 - 1])
def test_is_a_permutation(n: int, key: int) -> None:
    values = permute(np.arange(n), n, key)
    assert values.dtype == np.int64
    assert np.array_equal(np.sort(values), np.arange(n))


@given(n=st.integers(1, 2**40), key=st.integers(0, 2**64 - 1), data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_access_in_large_ranges(n: int, key: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20, unique=True))
    values = permute(np.array(indices), n, key)
    assert values.min() >= 0
    assert values.max() < n
    assert len(set(values.tolist())) == len(indices)
    one_by_one = [int(permute(np.array(i), n, key)) for i in indices]
    assert values.tolist() == one_by_one


def test_stays_the_same_for_ever() -> None:
    """Runs are resumed with later versions: these numbers must never change."""
    assert permute(np.arange(10), 10, 7).tolist() == [5, 6, 2, 1, 3, 8, 7, 0, 9, 4]
    assert permute(np.array([0, 1, 999_999]), 1_000_000, 2**63 + 1).tolist() == [780889, 396084, 876356]


def test_all_orders_of_few_elements_appear_about_equally() -> None:
    counts = Counter(tuple(permute(np.arange(3), 3, 0x9E3779B97F4A7C15 * k % 2**64).tolist()) for k in range(3000))
    assert len(counts) == 6
    assert min(counts.values()) > 400


def test_a_shuffle_scatters_neighbours() -> None:
    n = 10_000
    values = permute(np.arange(n), n, 3)
    # Uniform: the mean distance of neighbours is n / 3, its standard error about n / 400.
    assert abs(np.abs(np.diff(values)).mean() / n - 1 / 3) < 0.02
    assert abs(np.corrcoef(np.arange(n), values)[0, 1]) < 0.05


def test_keys_give_different_orders_and_shape_is_kept() -> None:
    indices = np.arange(12).reshape(3, 4)
    assert permute(indices, 50, 1).shape == (3, 4)
    assert not np.array_equal(permute(indices, 50, 1), permute(indices, 50, 2))
    assert permute(np.empty(0, dtype=np.int64), 5, 1).shape == (0,)


def test_an_index_outside_the_range_is_a_fault() -> None:
    with pytest.raises(AssertionError, match="index 5 is outside a range of 5"):
        permute(np.array([5]), 5, 0)

"""The cross-entropy bench runs both implementations at a tiny shape, and sees the memory that chunks save."""

import pytest

from benchmarking.linear_cross_entropy import bench


def test_both_implementations(one_process):
    chunked, dense = bench(((64, 8, 50),), ("fp32",), repeats=1, calls=1)
    assert (chunked.contender, dense.contender, chunked.shape) == ("chunked", "dense", "N64 D8 K50")
    assert chunked.ratio_p50 > 0


@pytest.mark.slow
def test_memory():
    """All logits of this shape are 256 MiB; the dense form holds several blocks of that size."""
    chunked, dense = bench(((8192, 8, 8192),), ("fp32",), repeats=1, calls=1)
    assert dense.peak_mb - dense.base_mb > 500
    assert chunked.peak_mb - chunked.base_mb < 250

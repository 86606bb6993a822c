"""Flows on the simplex train at GPT-2's vocabulary in the memory of the mask process."""

import pytest

from benchmarking.simplex import CONTENDERS, SIZE, allocated, training_step

BATCH, LENGTH, WIDTH = 4, 128, 16


@pytest.fixture(scope="module")
def mask() -> float:
    """MiB that a step of the mask process takes."""
    step = training_step("mask", BATCH, LENGTH, WIDTH)
    return allocated(lambda: step(0))


@pytest.mark.parametrize("contender", [name for name in CONTENDERS if name != "mask"])
def test_at_most_twice_the_mask_process(contender: str, mask: float) -> None:
    """A dense state, (B, T, V) in float32, would be 98 MiB more than that."""
    step = training_step(contender, BATCH, LENGTH, WIDTH)
    assert allocated(lambda: step(0)) <= 2.0 * mask < 4 * BATCH * LENGTH * SIZE / 2**20

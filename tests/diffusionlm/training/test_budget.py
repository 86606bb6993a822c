"""Budgets: which is used up first, and how long the run will be in steps."""

import pytest

from diffusionlm.training.budget import FIRST_GUESS, Used, expected_steps, progress
from diffusionlm.training.params import TrainingParams


@pytest.mark.parametrize(
    ("budget", "used", "share"),
    [
        ({"steps": 100}, Used(25, 0, 0.0), 0.25),
        ({"tokens": 1000}, Used(3, 500, 9.0), 0.5),
        ({"minutes": 2.0}, Used(3, 500, 90.0), 0.75),
        ({"steps": 100, "tokens": 1000, "minutes": 2.0}, Used(25, 600, 30.0), 0.6),
        ({"steps": 100}, Used(100, 0, 0.0), 1.0),
    ],
)
def test_the_largest_share_counts(budget, used, share):
    assert progress(TrainingParams(**budget), used) == pytest.approx(share)


@pytest.mark.parametrize(
    ("budget", "used", "steps"),
    [
        ({"steps": 100}, Used(0, 0, 0.0), 100),
        ({"steps": 100}, Used(99, 10, 1e9), 100),
        ({"tokens": 1000}, Used(0, 0, 0.0), 8),
        ({"tokens": 1000}, Used(3, 500, 9.0), 6),
        ({"minutes": 1.0}, Used(0, 0, 0.0), FIRST_GUESS),
        ({"minutes": 1.0}, Used(30, 0, 15.0), 120),
        ({"minutes": 1.0}, Used(30, 0, 59.99), 31),
        ({"steps": 100, "minutes": 1.0}, Used(0, 0, 0.0), 100),
        ({"steps": 100, "minutes": 1.0}, Used(10, 0, 30.0), 20),
        ({"steps": 100, "minutes": 1.0}, Used(50, 0, 6.0), 100),
    ],
)
def test_the_expected_length(budget, used, steps):
    assert expected_steps(TrainingParams(**budget), used, tokens_per_step=128) == steps

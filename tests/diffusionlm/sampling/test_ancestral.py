"""The reveal probability of ancestral sampling; its law is in tests/oracle/test_samplers.py."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.sampling import Ancestral, Filters
from diffusionlm.sampling.ancestral import AncestralParams


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_reveal_probabilities_compose_to_the_schedule(schedule: str) -> None:
    """Whatever the grid, a token is still masked at u with probability 1 − κ_u."""
    process = MaskProcess(MaskParams(schedule=SCHEDULES[schedule].Params()), Vocabulary.after(3))
    sampler = Ancestral(AncestralParams(), process, Filters())
    grid = torch.tensor([0.0, 0.1, 0.15, 0.6, 0.95, 1.0], dtype=torch.float64)
    p = sampler.reveal_probability(grid[:-1], grid[1:])
    masked = (1.0 - p).cumprod(0)
    assert torch.allclose(masked, process.schedule.remaining(grid[1:]), atol=1e-14)
    assert float(p[-1]) == 1.0


def test_a_finished_row_is_certain_not_nan() -> None:
    process = MaskProcess(MaskParams(), Vocabulary.after(3))
    one = torch.ones(1, dtype=torch.float64)
    assert float(Ancestral(AncestralParams(), process, Filters()).reveal_probability(one, one)) == 1.0

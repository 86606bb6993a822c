"""The clock of first-hitting sampling; its law is in tests/oracle/test_laws.py."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import sample
from diffusionlm.process import SCHEDULES, Head, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.sampling import Filters, FirstHitting
from diffusionlm.sampling.first_hitting import FirstHittingParams

K = 5


def build(schedule: str = "linear") -> FirstHitting:
    process = MaskProcess(MaskParams(schedule=SCHEDULES[schedule].Params()), Vocabulary.after(K))
    return FirstHitting(FirstHittingParams(), process, Filters())


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_time_is_that_of_the_first_of_n_tokens(schedule: str) -> None:
    """P(no reveal by t') = ((1 − κ(t'))/(1 − κ(t)))^n, so that the formula inverts a uniform number."""
    sampler = build(schedule)
    for t in (0.0, 0.3, 0.97):
        for n in (1, 3, 50):
            u = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
            at = torch.full_like(u, t)
            next_t = sampler.next_time(at, torch.full((99,), n), u)
            remaining = sampler.process.schedule.remaining
            assert torch.allclose((remaining(next_t) / remaining(at)) ** n, u, atol=1e-7)
            assert bool((next_t >= at).all())
            assert bool((next_t <= 1.0).all())


def test_the_last_of_many_tokens_has_a_time_below_one() -> None:
    sampler, t = build(), torch.tensor([1.0 - 1e-13], dtype=torch.float64)
    later = sampler.next_time(t, torch.tensor([1]), torch.tensor([0.5], dtype=torch.float64))
    assert float(t) <= float(later) <= 1.0


class Clock:
    """Notes the times that it is told."""

    kind: Head = "posterior"

    def __init__(self) -> None:
        self.told: list[torch.Tensor] = []

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.told.append(t[:, 0])
        return torch.zeros(len(rows), K, dtype=torch.float64)


def test_every_row_has_a_clock_and_the_network_is_told_it() -> None:
    clock, number, length = Clock(), 400, 6
    canvas = lay_out([Template((Hole(length),))] * number, range(number))
    result = sample(clock, build(), canvas, steps=2, seed=0)
    assert result.nfe.tolist() == [length] * number
    told = torch.stack(clock.told)
    assert bool((told[1:] > told[:-1]).all())
    assert len(told[0].unique()) == number
    # On κ = t the times are the order statistics of six uniform numbers: their means are j/7.
    means = torch.arange(1, length + 1, dtype=torch.float64) / (length + 1)
    assert torch.allclose(told.mean(1), means, atol=0.03)

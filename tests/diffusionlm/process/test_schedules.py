"""Every schedule: ends, direction, derivative, inverse, precision near t = 1."""

import math
from fractions import Fraction

import pytest
import torch

from diffusionlm.process import SCHEDULES
from diffusionlm.process.schedules import PolynomialParams, Schedule

T = torch.linspace(0, 1, 1001, dtype=torch.float64)
BUILT = [SCHEDULES.build(SCHEDULES[name].Params()) for name in SCHEDULES]
BUILT += [SCHEDULES.build(PolynomialParams(exponent=e)) for e in (1.0, 1.5, 16.0)]


@pytest.mark.parametrize("schedule", BUILT, ids=lambda s: str(s.params))
class TestEverySchedule:
    def test_runs_from_noise_to_data(self, schedule: Schedule):
        kappa = schedule.kappa(T)
        assert abs(float(kappa[0])) < 1e-15
        assert float(kappa[-1]) == 1.0
        assert bool((kappa.diff() >= 0).all())
        assert bool((kappa.diff()[300:700] > 0).all())
        assert torch.allclose(kappa + schedule.remaining(T), torch.ones_like(T), atol=1e-15)

    def test_the_derivative_is_autograds(self, schedule: Schedule):
        t = T[1:-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(schedule.kappa(t).sum(), t)
        assert torch.allclose(schedule.dkappa(T[1:-1]), gradient, rtol=1e-9, atol=1e-12)
        assert bool(schedule.dkappa(T).isfinite().all())

    def test_the_inverse_undoes_it(self, schedule: Schedule):
        k = torch.linspace(0, 1, 501, dtype=torch.float64)
        assert torch.allclose(schedule.kappa(schedule.inverse(k)), k, atol=1e-12)
        assert torch.allclose(schedule.inverse(schedule.kappa(T[50:-50])), T[50:-50], atol=1e-7)
        assert float(schedule.inverse(torch.zeros((), dtype=torch.float64))) == 0.0
        assert float(schedule.inverse(torch.ones((), dtype=torch.float64))) == 1.0

    def test_the_jump_rate_is_the_rate_of_the_logarithm(self, schedule: Schedule):
        t = T[1:-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(-schedule.remaining(t).log().sum(), t)
        assert torch.allclose(schedule.jump_rate(T[1:-1]), gradient, rtol=1e-9)
        assert bool(schedule.jump_rate(T[:-1]).isfinite().all())

    def test_little_noise_is_still_precise(self, schedule: Schedule):
        # Near t = 1, 1 − κ(1 − h) → κ̇(1)·h, or h² where κ̇(1) = 0; a difference of two ones would lose every digit.
        h = 2.0**-40
        left = float(schedule.remaining(torch.tensor(1.0 - h, dtype=torch.float64)))
        slope = float(schedule.dkappa(torch.ones((), dtype=torch.float64)))
        assert left == pytest.approx(slope * h if slope > 0 else h * h, rel=1e-9)


def test_the_formulas():
    t = Fraction(3, 10)
    at = torch.tensor(0.3, dtype=torch.float64)
    values = {name: float(SCHEDULES.build(SCHEDULES[name].Params()).kappa(at)) for name in SCHEDULES}
    assert values == {
        "linear": pytest.approx(0.3),
        "polynomial": pytest.approx(float(t**3)),
        "cosine": pytest.approx(1 - math.cos(0.15 * math.pi)),
        "quadratic": pytest.approx(float(1 - (1 - t) ** 2)),
    }

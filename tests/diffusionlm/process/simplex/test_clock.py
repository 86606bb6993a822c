"""The clock of the race: accuracies by quadrature, the end of the clock by the paper's own path, the two rhythms."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from diffusionlm.process.simplex.clock import RaceClock, accuracy, gain, log_s_of_accuracy, max_t_of

SIZES = (2, 3, 8, 257, 50257)


def wins(size: int, s: float) -> float:
    """Return P(s·E > V − 1 other exponentials) = ∫ e^{−y}(1 − e^{−sy})^{V−1} dy."""
    bends = [0, *(math.log(size) / s * share for share in (0.5, 1.0, 2.0)), 1, 5, 40]
    return float(mpmath.quad(lambda y: mpmath.e**-y * (1 - mpmath.e ** (-s * y)) ** (size - 1), sorted(bends)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("s", [1.0, 1.7, 6.0, 90.0])
def test_accuracy_is_how_often_the_clean_entry_wins(size: int, s: float) -> None:
    found = accuracy(torch.tensor(math.log(s)), size)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(wins(size, s), rel=1e-6)


def test_two_tokens_have_a_closed_form() -> None:
    """A race of two is won with probability s/(1 + s)."""
    wanted = torch.tensor([0.5, 0.6, 0.9, 0.999], dtype=torch.float64)
    found = log_s_of_accuracy(wanted, 2)
    assert torch.allclose(found.exp(), wanted / (1.0 - wanted), rtol=1e-9)
    length, log_s = math.log(2 / 0.01 - 1), math.log(0.9 / 0.1)
    assert max_t_of(2, 0.01, 0.9) == pytest.approx(log_s / (length + log_s), rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_the_accuracy_is_inverted(size: int) -> None:
    wanted = torch.tensor([1.5 / size, 0.75, 0.99, 0.999], dtype=torch.float64)
    assert torch.allclose(accuracy(log_s_of_accuracy(wanted, size), size), wanted, rtol=1e-8)
    assert float(log_s_of_accuracy(torch.tensor([1 / size], dtype=torch.float64), size)) == 0.0


@pytest.mark.parametrize(("size", "beta"), [(2, 0.5), (8, 0.01), (50257, 0.2)])
def test_the_gain_is_the_log_ratio_of_the_smoothed_vertex(size: int, beta: float) -> None:
    """x_1^β = (1 − β)δ + β/V: its clean entry over any other."""
    assert gain(size, beta) == pytest.approx(math.log((1 - beta + beta / size) / (beta / size)), rel=1e-12)


def test_max_t_by_the_path_itself() -> None:
    """l_τ = (1 − τ)·ln x_0 + τ·ln x_1^β at τ = max_t leads at the clean entry as often as was asked for."""
    size, beta, many = 27, 0.05, 40_000
    tau = max_t_of(size, beta, 0.9)
    torch.manual_seed(0)
    x_0 = torch.distributions.Dirichlet(torch.ones(size, dtype=torch.float64)).sample((many,))
    x_1 = torch.full((size,), beta / size, dtype=torch.float64)
    x_1[4] += 1 - beta
    leads = ((1 - tau) * x_0.log() + tau * x_1.log()).argmax(1) == 4
    assert float(leads.double().mean()) == pytest.approx(0.9, abs=4.5 * math.sqrt(0.09 / many))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("even", ["accuracy", "t"])
def test_the_clock_runs_from_nothing_to_max_t(size: int, even: str) -> None:
    clock = RaceClock(size, 0.01, 0.31, even)
    t = torch.linspace(0, 1, 101, dtype=torch.float64).view(1, 101)
    log_s, tau = clock.log_s(t), clock.flow_time(t)
    assert log_s.shape == tau.shape == t.shape
    assert log_s.dtype == tau.dtype == torch.float64
    assert float(log_s[0, 0]) == 0.0
    assert float(tau[0, -1]) == pytest.approx(0.31, rel=1e-9)
    assert float(log_s[0, -1]) == pytest.approx(math.log(size / 0.01 - size + 1) * 0.31 / 0.69, rel=1e-9)
    assert bool((log_s.diff() > 0).all())
    if even == "t":
        assert torch.allclose(tau, 0.31 * t, rtol=1e-9)
    else:
        right = torch.tensor([wins(size, float(s)) for s in log_s[0, ::25].exp()], dtype=torch.float64)
        assert torch.allclose((right - right[0]) / (right[-1] - right[0]), t[0, ::25], atol=1e-4)


@pytest.mark.parametrize("even", ["accuracy", "t"])
def test_times_next_to_the_ends(even: str) -> None:
    clock = RaceClock(257, 0.01, 0.387, even)
    ends = torch.tensor([5e-324, 1e-300, 1e-15, 1 - 1e-15, 1.0], dtype=torch.float64)
    log_s = clock.log_s(ends)
    assert bool(log_s.isfinite().all())
    assert bool((log_s[:3] < 1e-10).all())
    assert torch.allclose(log_s[3], log_s[4], rtol=1e-9)

"""The velocity of a Beta law against v = −∂_αF/f in many digits, and quantiles of Gamma laws."""

from __future__ import annotations

import mpmath
import pytest
import torch

from diffusionlm.process.simplex.beta_velocity import HIGH, LOW, POINTS, gamma_quantile, log_velocity_table, velocity


def exact(x: float, alpha: float, size: int) -> float:
    """Return c = −∂_αF(x; α, V − 1)/(f·(1 − x)), the derivative by a central difference in 50 digits."""
    with mpmath.workdps(50):
        b, h = mpmath.mpf(size - 1), mpmath.mpf(10) ** -15
        x_, a = mpmath.mpf(x), mpmath.mpf(alpha)

        def beyond(at: mpmath.mpf) -> mpmath.mpf:
            # The smaller one of −F and 1 − F = I_{1−x}(b, a): next to 1 fifty digits would not do either.
            if x_ < a / (a + b):
                return -mpmath.betainc(at, b, 0, x_, regularized=True)
            return mpmath.betainc(b, at, 0, 1 - x_, regularized=True)

        slope = (beyond(a + h) - beyond(a - h)) / (2 * h)
        density = x_ ** (a - 1) * (1 - x_) ** (b - 1) / mpmath.beta(a, b)
        return float(slope / density / (1 - x_))


@pytest.mark.parametrize("size", [2, 3, 8, 257])
@pytest.mark.parametrize("alpha", [1.0, 1.5, 3.0, 17.0])
def test_it_is_the_derivative_of_the_distribution_function(size: int, alpha: float) -> None:
    x = [1e-9, 1e-4, 0.01, 0.2, 0.5, 0.9, 0.999]
    found = velocity(torch.tensor([x], dtype=torch.float64), torch.tensor([alpha], dtype=torch.float64), size)
    expected = torch.tensor([[exact(value, alpha, size) for value in x]], dtype=torch.float64)
    # The grid of logit x is 0.02 wide, and the density falls as e^{−Vx}.
    assert torch.allclose(found, expected, rtol=3e-3 if size > 100 else 3e-4)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 17.0])
@pytest.mark.parametrize("size", [2, 8])
def test_the_table_holds_what_lies_beyond_its_ends(alpha: float, size: int) -> None:
    """The first entries and the last, where what is outside of the grid weighs more than a cell."""
    table = log_velocity_table(torch.tensor([alpha], dtype=torch.float64), size)[0].exp()
    z = torch.linspace(LOW, HIGH, POINTS, dtype=torch.float64)
    for place in (0, 1, 2, 50):
        assert float(table[place]) == pytest.approx(exact(float(torch.sigmoid(z[place])), alpha, size), rel=1e-4)
    # Next to 1 the velocity over 1 − x is (ψ(α + V − 1) − ψ(α))/(V − 1).
    limit = float(mpmath.digamma(alpha + size - 1) - mpmath.digamma(alpha)) / (size - 1)
    for place in (-1, -2, -3, -50):
        assert float(table[place]) == pytest.approx(limit, rel=1e-4)


def test_each_row_has_its_own_concentration() -> None:
    x = torch.tensor([[0.1, 0.6], [0.1, 0.6], [0.3, 0.4]], dtype=torch.float64)
    alpha = torch.tensor([4.0, 1.5, 4.0], dtype=torch.float64)
    together = velocity(x, alpha, 5)
    for row in range(3):
        assert torch.allclose(together[row], velocity(x[row : row + 1], alpha[row : row + 1], 5)[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 8, 4096])
def test_the_ends_are_finite_and_positive(size: int, dtype: torch.dtype) -> None:
    x = torch.tensor([[0.0, 1e-30, 1e-12, 1.0 - 1e-7, 1.0]], dtype=dtype)
    for alpha in (1.0, 1.0 + 1e-9, 200.0):
        c = velocity(x, torch.tensor([alpha], dtype=torch.float64), size)
        assert c.dtype == dtype
        assert bool(c.isfinite().all())
        assert bool((c >= 0).all())
    assert bool(log_velocity_table(torch.tensor([1.0, 200.0], dtype=torch.float64), size).isfinite().all())


def test_gamma_quantiles() -> None:
    """α = 1 is −ln(1 − u); any other is where the regularised incomplete gamma function is u."""
    u = torch.tensor([1e-9, 0.01, 0.5, 0.99, 1 - 1e-9], dtype=torch.float64)
    assert torch.allclose(gamma_quantile(u, torch.ones_like(u)), -torch.log1p(-u), rtol=1e-6)
    for alpha in (1.7, 12.0, 200.0):
        found = gamma_quantile(u, torch.full_like(u, alpha))
        back = [float(mpmath.gammainc(alpha, 0, float(y), regularized=True)) for y in found]
        assert back == pytest.approx(u.tolist(), rel=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 1.0001, 1.5, 5.0, 34.0, 200.0])
def test_gamma_quantiles_into_both_tails(alpha: float) -> None:
    small = torch.logspace(-25, -0.01, 400, dtype=torch.float64)
    u = torch.cat((small, 1.0 - torch.logspace(-12, -0.3, 100, dtype=torch.float64)))
    found = gamma_quantile(u, torch.full_like(u, alpha))
    again = torch.special.gammainc(torch.full_like(u, alpha), found)
    assert torch.allclose(again, u, rtol=1e-10, atol=0.0)
    if alpha == 1.0:
        assert torch.allclose(found[:400], -torch.log1p(-small), rtol=1e-9, atol=0.0)


def test_a_quantile_at_the_ends_is_finite() -> None:
    u = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(3)
    found = gamma_quantile(u, torch.tensor([1.0, 1.0, 3.0, 3.0, 60.0, 60.0], dtype=torch.float64))
    assert bool(torch.isfinite(found).all())
    assert bool((found[::2] < 1e-6).all())
    assert bool((found[1::2] > 30.0).all())

"""How fast the clean entry of a Dirichlet flow moves: a stable form of Stärk's c(x, α).

The clean entry is Beta(α, V − 1). Its law moves with α at the velocity v = −∂_αF/f (F its distribution function, f its
density), and with m = ψ(α) − ψ(α + V − 1) the mean of ln x,

    v(x)·f(x) = ∫_0^x f(y)(m − ln y) dy = ∫_x^1 f(y)(ln y − m) dy,       c(x, α) = v(x)/(1 − x).

The first integrand is positive below e^m and the second above, so that nothing cancels; both are summed in log-space
over a grid of logit x, each cell as an exponential. Written with the incomplete beta function's derivative, as in the
paper, the same quantity is a difference of nearly equal numbers. Stärk et al. 2024, https://arxiv.org/abs/2402.05841
(App. A.1). docs/MATH.md §3.
"""

from __future__ import annotations

import math

from diffusionlm.lazy import torch

LOW, HIGH, POINTS = -40.0, 40.0, 4001
CORRECTIONS = 6
"""From the starts below, four bring the quantile to the precision of the distribution function."""


def gamma_quantile(u: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return the quantile of Gamma(α, 1) at u in (0, 1), for α ≥ 1, (n,) float64.

    Halley's method inside a bracket, from the better of Wilson and Hilferty's cube (1931) and the first term of the
    series, x^α/Γ(α + 1), which is the lower one and takes over where u is tiny.
    """
    low, high = torch.zeros_like(u), alpha + 40.0 + 12.0 * alpha.sqrt()
    log_gamma, spread = torch.lgamma(alpha), 1.0 / (3.0 * alpha.sqrt())
    cube = alpha * (1.0 - spread.square() + spread * torch.special.ndtri(u)).pow(3)
    series = torch.exp((u.log() + log_gamma + alpha.log()) / alpha)
    x = torch.minimum(torch.maximum(cube, series).clamp_min(1e-30), high)
    for _ in range(CORRECTIONS):
        error = torch.special.gammainc(alpha, x) - u
        low, high = torch.where(error < 0, x, low), torch.where(error < 0, high, x)
        step = error * torch.exp(x + log_gamma - (alpha - 1.0) * x.log())
        bend = step * ((alpha - 1.0) / x - 1.0)
        moved = x - step / (1.0 - 0.5 * bend.clamp(max=1.0))
        x = torch.where((moved >= low) & (moved <= high), moved, 0.5 * (low + high))
    return x.clamp_min(1e-30)


def log_velocity_table(alpha: torch.Tensor, size: int) -> torch.Tensor:
    """Return (M, POINTS) float64: ln c on the grid of logit x, for M values of α.

    Args:
        alpha: (M,) float64, at least 1.
        size: V.
    """
    z = torch.linspace(LOW, HIGH, POINTS, dtype=torch.float64, device=alpha.device)
    log_x, log_rest = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
    a, b = alpha[:, None], size - 1.0
    log_f = (a - 1.0) * log_x + (b - 1.0) * log_rest
    mean = torch.digamma(a) - torch.digamma(a + b)
    away = log_x - mean
    g = log_f + log_x + log_rest + away.abs().clamp_min(1e-300).log()  # dy = y(1 − y) dz
    slope = (g[:, 1:] - g[:, :-1]).abs()
    cell = torch.maximum(g[:, 1:], g[:, :-1]) + torch.where(
        slope < 1e-6, 0.0, (-torch.expm1(-slope) / slope.clamp_min(1e-6)).log()
    )
    # What lies beyond the grid: x(m − ln x + 1/α)/α is the integral from 0, (ln x − m)(1 − x)/b the one to 1.
    width = torch.log(z[1] - z[0])
    low = log_f[:, :1] + log_x[0] + (mean - log_x[0] + 1.0 / a).log() - a.log() - width
    high = log_f[:, -1:] + log_rest[-1] + away[:, -1:].log() - math.log(b) - width
    below = torch.cat((low, cell), 1).logcumsumexp(1)
    above = torch.cat((high, cell.flip(1)), 1).logcumsumexp(1).flip(1)
    mass = torch.where(away < 0, below, above) + width
    return mass - log_f - log_rest


def velocity(x: torch.Tensor, alpha: torch.Tensor, size: int) -> torch.Tensor:
    """Return c(x, α), (n, V) of the dtype of ``x``, for points (n, V) with one α each, (n,) float64."""
    distinct, which = alpha.unique(return_inverse=True)
    table = log_velocity_table(distinct, size)
    z = torch.logit(x.double().clamp(1e-17, 1.0 - 1e-16)).clamp(LOW, HIGH)
    place = (z - LOW) * ((POINTS - 1) / (HIGH - LOW))
    left = place.long().clamp(max=POINTS - 2)
    share, rows = place - left, which[:, None]
    return torch.exp(table[rows, left] * (1.0 - share) + table[rows, left + 1] * share).to(x.dtype)

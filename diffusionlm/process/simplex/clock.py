"""The clock of the exponential race: everything through ln s, a log signal-to-noise ratio.

The logit path at flow time τ with smoothing β is the race r_j = E_j·s^{[j = clean]} with

    ln s = τL/(1 − τ),   L = ln(V/β − V + 1)

so that τ and β act through ln s alone. The best guess of a token from its own race, under a uniform prior, is right
with probability

    accuracy(s) = Γ(1 + 1/s)·Γ(V)/Γ(V + 1/s)          (1/V at s = 1;   ≈ V^{−1/s} Γ(1 + 1/s))

which rises from almost nothing to almost one within a short piece of τ that depends on V. So τ_max follows from V and
β, and the clock runs by default evenly in that accuracy. docs/MATH.md §3.
"""

from __future__ import annotations

import math

from diffusionlm.lazy import torch

BISECTIONS = 44
KNOTS = 4096
"""Points of the tabulated clock, evenly spaced in ln s; a straight line runs between two of them."""


def gain(size: int, beta: float) -> float:
    """Return L = ln(V/β − V + 1)."""
    return math.log(size / beta - size + 1.0)


def accuracy(log_s: torch.Tensor, size: int) -> torch.Tensor:
    """Return Γ(1 + 1/s)Γ(V)/Γ(V + 1/s), float64 of the shape of ln s."""
    inverse = torch.exp(-log_s.double())
    of_size = math.lgamma(size)
    return torch.exp(torch.lgamma(1.0 + inverse) + of_size - torch.lgamma(size + inverse))


def log_s_of_accuracy(wanted: torch.Tensor, size: int) -> torch.Tensor:
    """Return the ln s ≥ 0 of an accuracy in [1/V, 1), float64, by bisection."""
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 40.0)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = accuracy(middle, size) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(wanted * size <= 1.0 + 1e-9, 0.0, 0.5 * (low + high))


def max_t_of(size: int, beta: float, wanted: float) -> float:
    """Return the flow time at which a token is known from its own state with probability ``wanted``."""
    log_s = float(log_s_of_accuracy(torch.tensor(max(wanted, 1.0 / size), dtype=torch.float64), size))
    return log_s / (gain(size, beta) + log_s)


class RaceClock:
    """t ∈ [0, 1] → ln s.

    Args:
        size: V.
        beta: β.
        max_t: The flow time at t = 1.
        even: What the clock runs evenly in: ``accuracy`` or flow time ``t``.
    """

    def __init__(self, size: int, beta: float, max_t: float, even: str) -> None:
        self.size, self.gain, self.max_t, self.even = size, gain(size, beta), max_t, even
        last = torch.tensor(self.gain * max_t / (1.0 - max_t), dtype=torch.float64)
        self._log_s = torch.linspace(0.0, float(last), KNOTS, dtype=torch.float64)
        reached = accuracy(self._log_s, size)
        self._share = (reached - reached[0]) / (reached[-1] - reached[0])

    def flow_time(self, t: torch.Tensor) -> torch.Tensor:
        """Return τ, float64."""
        log_s = self.log_s(t)
        return log_s / (self.gain + log_s)

    def log_s(self, t: torch.Tensor) -> torch.Tensor:
        """Return ln s at times of any shape, float64."""
        if self.even == "t":
            flow = self.max_t * t
            return flow * self.gain / (1.0 - flow)
        log_s, share = self._log_s.to(t.device), self._share.to(t.device)
        right = torch.searchsorted(share, t.contiguous()).clamp(1, KNOTS - 1)
        low, high = share[right - 1], share[right]
        part = (t - low) / (high - low)
        return log_s[right - 1] + part * (log_s[right] - log_s[right - 1])

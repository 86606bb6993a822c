"""Standard errors of a total divided by a count.

Per-token and per-byte values are ratios ΣS/ΣN over clusters of unequal size. The error of such a ratio comes from the
residuals S_c − R·N_c of whole clusters (Cochran, "Sampling Techniques", 3rd ed. 1977, §2.11), never from single tokens,
which are far from independent inside a document.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

ErrorUnit = Literal["document", "window", "draw", "none"]


def ratio_error(totals: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard error of ΣS/ΣN over independent clusters.

    Args:
        totals: (C,) float64, S of each cluster; C ≥ 2.
        counts: (C,) N of each cluster.
    """
    clusters = len(totals)
    assert clusters > 1, f"{clusters} cluster has no spread"
    whole = float(counts.sum())
    residuals = totals - (float(totals.sum()) / whole) * counts
    return math.sqrt(clusters / (clusters - 1) * float(residuals @ residuals)) / whole


def draw_error(nats: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard error of ΣS/ΣN from the spread of whole draws.

    Args:
        nats: (D, S) float64, D ≥ 2 draws of S windows.
        counts: (S,) N of each window.
    """
    return float(nats.sum(axis=1).std(ddof=1)) / math.sqrt(nats.shape[0]) / float(counts.sum())


def monte_carlo_error(nats: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard error of ΣS/ΣN from the noise alone, the windows given; shapes as in ``draw_error``.

    Sums the variances of the windows, whose noise is independent.
    """
    return math.sqrt(float(nats.var(axis=0, ddof=1).sum()) / nats.shape[0]) / float(counts.sum())

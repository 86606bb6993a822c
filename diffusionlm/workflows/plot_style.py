"""How the pictures look that matplotlib draws, and what to say where it is not installed."""

from __future__ import annotations

from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#444444")
"""Okabe and Ito's palette, told apart by colour-blind readers too, without its yellow; markers differ as well."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INSTALL = "matplotlib is not installed; pip install 'flowlm[plots]' (in a checkout: uv sync --extra plots)"
STYLE: dict[Any, Any] = {
    "figure.figsize": (7.2, 4.6),
    "figure.dpi": 160,
    "font.size": 10.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "axes.xmargin": 0.08,
    "axes.ymargin": 0.12,
    "savefig.bbox": "tight",
}


def short_number(value: float) -> str:
    """Return 250 k, 1.5 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"

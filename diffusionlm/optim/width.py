"""Learning rates that carry over between widths: the maximal-update parametrisation (µP), as factors of the rates.

A learning rate found on a narrow network is right for a wide one if every layer's output moves by the same amount per
step at every width. With weights initialised as this library does (variance 1/fan-in, the head 1/fan-in²) that needs

| role | Adam's learning rate |
|---|---|
| embedding, vector | unchanged |
| hidden matrix, head | × base_width / fan-in |

because Adam moves every entry by about the learning rate, and a hidden unit adds up fan-in of them, in step. A matrix
whose fan-in is ``base_width`` learns at the rate that is written down. Yang et al. 2022, "Tensor Programs V",
https://arxiv.org/abs/2203.03466, table 3.

Muon's update has singular values near 1; times √(fan-out/fan-in) it moves outputs by the same root mean square whatever
the shape (Yang, Simon and Bernstein 2023, https://arxiv.org/abs/2310.17813), so no width enters. The factor of its
authors, √max(1, fan-out/fan-in), is the same number for square and widening matrices and larger, by a ratio that does
not depend on the width, for narrowing ones.

Two things are the user's: change the number of heads with the width and leave the head's own width alone (µP would
divide attention logits by d instead of √d otherwise), and keep the embedding untied (a tied one learns as an
embedding).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusionlm.lazy import torch

    Scale = Callable[[str, torch.Tensor], float]
else:
    Scale = Callable


def unscaled(role: str, parameter: torch.Tensor) -> float:
    """Return 1: learning rates as they are written down."""
    del role, parameter
    return 1.0


def width_scale(base_width: int | None, roles: tuple[str, ...]) -> Scale:
    """Return the factor base_width / fan-in for the matrices of some roles; 1 for all others, and where it is unset.

    Args:
        base_width: The fan-in at which the factor is 1, or None.
        roles: The roles whose rule it is.
    """
    if base_width is None:
        return unscaled

    def scale(role: str, parameter: torch.Tensor) -> float:
        return base_width / parameter.shape[-1] if role in roles else 1.0

    return scale

"""The loss by noise level: where between noise and data a model is good, without a single extra wait for the device.

Scored rows fall into ten buckets of κ(t), the probability that a token is clean: ``loss/level_0.3`` is the mean
unweighted loss of the rows with 0.3 ≤ κ < 0.4 over the steps between two logs. Sums and counts stay on the device and
travel with the other scalars of a logged step. Kingma et al. 2021, "Variational Diffusion Models",
https://arxiv.org/abs/2107.00630, and Karras et al. 2022, https://arxiv.org/abs/2206.00364, show losses this way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffusionlm.objective.engine import LossSum, Prepared
from diffusionlm.objective.rows import Rows
from diffusionlm.process import Process

LEVELS = 10


class LevelLoss:
    """Sums and counts of row losses by κ.

    Args:
        process: Its schedule says what κ is at a time.
        device: Where the sums are kept.
    """

    def __init__(self, process: Process, device: torch.device) -> None:
        self.process = process
        self.totals = torch.zeros((2, LEVELS), dtype=torch.float64, device=device)
        self._levels = torch.arange(LEVELS, device=device)[:, None]

    def add(self, prepared: Prepared, made: LossSum) -> None:
        """Add the scored rows of a micro-batch, without those whose loss is not finite."""
        kappa = torch.cat([self._kappa(one.rows)[: one.scored] for one in prepared.passes])
        bucket = (kappa * LEVELS).long().clamp(0, LEVELS - 1)
        # A product with indicators, not a scatter: on a GPU the order of a scatter's additions is not fixed.
        finite = made.values.isfinite()
        inside = ((bucket == self._levels) & finite).double()
        self.totals[0] += inside @ torch.where(finite, made.values.double(), 0.0)
        self.totals[1] += inside.sum(1)

    def means(self) -> dict[str, torch.Tensor]:
        """Return the mean loss of each bucket, 0-dim on the device; NaN where no row fell into one."""
        means = self.totals[0] / self.totals[1]
        return {f"loss/level_{level / LEVELS:.1f}": means[level] for level in range(LEVELS)}

    def reset(self) -> None:
        """Begin anew."""
        self.totals.zero_()

    def state(self) -> list[float]:
        """Return sums and counts for a checkpoint, so that a resumed run logs what the unbroken one does."""
        return self.totals.flatten().tolist()

    def load_state(self, state: Sequence[float]) -> None:
        """Go on from ``state()``."""
        self.totals.copy_(torch.tensor(state, dtype=torch.float64).view_as(self.totals))

    def _kappa(self, rows: Rows) -> torch.Tensor:
        return self.process.schedule.kappa(rows.t) if rows.noise is None else rows.noise.kappa

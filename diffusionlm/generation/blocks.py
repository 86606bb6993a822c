"""Semi-autoregressive blocks: the holes of a canvas, cut into blocks that are finished one after another.

Block j of a row holds its editable positions number j·L … (j+1)·L − 1, wherever they lie, so that one rule serves a
continuation and a text with several holes. The row's steps are shared out evenly, the remainder to its first blocks. A
row's blocks depend on that row alone. Arriola et al. 2025, https://arxiv.org/abs/2503.09573; Nie et al. 2025 (LLaDA),
https://arxiv.org/abs/2502.09992.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusionlm.errors import ConfigError
from diffusionlm.lazy import torch
from diffusionlm.process import Process


@dataclass(frozen=True)
class Blocks:
    """The blocks of a batch of canvases.

    Attributes:
        index: (B, T) int64, the block of each editable position, −1 elsewhere.
        number: (B,) int64, blocks of each row; 0 where nothing is editable.
        length: Editable positions per block.
        steps: Steps for all blocks of a row.
    """

    index: torch.Tensor
    number: torch.Tensor
    length: int
    steps: int

    @classmethod
    def of(cls, editable: torch.Tensor, length: int | None, steps: int) -> Blocks:
        """Cut the editable positions (B, T) into blocks; ``length`` None = one block per row.

        Raises:
            ConfigError: There are fewer steps than blocks.
        """
        if length is None:
            length = max(1, editable.shape[1])
        index = torch.where(editable, (editable.long().cumsum(1) - 1) // length, -1)
        number = index.amax(1) + 1
        most = int(number.max())
        if most > steps:
            raise ConfigError(
                f"{steps} steps are too few for {most} blocks of {length} tokens, which take at least one step each; "
                f"use steps of at least {most}, or a larger block_length"
            )
        return cls(index, number, length, steps)

    def planned(self, block: torch.Tensor) -> torch.Tensor:
        """Return (B,) int64: steps planned for the current ``block`` (B,) of each row."""
        number = self.number.clamp_min(1)
        return self.steps // number + (block < self.steps % number).long()

    def model_time(self, process: Process, block: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return (B, T) float64: the time that the network is told.

        Without blocks it is the row's own time. With them it is the time at which the process would have the same
        expected share of clean tokens: earlier blocks are clean, later ones noise.

        Args:
            process: Owner of κ.
            block: (B,) int64, the current block of each row.
            t: (B,) float64, the time within it.
        """
        total = (self.index >= 0).sum(1)
        before = torch.minimum(block * self.length, total)
        size = torch.minimum(total - before, torch.full_like(total, self.length))
        kappa = (before + process.schedule.kappa(t) * size) / total.clamp_min(1)
        whole = process.schedule.inverse(kappa.clamp(0.0, 1.0))
        return torch.where(self.number > 1, whole, t)[:, None].expand(self.index.shape)

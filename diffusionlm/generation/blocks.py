"""Semi-autoregressive blocks: the holes of a canvas, cut into blocks that are finished one after another.

Block j of a row holds its editable positions number j·L … (j+1)·L − 1, wherever they lie, so that one rule serves a
continuation and a text with several holes. The row's steps are shared out evenly, the remainder to its first blocks. A
row's blocks depend on that row alone. A process with blocks of its own (block diffusion) has them at fixed places of
the canvas, given tokens included, because that is what its network was trained on. Arriola et al. 2025,
https://arxiv.org/abs/2503.09573; Nie et al. 2025 (LLaDA), https://arxiv.org/abs/2502.09992.
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
        place: (B, T) int64, the process's own block of every position, or None.
    """

    index: torch.Tensor
    number: torch.Tensor
    length: int
    steps: int
    place: torch.Tensor | None = None

    @classmethod
    def of(cls, editable: torch.Tensor, length: int | None, steps: int, place: torch.Tensor | None = None) -> Blocks:
        """Cut the editable positions (B, T) into blocks; ``length`` None = one block per row.

        Args:
            editable: (B, T) bool.
            length: Editable positions per block.
            steps: Steps of a row.
            place: (B, T) int64, increasing: the blocks of the process itself, to be kept to.

        Raises:
            ConfigError: There are fewer steps than blocks, or the process has blocks of its own and a length is given.
        """
        if place is not None and length is not None:
            raise ConfigError(
                f"block_length = {length} was given, but the model's process has blocks of its own; unset block_length"
            )
        width = max(1, editable.shape[1])
        length = width if length is None else min(length, width)
        if place is None:
            index = torch.where(editable, (editable.long().cumsum(1) - 1) // length, -1)
        else:
            index = torch.where(editable, _numbered(place, editable), -1)
        number = index.amax(1) + 1
        most = int(number.max())
        if most > steps:
            of_tokens = f"of {length} tokens, " if place is None else ""
            larger = ", or a larger block_length" if place is None else ""
            raise ConfigError(
                f"{steps} steps are too few for {most} blocks {of_tokens}which take at least one step each; "
                f"use steps of at least {most}{larger}"
            )
        return cls(index, number, length, steps, place)

    def planned(self, block: torch.Tensor) -> torch.Tensor:
        """Return (B,) int64: steps planned for the current ``block`` (B,) of each row."""
        number = self.number.clamp_min(1)
        return self.steps // number + (block < self.steps % number).long()

    def own_time(self, process: Process, block: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return (B, T) float64: the time at which each position of the current block stands, as noise goes.

        The network may be told another one (``model_time``); how much a token tells of itself is a matter of this one.
        """
        if self.place is not None:
            return self.model_time(process, block, t)
        return t[:, None].expand(self.index.shape)

    def model_time(self, process: Process, block: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return (B, T) float64: the time that the network is told.

        Without blocks it is the row's own time. With them it is the time at which the process would have the same
        expected share of clean tokens: earlier blocks are clean, later ones noise. Blocks of the process itself have
        times of their own: 1 before the current one, where everything is clean, and 0 after it.

        Args:
            process: Owner of κ.
            block: (B,) int64, the current block of each row.
            t: (B,) float64, the time within it.
        """
        if self.place is not None:
            here = self.index == block[:, None]
            last = self.place.amax() + 1
            current = torch.where(here, self.place, last).amin(1, keepdim=True)
            return torch.where(self.place < current, 1.0, torch.where(self.place == current, t[:, None], 0.0))
        total = (self.index >= 0).sum(1)
        before = torch.minimum(block * self.length, total)
        size = torch.minimum(total - before, torch.full_like(total, self.length))
        kappa = (before + process.schedule.kappa(t) * size) / total.clamp_min(1)
        whole = process.schedule.inverse(kappa.clamp(0.0, 1.0))
        return torch.where(self.number > 1, whole, t)[:, None].expand(self.index.shape)


def _numbered(place: torch.Tensor, editable: torch.Tensor) -> torch.Tensor:
    """Return (B, T) int64: the blocks that hold an editable position, numbered from 0 in each row."""
    width = int(place.max()) + 1
    holds = torch.zeros((len(place), width), dtype=torch.int64, device=place.device)
    holds.scatter_reduce_(1, place, editable.long(), reduce="amax")
    return (holds.cumsum(1) - 1).gather(1, place)

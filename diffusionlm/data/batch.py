"""What a training or evaluation step receives: rows of clean tokens and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass, fields

from diffusionlm.lazy import torch


@dataclass(frozen=True)
class Batch:
    """Rows of clean tokens; every tensor is (B, T).

    Attributes:
        x_1: int64 token ids; padding holds EOS, which nothing reads.
        segments: int64, 0 = padding, else 1, 2, ... within the row; attention never crosses segments.
        positions: int64, counted from 0 in every segment.
        document: int64, index of the document in the whole data set, whatever the packing, batch size and rank.
        window: int64, which piece of its document a segment is.
        frozen: bool, given positions: never corrupted, never scored, never changed.
    """

    x_1: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    document: torch.Tensor
    window: torch.Tensor
    frozen: torch.Tensor

    @property
    def editable(self) -> torch.Tensor:
        """(B, T) bool: what may be corrupted and scored."""
        return (self.segments > 0) & ~self.frozen

    def __len__(self) -> int:
        return len(self.x_1)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return Batch(**{f.name: vars(self)[f.name].to(device, non_blocking=non_blocking) for f in fields(self)})

    def rows(self, begin: int, end: int) -> Batch:
        """Return rows ``begin`` to ``end`` (views)."""
        return Batch(**{f.name: vars(self)[f.name][begin:end] for f in fields(self)})


def concatenate(batches: list[Batch]) -> Batch:
    """Return the rows of several batches of one width, in order."""
    return Batch(**{f.name: torch.cat([vars(batch)[f.name] for batch in batches]) for f in fields(Batch)})

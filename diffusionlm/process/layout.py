"""Which positions of a row belong together: document segments, positions and the attention pattern.

Data builds a layout, a process may replace it (block diffusion attends from a noisy to a clean half), the model turns
it into attention. It lives below all three.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from diffusionlm.lazy import torch


@dataclass(frozen=True)
class Layout:
    """The arrangement of documents in a batch of rows.

    Attributes:
        segments: (B, T) int64 or None. A position attends only to positions of its own segment; 0 is padding, documents
            count from 1 within a row. None means one document fills every row.
        positions: (B, T) int64 or None. The position inside the document window that rotary embeddings see; None means
            0 … T − 1.
        causal: Attend to earlier positions only.
        blocks, clean: (B, S) int64 and (B, S) bool, or None. Blocks of block diffusion: a noisy position sees its own
            block's noisy positions and the clean ones of earlier blocks; a clean one sees clean ones of its own and
            earlier blocks. ``clean`` None: every position sees its own and earlier blocks.
    """

    segments: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    causal: bool = False
    blocks: torch.Tensor | None = None
    clean: torch.Tensor | None = None

    def with_causal(self, causal: bool) -> Layout:
        """Return the same arrangement with another direction of attention."""
        return replace(self, causal=causal)

    def with_blocks(self, blocks: torch.Tensor) -> Layout:
        """Return the same arrangement with blocks (B, S), every position seeing its own and earlier ones."""
        return replace(self, blocks=blocks, clean=None)

    def positions_of(self, like: torch.Tensor) -> torch.Tensor:
        """Return the positions, (B, S) int64; ``like`` (B, S) says the shape and device where they are implicit."""
        if self.positions is not None:
            return self.positions
        return torch.arange(like.shape[1], device=like.device).expand(like.shape)

    def rows(self, index: torch.Tensor) -> Layout:
        """Return the arrangement of some rows of the batch, (N,) int64."""
        parts = {f.name: vars(self)[f.name] for f in fields(self) if f.name != "causal"}
        return Layout(**{k: None if v is None else v[index] for k, v in parts.items()}, causal=self.causal)


def time_groups(segments: torch.Tensor, blocks: torch.Tensor | None) -> torch.Tensor:
    """Return (B, T) int64: numbers from 1 within each row of the runs that share a time, 0 = padding.

    Args:
        segments: (B, T) int64 document segments, 0 = padding.
        blocks: (B, T) int64 block of each position in its document, or None: a document shares one time.
    """
    if blocks is None:
        return segments
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = (segments[:, 1:] != segments[:, :-1]) | (blocks[:, 1:] != blocks[:, :-1])
    return torch.where(segments > 0, begins.long().cumsum(1), 0)

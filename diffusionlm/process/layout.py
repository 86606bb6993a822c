"""Which positions of a row belong together: document segments, positions and the attention pattern.

Data builds a layout, a process may replace it (block diffusion attends from a noisy to a clean half), the model turns
it into attention. It lives below all three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """

    segments: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    causal: bool = False

    def with_causal(self, causal: bool) -> Layout:
        """Return the same arrangement with another direction of attention."""
        return replace(self, causal=causal)

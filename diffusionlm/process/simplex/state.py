"""A noisy state on the simplex, as the network takes it in and the head's conversion reads it.

The state holds no point of the simplex, only how to make the coordinates of some sites: from counter-based noise in
training, from the sampler's memory in generation. Both ways go through the same code, so that the network sees the
same function of the state in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from diffusionlm.lazy import torch

if TYPE_CHECKING:
    from diffusionlm.process.simplex.base import SimplexProcess

CHUNK_ELEMENTS = 1 << 21
"""Coordinates that exist at a time: 8 MiB in float32, as few as still keep the matmul busy."""


def chunk_sites(sites: int, entries: int) -> int:
    """Return how many sites one chunk takes."""
    return max(8, min(sites, CHUNK_ELEMENTS // max(entries, 1)))


SLICE_ELEMENTS = 1 << 17
"""Coordinates that are made at a time: half a MiB in float32, which the CPU's second-level cache keeps."""


def slice_sites(entries: int) -> int:
    """Return how many sites are made at a time."""
    return max(1, SLICE_ELEMENTS // entries)


class Coordinates(Protocol):
    """Makes coordinates in the process's own form."""

    def __call__(self, sites: slice | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return (n, C) of which of the B·T sites."""
        ...


@dataclass(frozen=True)
class SimplexState:
    """A batch of noisy points; implements ``Embeddable``.

    Attributes:
        process: Whose points they are.
        t: (B, T) float64.
        level: (B·T,) float64, t on the process's own clock.
        given: (B, T) int64, the token of each position that is not ``noisy``; anything elsewhere.
        noisy: (B, T) bool; other positions embed exactly their token.
        coordinates: Makes the coordinates of some sites.
        keys: Keys of the sites, (B·T, 2) int32, where the coordinates come from counter-based noise.
    """

    process: SimplexProcess
    t: torch.Tensor
    level: torch.Tensor
    given: torch.Tensor
    noisy: torch.Tensor
    coordinates: Coordinates
    keys: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.given.shape[0], self.given.shape[1]

    def embed(self, table: torch.Tensor) -> torch.Tensor:
        """Return (B, T, D): tokens where given, mixtures elsewhere; differentiable in the table (rows, D)."""
        known = torch.nn.functional.embedding(self.given, table)
        mixed = self.process.embed_sites(self, table)
        return torch.where(self.noisy[..., None], mixed.view_as(known), known)

    def mixture(self, table: torch.Tensor) -> torch.Tensor:
        """Return (B·T, D), the exact mixtures under the process's weights, chunk by chunk."""
        from diffusionlm.process.simplex.mixing import mix  # defines an autograd function, and so needs torch

        def weights(sites: slice, dtype: torch.dtype) -> torch.Tensor:
            return self.process.weights(self.coordinates(sites, dtype), self.level[sites])

        return mix(self.process.rows_of(table), weights, self.level.numel())

    def evidence(self, rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return (N, K): ln q_t(x_t | x = k) up to a constant per row, at flat indices (N,) of the sites."""
        size = slice_sites(self.process.entries)
        parts = [self.process.evidence(self.coordinates(part, dtype), self.level[part]) for part in rows.split(size)]
        return torch.cat(parts)

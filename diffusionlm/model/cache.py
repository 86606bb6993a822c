"""Keys and values of finished columns of a canvas, so that a forward pass runs over the new ones alone.

The buffer is indexed by the column of the canvas, (B, H_kv, T, d) per layer, not by the order in which columns were
computed: a prompt in the middle, rows of different progress and infilling need no special case. A pass writes the keys
and values of its columns to their places and reads all that are valid or its own; those that nothing can change any
more are then marked valid, the others are overwritten by the next pass. Exact where a finished column sees only
finished ones (causal and block-causal patterns). Pope et al. 2022, https://arxiv.org/abs/2211.05102.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from diffusionlm.device import arithmetic_device
from diffusionlm.lazy import torch


class Exchange(Protocol):
    """Takes new keys and values in and hands out all that can be read."""

    def __call__(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, H_kv, W, d) keys and values for new ones (B, H_kv, N, d)."""
        ...


class KVCache:
    """Keys and values of B canvases of T columns.

    Attributes:
        keys, values: One (B, H_kv, T, d) tensor per layer.
        valid: (B, T) bool, the columns that may be read; with the canvases, on the device of the arithmetic.

    Args:
        layers: Number of layers.
        shape: (B, H_kv, T, d).
        dtype, device: Of the buffers.
    """

    def __init__(self, layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.valid = torch.zeros((shape[0], shape[2]), dtype=torch.bool, device=arithmetic_device(device))


@dataclass(frozen=True)
class NewColumns:
    """The columns of one forward pass.

    Attributes:
        cache: What is kept.
        rows: (R,) int64, the rows of the cache that take part; None = all.
        columns: (R, N) int64, the new columns of each; a row with fewer repeats its last one.
        width: W, columns that can be read: none at or beyond W is seen by a new one.
    """

    cache: KVCache
    rows: torch.Tensor | None
    columns: torch.Tensor
    width: int

    def readable(self) -> torch.Tensor:
        """Return (R, W) bool: the columns with keys and values during this pass."""
        valid = self.cache.valid if self.rows is None else self.cache.valid[self.rows]
        return valid.scatter(1, self.columns, torch.ones_like(self.columns, dtype=torch.bool))[:, : self.width]

    def layer(self, index: int) -> Exchange:
        """Return the exchange of one layer."""
        return partial(self._exchange, index)

    def _exchange(self, index: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = None if self.rows is None else self.rows.to(k.device)
        place = self.columns.to(k.device)[:, None, :, None].expand_as(k)
        found = []
        for buffer, new in ((self.cache.keys[index], k), (self.cache.values[index], v)):
            if rows is None:
                found.append(buffer.scatter_(2, place, new)[:, :, : self.width])
            else:
                part = buffer[rows].scatter_(2, place, new)
                buffer[rows] = part
                found.append(part[:, :, : self.width])
        return found[0], found[1]

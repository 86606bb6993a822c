"""The scored rows of a batch and what their loss may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from diffusionlm.lazy import torch
from diffusionlm.process.base import Corrupted, Embeddable
from diffusionlm.process.noise import Noise


@dataclass(frozen=True)
class Rows:
    """Scored positions, flattened; every tensor is (N,).

    Attributes:
        x: int64 clean tokens.
        z: int64 noisy tokens; the clean ones where the state is not ids.
        t: float64 times.
        noise: ν_t there; None where the process is not discrete.
        index: int64 flat indices into B·T.
        state: The whole batch's state on the simplex, of which ``index`` names the rows; None where the state is ids.
    """

    x: torch.Tensor
    z: torch.Tensor
    t: torch.Tensor
    noise: Noise | None
    index: torch.Tensor
    state: Embeddable | None = None

    def part(self, chunk: slice) -> Rows:
        """Return a slice of the rows."""
        noise = None if self.noise is None else self.noise.rows(chunk)
        return Rows(self.x[chunk], self.z[chunk], self.t[chunk], noise, self.index[chunk], self.state)

    @classmethod
    def of(cls, corrupted: Corrupted, x_1: torch.Tensor, index: torch.Tensor) -> Rows:
        """Gather the rows at flat indices (N,)."""
        z, state = (corrupted.x_t, None) if isinstance(corrupted.x_t, torch.Tensor) else (x_1, corrupted.x_t)
        noise = None if corrupted.noise is None else corrupted.noise.rows(index)
        return cls(x_1.flatten()[index], z.flatten()[index], corrupted.t.flatten()[index], noise, index, state)


class Loss(Protocol):
    """The loss of a row."""

    def __call__(self, logits: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return nats (N,), differentiable in the logits (N, K), which are float32 or float64."""
        ...


def cross_entropy(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return −ln p(x), (N,)."""
    return torch.nn.functional.cross_entropy(logits, rows.x, reduction="none")

"""What a network thinks of the tokens that stand there, and which of them to edit.

A visible token is *doubtful* where the network gives it little and something else clearly more,

    p_i(current) < τ     and     ln p_i(best) − ln p_i(current) > δ,

with p the posterior p(x_i | z): what stands at i counts as evidence for itself, as much as the noise at the time that
the network is told leaves it. Judging by the current token rather than by the best one is what makes a clean text a
fixed point; a rule that looks at max p alone rewrites right tokens for ever. docs/MATH.md §4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.rng import key, philox
from diffusionlm.sampling.filters import CHUNK_ENTRIES

EditOrder = Literal["gain", "low_confidence", "random", "left_to_right"]
Replacement = Literal["argmax", "sample", "remask"]

LARGEST_SCORE = 1e4
"""What an infinite gain counts as: a token of probability zero comes first, and scores stay finite."""


@dataclass(frozen=True)
class Opinion:
    """The network's view of N positions, unfiltered.

    Attributes:
        best: (N,) int64, the most likely token, the lowest id among equals.
        log_best: (N,) float64, ln p of it.
        log_current: (N,) float64, ln p of the token that stands there; 0 where that is no data token.
    """

    best: torch.Tensor
    log_best: torch.Tensor
    log_current: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, z: torch.Tensor) -> Opinion:
        """Read ``logits`` (N, K) at positions that hold ``z`` (N,) int64."""
        size = logits.shape[-1]
        best = [torch.empty(0, dtype=torch.int64, device=logits.device)]
        log_best = [torch.empty(0, dtype=torch.float64, device=logits.device)]
        log_current = [torch.empty(0, dtype=torch.float64, device=logits.device)]
        rows = max(1, CHUNK_ENTRIES // size)
        for part, token in zip(logits.split(rows), z.split(rows)):
            part = part.double()
            total, top = part.logsumexp(-1), part.max(-1)
            is_token = token < size
            current = part.gather(-1, torch.where(is_token, token, 0)[:, None]).squeeze(-1)
            best.append(part.argmax(-1))
            log_best.append(top.values - total)
            log_current.append(torch.where(is_token, current - total, 0.0))
        return cls(torch.cat(best), torch.cat(log_best), torch.cat(log_current))

    def doubtful(self, threshold: float, margin: float) -> torch.Tensor:
        """Return (N,) bool: p(current) < τ and ln p(best) − ln p(current) > δ."""
        low = self.log_current.exp() < threshold
        return low & (self.log_best - self.log_current > margin)

    def scores(self, order: EditOrder, position: torch.Tensor) -> torch.Tensor:
        """Return (N,) float64, what is edited first has the highest; ``position`` (N,) int64 in the canvas."""
        if order == "gain":
            return (self.log_best - self.log_current).clamp(max=LARGEST_SCORE)
        if order == "low_confidence":
            return (-self.log_current).clamp(max=LARGEST_SCORE)
        if order == "left_to_right":
            return -position.double()
        return torch.zeros_like(self.log_best)


def fingerprint(z: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Return (B,) int64 ≥ 0: a hash of the tokens ``z`` (B, T) at ``where`` (B, T); a function of the row alone.

    Two states collide with probability 2⁻⁶³, and a collision would only end a refinement early.
    """
    position = torch.arange(z.shape[1], dtype=torch.int64, device=z.device)
    zero = torch.zeros((), dtype=torch.int64, device=z.device)
    high, low, _, _ = philox(key(0, "sample/fingerprint"), position, zero, zero, zero)
    weights = (high << 32) | low
    # Sums and products wrap around in int64, which is what a hash wants.
    return torch.where(where, (z + 1) * weights, 0).sum(1) & 0x7FFFFFFFFFFFFFFF

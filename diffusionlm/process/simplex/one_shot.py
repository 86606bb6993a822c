"""One call on pure noise: the state never leaves t = 0, whatever time it is given.

Training and sampling both show the network nothing of the text but the given tokens: the posterior of a token under
t = 0 noise is uniform, so a noisy position embeds the mean of the table. Every position is then drawn from p at once,
an honest lower bound of what a flow in many steps can add. KL-Flow's type of that name trains at its least noisy time
and starts from the noised truth, which leaks it; https://arxiv.org/abs/2411.16821. docs/MATH.md §3.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.simplex.base import SimplexProcess
from diffusionlm.process.simplex.state import SimplexState
from diffusionlm.rng import Draws


class OneShotParams(Strict):
    """Train at t = 0, draw everything in one call."""

    name: Literal["one_shot"] = "one_shot"


class OneShotProcess(SimplexProcess):
    """Pure noise only. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = OneShotParams
    sampler = "one_shot"

    def level(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    def state_of(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        noisy: torch.Tensor,
        draws: Draws,
        stream: str,
        given: torch.Tensor | None = None,
    ) -> SimplexState:
        return super().state_of(x, torch.zeros_like(t), noisy, draws, stream, given)

    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return exponentials

    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return torch.full_like(coordinates, 1.0 / self.entries)

    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(coordinates)

    def embed_sites(self, state: SimplexState, table: torch.Tensor) -> torch.Tensor:
        return self.rows_of(table).mean(0).expand(state.level.numel(), -1)

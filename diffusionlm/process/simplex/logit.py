"""The logit flow of KL-Flow: a straight line between logits, which is an exponential race.

    l_τ = (1 − τ)·ln x_0 + τ·ln x_1^β,   x_0 ~ Dirichlet(1),   x_1^β = (1 − β)·δ + β/V,   x_τ = softmax(l_τ)

Raised to 1/(1 − τ) and freed of its normaliser the state is r_j = E_j·s^{[j = clean]} with E_j ~ Exp(1): a race in
which the clean entry is faster by s. The coordinates here are r, and in them

- the deterministic step is exact for a constant posterior p:  ln r ← ln r + (ln s_u − ln s_t)·p,
- the evidence of a token is −V·ln(1 − u_i(1 − 1/s)),  u = r/Σr.

The network is shown the embedding of the posterior under a uniform prior, Σ_j p_j W_j with p ∝ exp(evidence), which is
a sufficient statistic; W·x_τ itself (``input = "state"``) carries the same information in a form that a random table
of embeddings hides: at V = 50 257 the clean token has 0.2 % of the mass when it is known almost surely.
Sevriugov and Oseledets 2024 (KL-Flow), https://arxiv.org/abs/2411.16821. docs/MATH.md §3.
"""

from __future__ import annotations

import warnings
from typing import Literal

from pydantic import Field

from diffusionlm.errors import ConfigError
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.simplex.base import FlowProcess
from diffusionlm.process.simplex.clock import RaceClock, accuracy, gain, max_t_of
from diffusionlm.process.simplex.state import SimplexState
from diffusionlm.process.simplex.top_k import embed_top_k
from diffusionlm.process.vocabulary import Vocabulary

OFF = 0.02
"""Accuracies at max_t that differ by more than this from the wanted one are worth a warning."""
LEAST, MOST = 1e-3, 15.0
"""ln s at the end of the clock: below, the clock has nothing to run over; above, 1 − u rounds to 0 in float32."""


class RaceParams(Strict):
    """What the flows of the logit family share."""

    beta: float = Field(default=0.01, ge=1e-30, le=0.999)
    """β, the smoothing of the clean vertex. It acts only through the clock."""
    accuracy: float = Field(default=0.99, gt=0.0, lt=1.0)
    """How often a token is known from its own state alone at the end of the clock; max_t follows from it, V and β."""
    max_t: float | None = Field(default=None, gt=0.0, lt=1.0)
    """The flow time at which the clock ends; unset = the one that V, β and accuracy give."""
    clock: Literal["accuracy", "t"] = "accuracy"
    """What training times and sampling steps are uniform in: the context-free accuracy, or the flow time."""
    input: Literal["posterior", "state"] = "posterior"
    """What the network is shown: the embedding of the posterior under a uniform prior, or W·x_t itself."""
    embedding: Literal["exact", "top_k"] = "exact"
    """How training embeds it: exactly, or from the K largest entries of the race and the mean of the rest."""
    top_k: int = Field(default=128, ge=1)
    """K of embedding = "top_k"."""


class LogitParams(RaceParams):
    """The logit flow (KL geodesic)."""

    name: Literal["logit"] = "logit"


class LogitProcess(FlowProcess):
    """The logit flow. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = LogitParams
    params: RaceParams

    def __init__(self, params: RaceParams, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        size = vocabulary.size
        right = max_t_of(size, params.beta, params.accuracy)
        max_t = right if params.max_t is None else params.max_t
        self._refuse(max_t)
        if params.max_t is not None:
            self._warn(max_t, right)
        self.clock = RaceClock(size, params.beta, max_t, params.clock)

    def _refuse(self, max_t: float) -> None:
        """Refuse an end of the clock that is its beginning, or beyond what float32 can tell from certainty."""
        size, length = self.vocabulary.size, gain(self.vocabulary.size, self.params.beta)
        if LEAST <= length * max_t / (1.0 - max_t) <= MOST:
            return
        if self.params.max_t is None:
            low, high = accuracy(torch.tensor([LEAST, MOST], dtype=torch.float64), size).tolist()
            what, value = "accuracy", self.params.accuracy
        else:
            low, high = LEAST / (length + LEAST), MOST / (length + MOST)
            what, value = "max_t", max_t
        raise ConfigError(
            f"process.{what} = {value:.9g} leaves the clock nothing to run over, or more than can be computed; for a "
            f"vocabulary of {size} and beta = {self.params.beta:g} it lies between {low:.6g} and {high:.8g}: leave "
            f"process.{what} unset to have its default"
        )

    def _warn(self, max_t: float, right: float) -> None:
        """Warn of an end of the clock that does not belong to V and β."""
        size, beta = self.vocabulary.size, self.params.beta
        log_s = torch.tensor(gain(size, beta) * max_t / (1.0 - max_t), dtype=torch.float64)
        reached = float(accuracy(log_s, size))
        if abs(reached - self.params.accuracy) > OFF or abs(max_t - right) > 0.25 * right:
            warnings.warn(
                f"process.max_t = {max_t:g} makes a token known from its own state with probability {reached:.3f}; "
                f"for a vocabulary of {size} and beta = {beta:g} the value for {self.params.accuracy:g} is "
                f"{right:.4f}: leave process.max_t unset to have it",
                stacklevel=3,
            )

    def level(self, t: torch.Tensor) -> torch.Tensor:
        """Return ln s."""
        return self.clock.log_s(t)

    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        own = exponentials.gather(1, x[:, None]) * level.exp().to(exponentials.dtype)[:, None]
        return exponentials.scatter_(1, x[:, None], own)

    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        if self.params.input == "state":
            remaining = (self.clock.gain / (self.clock.gain + level)).to(coordinates.dtype)  # 1 − τ
            powers = coordinates.pow_(remaining[:, None])
            return powers.div_(powers.sum(1, keepdim=True))
        # Exponentials and not a softmax, in place: these are the largest tensors of a training step.
        evidence = self.evidence(coordinates, level)
        odds = evidence.sub_(evidence.amax(1, keepdim=True)).exp_()
        return odds.div_(odds.sum(1, keepdim=True))

    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        # 1 − 1/s without cancellation near s = 1.
        excess = -torch.expm1(-level).to(coordinates.dtype)
        share = excess[:, None] / coordinates.sum(1, keepdim=True)
        return coordinates.mul_(-share).log1p_().mul_(-float(coordinates.shape[1]))

    def advance(self, coordinates: torch.Tensor, p: torch.Tensor, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        factor = torch.exp((u - t).to(p.dtype)[:, None] * p).to(coordinates.dtype)
        moved = coordinates.clone()
        moved[:, : p.shape[1]] *= factor
        return moved

    def embed_sites(self, state: SimplexState, table: torch.Tensor) -> torch.Tensor:
        # Without an entry beyond the winners there is nothing to leave out.
        if self.params.embedding == "exact" or state.keys is None or self.vocabulary.size <= self.params.top_k + 1:
            return state.mixture(table)
        return embed_top_k(self, state, table)

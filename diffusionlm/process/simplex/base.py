"""What a flow on the simplex is, for the network, the objective and the samplers.

The clock of configurations, samplers and networks runs over [0, 1] and each process maps it to its own: 0 is pure
noise, 1 the level at which a token is known from its own state alone (to ``accuracy``). What lies beyond that level is
no work for a network. A process answers how a point looks at a time (``noisy``), how a deterministic step moves it
(``advance``), with which weights the network sees it (``weights``) and what it says of the clean token
(``evidence``). None has a likelihood bound. docs/MATH.md §3; Stärk et al. 2024, https://arxiv.org/abs/2402.05841.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from diffusionlm.lazy import torch
from diffusionlm.process.base import Corrupted, Measure, Process, State
from diffusionlm.process.schedules import Linear, LinearParams, Schedule
from diffusionlm.process.simplex.state import SimplexState, chunk_sites
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.rng import Draws, entry_uniforms

START, CORRUPT = "simplex/start", "simplex/corrupt"


class SimplexProcess(Process):
    """A process whose states are points of the simplex.

    Class attributes:
        has_evidence: ``evidence`` is known, so that a posterior and a leave-one-out head can be converted.
    """

    bound = "none"
    state: ClassVar[State] = "simplex"
    objective: ClassVar[str] = "ce"
    sampler: ClassVar[str] = "hybrid"

    def __init__(self, params: Any, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        self._schedule = Linear(LinearParams())

    @property
    def schedule(self) -> Schedule:
        """κ(t) = t: what blocks take for the share of clean tokens."""
        return self._schedule

    @property
    def entries(self) -> int:
        """C, coordinates of a point."""
        return self.vocabulary.size

    def rows_of(self, table: torch.Tensor) -> torch.Tensor:
        """Return (C, D), the rows of an embedding table that belong to the coordinates."""
        return table[: self.entries]

    def embed_sites(self, state: SimplexState, table: torch.Tensor) -> torch.Tensor:
        """Return (B·T, D) embeddings of every site of a state; exact unless a process offers something faster."""
        return state.mixture(table)

    @abstractmethod
    def level(self, t: torch.Tensor) -> torch.Tensor:
        """Return the process's own clock at times in [0, 1], float64: what the methods below call ``level``."""

    @abstractmethod
    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return coordinates (n, C) of points of clean tokens; the exponentials may be overwritten.

        Args:
            exponentials: (n, C) independent Exp(1).
            x: (n,) int64 clean tokens.
            level: (n,) float64.
        """

    @abstractmethod
    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return (n, C) the weights with which the network mixes the embeddings; the coordinates may be overwritten."""

    @abstractmethod
    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return (n, K) ln q_t(point | token k) up to a constant per row; the coordinates may be overwritten."""

    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        del groups, measure
        state = self.state_of(x_1, t, editable, draws, CORRUPT)
        share = editable.double()
        return Corrupted(
            x_t=state, t=state.t, noised=editable, editable=editable, weight=share, noise_probability=share
        )

    def state_of(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        noisy: torch.Tensor,
        draws: Draws,
        stream: str,
        given: torch.Tensor | None = None,
    ) -> SimplexState:
        """Return the state of clean tokens (B, T) at times (B, T), from counter-based noise of a stream.

        ``given`` (B, T) holds the tokens of the positions that are not noisy; ``x`` itself where it is None.
        """
        keys = draws.entry_keys(stream).flatten(0, 1)
        tokens, entries = x.flatten().clamp(0, self.vocabulary.size - 1), self.entries
        level = self.level(t).flatten()

        def coordinates(sites: slice | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
            noise = entry_uniforms(keys[sites], entries, dtype).log_().neg_()
            return self.noisy(noise, tokens[sites], level[sites])

        return SimplexState(self, t, level, x if given is None else given, noisy, coordinates, keys)

    def start(self, draws: Draws, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return (B, T, C) the coordinates of pure noise, float32 unless told otherwise."""
        nothing = torch.zeros_like(draws.position)
        return self.dense(self.state_of(nothing, nothing.double(), nothing.bool(), draws, START), dtype)

    def dense(self, state: SimplexState, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return (B, T, C) coordinates of every site, for sampling only; float32 unless told otherwise."""
        dtype = torch.float32 if dtype is None else dtype
        rows, length = state.shape
        out = torch.empty((rows * length, self.entries), dtype=dtype, device=state.t.device)
        size = chunk_sites(len(out), self.entries)
        for first in range(0, len(out), size):
            part = slice(first, min(first + size, len(out)))
            out[part] = state.coordinates(part, dtype)
        return out.view(rows, length, self.entries)

    def shown(
        self, coordinates: torch.Tensor, t: torch.Tensor, given: torch.Tensor, noisy: torch.Tensor
    ) -> SimplexState:
        """Return the state of a sampler's coordinates (B, T, C)."""
        flat = coordinates.flatten(0, 1)
        return SimplexState(
            self, t, self.level(t).flatten(), given, noisy, lambda sites, dtype: flat[sites].to(dtype, copy=True)
        )

    def source(self, x: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return the likeliest token of the noise at the editable positions, for display; ``x`` elsewhere."""
        nothing = torch.zeros_like(x)
        state = self.state_of(nothing, nothing.double(), editable, draws, START)
        size = chunk_sites(x.numel(), self.entries)
        best = [
            state.coordinates(slice(first, min(first + size, x.numel())), torch.float32)[
                :, : self.vocabulary.size
            ].argmax(-1)
            for first in range(0, x.numel(), size)
        ]
        return torch.where(editable, torch.cat(best).view_as(x), x)

    def is_noise(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(z, dtype=torch.bool)


class FlowProcess(SimplexProcess):
    """A simplex process whose points move, so that a sampler can follow them."""

    @abstractmethod
    def advance(self, coordinates: torch.Tensor, p: torch.Tensor, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return coordinates (n, C) moved from levels t to u, (n,) each, along the flow of the posterior p (n, K)."""

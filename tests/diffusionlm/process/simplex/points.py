"""Points of the simplex for tests, and the log-density that a race must have."""

from __future__ import annotations

import torch

from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.process.simplex.base import SimplexProcess
from diffusionlm.process.simplex.state import SimplexState
from diffusionlm.rng import Draws

SIMPLEX = [name for name in PROCESSES if PROCESSES[name].state == "simplex"]


def build(name: str, size: int = 8, **values: object) -> SimplexProcess:
    """Return a process over a vocabulary with the mask row right after it."""
    process = PROCESSES.build(PROCESSES[name].Params.model_validate(values), Vocabulary.after(size))
    assert isinstance(process, SimplexProcess)
    return process


def draws(many: int, seed: int = 0, first: int = 0) -> Draws:
    """Return the random numbers of so many documents of one token, (many, 1)."""
    site = torch.arange(first, first + many)[:, None]
    return Draws(seed, 0, site, torch.zeros_like(site), torch.zeros_like(site))


def times(t: float, many: int) -> torch.Tensor:
    """Return one time at so many sites, (many, 1) float64."""
    return torch.full((many, 1), t, dtype=torch.float64)


def states(process: SimplexProcess, t: float, x: torch.Tensor, seed: int = 0) -> SimplexState:
    """Return the states of tokens (n,) at one time, one site each; every time has the same noise."""
    site = x[:, None]
    return process.state_of(site, times(t, len(x)), site >= 0, draws(len(x), seed), "test")


def points(
    process: SimplexProcess, t: float, x: torch.Tensor, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Return their coordinates (n, C)."""
    return process.dense(states(process, t, x, seed), dtype)[:, 0]


def levels(process: SimplexProcess, t: float, many: int) -> torch.Tensor:
    """Return the process's own clock at one time, (many,) float64."""
    return process.level(times(t, many)).flatten()


def log_race_density(race: torch.Tensor, log_s: torch.Tensor) -> torch.Tensor:
    """Return (n, V): the log-density of the direction of V exponentials of which entry k is slower to end by s.

    For rates λ_j the density on the simplex is Γ(V)·Πλ_j/⟨λ, u⟩^V; here λ_k = 1/s and the others are 1.
    """
    u, size = race / race.sum(1, keepdim=True), race.shape[1]
    s = log_s.exp()[:, None, None]
    rates = torch.ones(size, size, dtype=race.dtype) + torch.eye(size, dtype=race.dtype) * (1.0 / s - 1.0)
    return torch.lgamma(torch.tensor(float(size))) + rates.log().sum(2) - size * (rates * u[:, None]).sum(2).log()

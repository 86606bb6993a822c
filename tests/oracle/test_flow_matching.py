"""Our ``euler`` against the Euler solver of the flow_matching package, https://github.com/facebookresearch/flow_matching.

Both draw x̂ ~ p and then decide whether to jump there. Theirs jumps with probability 1 − exp(−h·c(t)), the rate frozen
at the left end of the step; ours with 1 − exp(−∫c). The two are one where c does not change within a step, that is for
κ = 1 − e^{−λt}, c = λ: their steps of length h at that schedule are ours at the times where our κ is the same.
On κ = t theirs jumps less, since c grows within the step, and its last step jumps everywhere. With the corrector both
have the same rates, and differ in the second order of the step.

Their code runs as it is, fed x̂ and the random number of the jump from both ends of every cell: the comparison is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.sampling import Euler, Filters
from diffusionlm.sampling.euler import EulerParams
from tests.oracle.chain import Chain
from tests.oracle.joint import random_joint

pytest.importorskip("flow_matching")
from flow_matching.path import MixtureDiscreteProbPath
from flow_matching.path.scheduler import PolynomialConvexScheduler, SchedulerOutput
from flow_matching.path.scheduler.scheduler import ConvexScheduler
from flow_matching.solver import MixtureDiscreteEulerSolver, discrete_solver
from flow_matching.utils import ModelWrapper

K, L = 3, 2
JOINT = random_joint(K, L, seed=2)


class Exponential(ConvexScheduler):
    """κ = 1 − e^{−λt}: a jump rate that does not change."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, t: torch.Tensor) -> SchedulerOutput:
        left = torch.exp(-self.rate * t)
        return SchedulerOutput(alpha_t=1 - left, sigma_t=left, d_alpha_t=self.rate * left, d_sigma_t=-self.rate * left)

    def kappa_inverse(self, kappa: torch.Tensor) -> torch.Tensor:
        return -torch.log1p(-kappa) / self.rate


class Given(ModelWrapper):
    """The exact posterior at our time t, whatever time their clock shows."""

    def __init__(self, chain: Chain, t: float) -> None:
        super().__init__(torch.nn.Identity())
        self.p = chain.padded(chain.head(t, "posterior"))
        self.chain = chain

    def forward(self, x: torch.Tensor, t: torch.Tensor, **extras: Any) -> torch.Tensor:
        return self.p[self.chain.index(x)]


@dataclass
class Script:
    """Their random numbers: x̂, the uniform of the jump, and the token of the jump, in the order of their calls."""

    x_hat: torch.Tensor
    v: torch.Tensor
    weights: torch.Tensor | None = None

    def categorical(self, p: torch.Tensor) -> torch.Tensor:
        if p.dim() == 3:
            return self.x_hat.expand(p.shape[:-1]).clone()
        self.weights = p
        return p.argmax(-1)

    def rand(self, size: Any, device: Any = None) -> torch.Tensor:
        return self.v.expand(size)


def theirs(
    chain: Chain, t: float, scheduler: Any, grid: list[float], monkeypatch: pytest.MonkeyPatch, g: float = 0.0
) -> torch.Tensor:
    """Return the exact site law of their first step, (S, L, K + 1); ``grid`` has a step after it."""
    solver = MixtureDiscreteEulerSolver(Given(chain, t), MixtureDiscreteProbPath(scheduler), K + 1, chain.nu(0.0)[1])
    monkeypatch.setattr(discrete_solver, "categorical", lambda p: script.categorical(p))  # noqa: PLW0108
    monkeypatch.setattr(discrete_solver.torch, "rand", lambda size, device=None: script.rand(size, device))
    model, law = solver.model, chain.delta() * 0
    for token in range(K):
        share = model.p[..., token]  # type: ignore[index]
        x_hat = torch.full((1, 1), token)
        # v = 0 jumps wherever a jump is possible and shows its rates; the chance follows from λ by their formula, and
        # both ends of its cell are then run.
        script = Script(x_hat, torch.zeros(1, 1, dtype=torch.float64))
        run(solver, chain, grid, g)
        assert script.weights is not None
        rates = torch.zeros(len(chain.states), L, K + 1, dtype=torch.float64)
        possible = jumps_possible(chain, token, g)
        rates[possible] = script.weights
        chance = 1 - torch.exp(-(grid[1] - grid[0]) * rates.sum(-1))
        for end, jumps in ((1 - 1e-9, True), (1 + 1e-9, False)):
            script = Script(x_hat, (chance * end).clamp(max=1.0))
            moved = run(solver, chain, grid, g) != chain.states
            assert torch.equal(moved[possible], torch.full_like(moved[possible], jumps))
            assert not bool(moved[~possible].any())
        place = rates / rates.sum(-1, keepdim=True).clamp_min(1e-300)
        law += share[..., None] * ((1 - chance)[..., None] * chain.delta() + chance[..., None] * place)
    return law


def jumps_possible(chain: Chain, token: int, g: float) -> torch.Tensor:
    """Return (S, L) bool: where x̂ = ``token`` or the corrector's noise would change the state."""
    pi = chain.nu(0.0)[1]
    return (chain.states != token) | (g > 0 and pi[chain.states] < 1.0)


def run(solver: Any, chain: Chain, grid: list[float], g: float) -> torch.Tensor:
    """Return their states after the first step."""
    times = torch.tensor(grid, dtype=torch.float64)
    options = {"step_size": None, "dtype_categorical": torch.float64, "return_intermediates": True}
    return solver.sample(chain.states.clone(), time_grid=times, div_free=g, **options)[1]


def chain_of(process: str) -> Chain:
    kind = PROCESSES[process]
    return Chain(JOINT, kind(kind.Params(), Vocabulary.after(K)))  # type: ignore[arg-type]


def ours(chain: Chain, t: float, u: float, **params: float) -> torch.Tensor:
    sampler = Euler(EulerParams(**params), chain.process, Filters())  # type: ignore[arg-type]
    f, b = sampler.jump_probabilities(*torch.tensor([t, u], dtype=torch.float64).chunk(2))
    return chain.euler(t, float(f), float(b))


def difference(chain: Chain, t: float, a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b)[chain.marginal(t) > 0].abs().max())


PATHS = ["mask", "uniform", "mixture"]


@pytest.mark.parametrize("process", PATHS)
@pytest.mark.parametrize(("t", "u"), [(0.0, 0.25), (0.25, 0.5), (0.5, 0.9)])
def test_where_the_rate_is_constant_the_two_laws_are_one(
    process: str, t: float, u: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, rate = chain_of(process), 1.7
    start, end = (-math.log1p(-kappa) / rate for kappa in (t, u))
    law = theirs(chain, t, Exponential(rate), [start, end, end + 1.0], monkeypatch)
    assert difference(chain, t, law, ours(chain, t, u)) < 1e-12


@pytest.mark.parametrize("process", PATHS)
def test_on_a_linear_schedule_theirs_jumps_less_and_the_gap_is_of_second_order(
    process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, t, gaps = chain_of(process), 0.4, []
    for h in (0.1, 0.05):
        law = theirs(chain, t, PolynomialConvexScheduler(1.0), [t, t + h, 1.0], monkeypatch)
        own = ours(chain, t, t + h)
        possible = chain.marginal(t) > 0
        stay = (law - own).gather(-1, chain.states[..., None])[possible]
        assert float(stay.min()) > -1e-12
        gaps.append(difference(chain, t, law, own))
        # Put together, what differs is the chance of the jump and nothing else.
        f = 1 - math.exp(-h / (1 - t))
        assert difference(chain, t, law, chain.euler(t, f)) < 1e-12
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize("process", PATHS)
@pytest.mark.parametrize("g", [0.5, 2.0])
def test_with_the_corrector_the_rates_are_the_same(process: str, g: float, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, t, gaps = chain_of(process), 0.4, []
    for h in (0.02, 0.01):
        law = theirs(chain, t, PolynomialConvexScheduler(1.0), [t, t + h, 1.0], monkeypatch, g)
        gaps.append(difference(chain, t, law, ours(chain, t, t + h, corrector=g, rise=0.0, fall=0.0)))
    assert gaps[0] < 0.02
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize("process", PATHS)
def test_their_last_step_is_ours(process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At u = 1 every position takes x̂, in both; a mask process needs a posterior that carries clean tokens over."""
    chain, t = chain_of(process), 0.5
    path = MixtureDiscreteProbPath(PolynomialConvexScheduler(1.0))
    solver = MixtureDiscreteEulerSolver(Given(chain, t), path, K + 1)
    for token in range(K):
        script = Script(torch.full((1, 1), token), torch.ones(1, 1, dtype=torch.float64))
        monkeypatch.setattr(discrete_solver, "categorical", script.categorical)
        assert bool((run(solver, chain, [t, 1.0], 0.0) == token).all())
    assert difference(chain, t, ours(chain, t, 1.0), chain.padded(chain.head(t, "posterior"))) < 1e-12

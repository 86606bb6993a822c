"""Exact chains on tiny joints: transition laws of samplers from their formulas, and of the code by enumeration.

Every sampler of a discrete process moves the positions of a canvas independently, given the canvas. Its step is then a
table, the *site law* (S, L, K + 1): for each of the S states, what each position becomes. The formulas give one such
table, and ``measure`` the other: the code's step is a function of uniform numbers that is constant on cells, so feeding
it both ends of every cell and weighing the outcomes by the cells' sizes gives its exact law. A threshold that is off by
more than ``EDGE`` of a cell lands in the wrong one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch

from diffusionlm.process import DiscreteProcess, Head
from diffusionlm.rng import Draws
from diffusionlm.sampling import Sampler, State
from tests.oracle.joint import Joint, predictive

EDGE = 1e-9
Edges = dict[str, torch.Tensor]


@dataclass(frozen=True)
class GivenDraws(Draws):
    """Draws whose uniforms are given."""

    given: dict[str, torch.Tensor] = field(default_factory=dict)

    def uniform(self, stream: str) -> torch.Tensor:
        return self.given[stream]


class Chain:
    """A joint under the noise of a discrete process.

    Args:
        joint: The data distribution, with K tokens and L positions; the mask token is K.
        process: Any discrete process over K tokens.
    """

    def __init__(self, joint: Joint, process: DiscreteProcess) -> None:
        assert process.vocabulary.mask_id == joint.vocabulary
        self.joint, self.process = joint, process
        self.K, self.L = joint.vocabulary, joint.length
        self.states = torch.cartesian_prod(*[torch.arange(self.K + 1)] * self.L).reshape(-1, self.L)
        self._tables: dict[tuple[float, Head], torch.Tensor] = {}

    def index(self, z: torch.Tensor) -> torch.Tensor:
        """Return the (N,) place of each state of ``z`` (N, L) in ``states``."""
        return (z * (self.K + 1) ** torch.arange(self.L - 1, -1, -1)).sum(-1)

    def nu(self, t: float) -> tuple[float, torch.Tensor]:
        """Return κ_t and ν_t over the K + 1 tokens."""
        noise = self.process.noise(torch.tensor([t], dtype=torch.float64))
        nu = torch.full((self.K + 1,), float(noise.uniform) / self.K, dtype=torch.float64)
        nu[self.K] = float(noise.mask)
        return float(noise.kappa), nu

    def q(self, t: float) -> torch.Tensor:
        """Return q_t(z | x), (K, K + 1)."""
        kappa, nu = self.nu(t)
        return kappa * torch.eye(self.K, self.K + 1, dtype=torch.float64) + nu

    def marginal(self, t: float) -> torch.Tensor:
        """Return q_t over the states, (S,): the data law sent through the noise."""
        q, x = self.q(t), self.joint.sequences()
        site = torch.stack([q[x[:, i]][:, self.states[:, i]] for i in range(self.L)])  # (L, N, S)
        return self.joint.flat() @ site.prod(0)

    def head(self, t: float, kind: Head) -> torch.Tensor:
        """Return the exact predictive of every state, (S, L, K); uniform in states that cannot occur."""
        if (t, kind) not in self._tables:
            possible = self.marginal(t) > 0.0
            table = torch.full((len(self.states), self.L, self.K), 1.0 / self.K, dtype=torch.float64)
            evidence = self.q(t).T[self.states[possible]]
            table[possible] = predictive(self.joint, evidence, kind)
            self._tables[t, kind] = table
        return self._tables[t, kind]

    def start(self) -> torch.Tensor:
        """Return the law of the states at t = 0, (S,)."""
        return self.nu(0.0)[1][self.states].prod(-1)

    def delta(self) -> torch.Tensor:
        """Return the site law of standing still, (S, L, K + 1)."""
        return torch.nn.functional.one_hot(self.states, self.K + 1).double()

    def padded(self, p: torch.Tensor) -> torch.Tensor:
        """Return ``p`` (..., K) with a column of zeros for the mask token."""
        return torch.nn.functional.pad(p, (0, 1))

    def plug_in(self, t: float, u: float) -> torch.Tensor:
        """Return the site law of p(z_u | z_t) ∝ q(z_t | z_u)·q_u(z_u | x̂), the (K + 1)² matrix formed."""
        (kappa_t, nu_t), (kappa_u, nu_u) = self.nu(t), self.nu(u)
        ratio = kappa_t / kappa_u
        forward = ratio * torch.eye(self.K + 1, dtype=torch.float64) + (nu_t - ratio * nu_u)  # [z_u, z_t]
        assert float((forward.sum(1) - 1).abs().max()) < 1e-12
        assert float((self.q(u) @ forward - self.q(t)).abs().max()) < 1e-12, "Chapman–Kolmogorov"
        weight = forward.T[self.states] * (self.head(t, "leave_one_out") @ self.q(u))
        total = weight.sum(-1, keepdim=True)
        return torch.where(total > 0, weight / total, self.delta())  # a state that cannot occur goes nowhere

    def euler(self, t: float, f: float, b: float = 0.0) -> torch.Tensor:
        """Return the site law (1 − f − b)·δ + f·p_post + b·π."""
        pi = self.nu(0.0)[1]
        return (1 - f - b) * self.delta() + f * self.padded(self.head(t, "posterior")) + b * pi

    def ancestral(self, t: float, reveal: float, sigma: float = 0.0) -> torch.Tensor:
        """Return the site law of revealing masked tokens, and of masking visible ones again."""
        masked = (self.states == self.K)[..., None]
        mask = torch.eye(self.K + 1, dtype=torch.float64)[self.K]
        revealed = (1 - reveal) * mask + reveal * self.padded(self.head(t, "posterior"))
        return torch.where(masked, revealed, (1 - sigma) * self.delta() + sigma * mask)

    def matrix(self, site: torch.Tensor) -> torch.Tensor:
        """Return the (S, S) transition matrix of a site law."""
        picked = [site[:, i, self.states[:, i]] for i in range(self.L)]
        return torch.stack(picked).prod(0)

    def final(self, sites: list[torch.Tensor]) -> float:
        """Return the total variation between the joint and the law after some steps; no noise may be left."""
        law = self.start()
        for site in sites:
            law = law @ self.matrix(site)
        clean = (self.states < self.K).all(1)
        assert float(law[~clean].sum()) < 1e-14, float(law[~clean].sum())
        return float((law[clean] - self.joint.flat()).abs().sum() / 2)


class ChainPredictor:
    """The exact head of a chain, for states at any times (one table per time). Implements ``Predictor``."""

    def __init__(self, chain: Chain, kind: Head) -> None:
        self.chain, self.kind = chain, kind
        self.told: list[torch.Tensor] = []

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return ln p, (N, K) float64."""
        self.told.append(t)
        length = z.shape[1]
        out = torch.empty(len(rows), self.chain.K, dtype=torch.float64)
        # A mask process has one head for all times, and samplers with clocks of their own ask at as many as rows.
        timeless = bool((self.chain.nu(0.5)[1][: self.chain.K] == 0).all())
        times = torch.full_like(t[:, 0], 0.5) if timeless else t[:, 0]
        for time in times.unique().tolist():
            at = (times == time)[rows // length]
            picked = self.chain.index(z)[rows[at] // length]
            out[at] = self.chain.head(time, self.kind)[picked, rows[at] % length]
        return out.log()


def cumulative(p: torch.Tensor) -> torch.Tensor:
    """Return the edges of the cells of a categorical draw, (..., K + 1)."""
    return torch.cat([torch.zeros_like(p[..., :1]), p.cumsum(-1)], -1)


def measure(sampler: Sampler, chain: Chain, step: int, steps: int, edges: Edges) -> torch.Tensor:
    """Return the exact site law of the code's step, (S, L, K + 1).

    Args:
        sampler: The rule.
        chain: The joint, and the exact head.
        step, steps: Steps taken, and planned.
        edges: For each stream, the edges of its cells, broadcast to (S, L, cells + 1).
    """
    S, L = chain.states.shape
    cells = {name: e.expand(S, L, e.shape[-1]) for name, e in edges.items()}
    choices = [list(itertools.product(range(e.shape[-1] - 1), (EDGE, 1 - EDGE))) for e in cells.values()]
    combined = list(itertools.product(*choices))
    # Each position meets the cells in an order of its own, so that reading another position's number would show.
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(len(combined), generator=generator) for _ in range(L)], 1)  # (C, L)
    weight = torch.ones(len(combined), S, L, dtype=torch.float64)
    given = {}
    for place, (name, e) in enumerate(cells.items()):
        cell = torch.tensor([c[place][0] for c in combined])[order][:, None, :].expand(-1, S, -1)
        corner = torch.tensor([c[place][1] for c in combined], dtype=torch.float64)[order][:, None, :]
        low = e.expand(len(combined), S, L, -1).gather(-1, cell[..., None])[..., 0]
        high = e.expand(len(combined), S, L, -1).gather(-1, cell[..., None] + 1)[..., 0]
        given[f"sample/{name}"] = (low + (high - low) * corner).reshape(-1, L)
        weight = weight * (high - low) / 2
    z_new = one_step(sampler, chain, step, steps, len(combined), given)
    placed = torch.nn.functional.one_hot(z_new.reshape(len(combined), S, L), chain.K + 1)
    return (weight[..., None] * placed).sum(0)


def one_step(
    sampler: Sampler, chain: Chain, step: int, steps: int, repeats: int, given: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return the (repeats·S, L) states after one step from every state, ``repeats`` times over."""
    z = chain.states.repeat(repeats, 1)
    zeros = torch.zeros_like(z)
    t = torch.full((len(z),), step / steps, dtype=torch.float64)
    state = State(
        z,
        torch.ones_like(z, dtype=torch.bool),
        t,
        torch.full((len(z),), step),
        torch.full((len(z),), steps),
        GivenDraws(0, 0, zeros, zeros, zeros, given),
        sampler.start(z, z >= 0),
    )
    plan = sampler.plan(state)
    rows = plan.sites.flatten().nonzero().squeeze(1)
    predictor = ChainPredictor(chain, sampler.wanted_head("leave_one_out"))
    told = state.t if plan.told is None else plan.told
    logits = predictor.predict(z, told[:, None].expand(z.shape), rows)
    return sampler.step(state, plan, rows, logits).z

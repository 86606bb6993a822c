"""The continuous-time Markov chain of a mixture path, with an optional corrector.

With the posterior p_i(· | z) the marginals q_t are carried by the rates c·(p − δ_z), c = κ̇/(1 − κ): a position jumps to
a token drawn from p. The chance of a jump in (t, u] is integrated exactly, 1 − exp(−∫c) = (κ_u − κ_t)/(1 − κ_t).

The corrector adds forward jumps g·c·(p − δ_z) and backward ones g·(κ̇/κ)·(π − δ_z) into the noise, which cancel in the
marginals for any g(t) ≥ 0 and let every token be reconsidered. In one step the three outcomes exclude one another:

    backward, a token of π, with probability b = min(∫ g·dκ/κ, 1 − κ_u)
    forward, a token of p,  with probability f = [κ_u − (1 − b)·κ_t] / (1 − κ_t)
    no jump                 with probability 1 − f − b

f is what makes κ_t·(1 − f − b) + f = κ_u, so that the marginal of each position is exact for any number of steps; the
rates are those above to first order in u − t, and the joint law is left unchanged to that order. At u = 1 b is 0, and
at κ = 0 there is no 0/0: all is noise, and f = κ_u. The profile is g = strength·κ^rise·(1 − κ)^fall; g/κ is bounded
from rise = 1 on, and the integral is taken at the middle of [κ_t, κ_u].

Whether a position jumps does not depend on the network, which is asked at the forward jumps alone. docs/MATH.md §4;
Gat et al. 2024, https://arxiv.org/abs/2407.15595; Campbell et al. 2022, https://arxiv.org/abs/2205.14987.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import Head, MaskProcess, MixturePath
from diffusionlm.sampling.base import Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import Filters, draw
from diffusionlm.sampling.renoise import redraw


class EulerParams(Strict):
    """Steps of the Markov chain of a mixture path, with a corrector; the data law as steps grow."""

    name: Literal["euler"] = "euler"
    corrector: float = Field(default=0.0, ge=0.0)
    """Strength of the corrector, which draws tokens again without changing the law; 0 = none."""
    rise: float = Field(default=1.0, ge=0.0)
    """The corrector is proportional to κ^rise; from 1 on its rate into the noise is bounded as κ → 0."""
    fall: float = Field(default=0.25, ge=0.0)
    """… and to (1 − κ)^fall; 0 with rise = 0 is a constant strength."""


class Euler(Sampler):
    """CTMC sampler of discrete flow matching. Gat et al. 2024, https://arxiv.org/abs/2407.15595."""

    Params = EulerParams
    requires = MixturePath
    heads = frozenset[Head]({"posterior"})
    params: EulerParams
    process: MixturePath

    def __init__(self, params: Any, process: MixturePath, filters: Filters) -> None:
        super().__init__(params, process, filters)
        self.monotone = isinstance(process, MaskProcess) and params.corrector == 0.0

    def plan(self, state: State) -> Plan:
        u = state.grid()
        forward, _ = self._jumps(state, u)
        now = self.process.noise(state.t[:, None].expand(state.z.shape))
        # A token that the noise cannot make is the clean one: the posterior is certain of it.
        certain = now.at(state.z, self.process.vocabulary) <= 0.0
        return Plan(sites=state.open & forward & ~certain, u=u)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        _, backward = self._jumps(state, plan.u)
        source = self.process.noise(torch.zeros(state.z.shape, dtype=torch.float64, device=state.z.device))
        _, noise = redraw(source, self.process.vocabulary, state.draws)
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(torch.where(backward, noise, state.z), rows, drawn.token),
            t=plan.u,
            confidence=place(unknown, rows, drawn.log_probability.exp()),
        )

    def jump_probabilities(self, t: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return f and b, the probabilities of a forward and of a backward jump in (t, u], float64."""
        schedule, how = self.process.schedule, self.params
        kappa, left_t, left_u = schedule.kappa(t), schedule.remaining(t), schedule.remaining(u)
        gained = left_t - left_u
        middle, left = kappa + 0.5 * gained, 0.5 * (left_t + left_u)
        # κ^(rise − 1) rather than κ^rise/κ: no 0/0 where κ underflows.
        strength = how.corrector * middle.clamp_min(torch.finfo(torch.float64).tiny) ** (how.rise - 1.0)
        b = torch.minimum(strength * left**how.fall * gained, left_u)
        f = torch.where(u >= 1.0, 1.0, (gained + b * kappa) / left_t)
        return f, torch.where(u >= 1.0, 0.0, b)

    def _jumps(self, state: State, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where to jump forward and where backward, (B, T) bool each, never both."""
        f, b = (p[:, None] for p in self.jump_probabilities(state.t, u))
        v = state.draws.uniform("sample/jump")
        return v < f, (v >= f) & (v < f + b)

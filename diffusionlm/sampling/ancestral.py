"""The mask process run backwards: every masked token reveals on its own, at the rate of the schedule.

    P(reveal in (t, u]) = (κ_u − κ_t) / (1 − κ_t),     token ~ p_i(· | visible)

With an exact head the law of the samples tends to the data law as the number of steps grows; at u = 1 the probability
is one, so that no mask is left for any number of steps and any schedule. Which tokens reveal does not depend on the
network, so it is decided first and the head is evaluated at those tokens alone; a step that reveals none makes no call.
docs/MATH.md §4; Sahoo et al. 2024 (MDLM), https://arxiv.org/abs/2406.07524.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import MaskProcess
from diffusionlm.sampling.base import Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import draw


class AncestralParams(Strict):
    """Reveal every masked token independently, at the schedule's rate; the data law as steps grow."""

    name: Literal["ancestral"] = "ancestral"


class Ancestral(Sampler):
    """Ancestral sampling of the mask process. MDLM, https://arxiv.org/abs/2406.07524."""

    Params = AncestralParams
    requires = MaskProcess

    def plan(self, state: State) -> Plan:
        u = state.grid()
        reveal = state.draws.uniform("sample/reveal") <= self.reveal_probability(state.t, u)[:, None]
        return Plan(sites=self.noise(state) & reveal, u=u)

    def reveal_probability(self, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return (κ_u − κ_t)/(1 − κ_t), float64 of the shape of ``t`` and ``u``; exactly 1 at u = 1."""
        remaining = self.process.schedule.remaining
        return torch.where(u >= 1.0, 1.0, 1.0 - remaining(u) / remaining(t))

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(state.z, rows, drawn.token),
            t=plan.u,
            confidence=place(unknown, rows, drawn.log_probability.exp()),
        )

"""The mask process run backwards without a time grid: one token a call, at the very times at which tokens reveal.

With n masked tokens at time t the next one reveals at t', where

    1 − κ(t') = (1 − κ(t)) · U^{1/n},     U ~ U(0, 1),

the largest of n uniform numbers; which of the n it is has equal chances, and its value is drawn from p_i(· | visible)
of the network that is told t'. That is the law of the continuous-time process itself: with an exact head the samples
have the data law, with no error of discretisation, in as many calls as there are tokens, whatever number of steps is
asked for. Every row (in blocks: every block of a row) keeps its own clock. docs/MATH.md §4;
Zheng et al. 2024, https://arxiv.org/abs/2409.02908.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import MaskProcess
from diffusionlm.sampling.base import Plan, Sampler, State, Step, place
from diffusionlm.sampling.confidence import choose
from diffusionlm.sampling.filters import draw


class FirstHittingParams(Strict):
    """One token a call, at the time at which it reveals: the exact law. The number of steps has no effect."""

    name: Literal["first_hitting"] = "first_hitting"


class FirstHitting(Sampler):
    """First-hitting sampling. Zheng et al. 2024, https://arxiv.org/abs/2409.02908."""

    Params = FirstHittingParams
    requires = MaskProcess
    own_pace = True

    def plan(self, state: State) -> Plan:
        masked = self.noise(state)
        number = masked.sum(1)
        u = self.next_time(state.t, number, state.draws.uniform("sample/clock")[:, 0])
        even = torch.zeros(state.z.shape, dtype=torch.float64, device=state.z.device)
        one = choose(even, state.draws.uniform("sample/order"), masked, number.clamp(max=1))
        return Plan(sites=one, u=u, told=u)

    def next_time(self, t: torch.Tensor, number: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Return the time at which the next of ``number`` masked tokens reveals, float64 in [t, 1]; (B,) each."""
        schedule = self.process.schedule
        left = schedule.remaining(t) * uniform ** (1.0 / number.clamp_min(1))
        # The inverse may fall short of t by rounding where little is left.
        return torch.maximum(schedule.inverse(1.0 - left).clamp(max=1.0), t)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(state.z, rows, drawn.token),
            t=plan.u,
            confidence=place(unknown, rows, drawn.log_probability.exp()),
        )

"""Left to right, one token a call.

    x_i ~ p_i(· | x_{<i}),     i = the first unknown position of the row

With an exact head the samples have the data law. Rows of a batch stand where they stand: prompts of different lengths
and holes anywhere are the same rule. Given tokens right of a hole are kept but not seen, as an autoregressive network
sees nothing to the right. The number of calls is the number of tokens; ``steps`` does not enter. With the cache of
keys and values a call runs over the new columns alone. Bengio et al. 2003; Radford et al. 2019 (GPT-2),
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import ArProcess
from diffusionlm.sampling.base import Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import draw


class LeftToRightParams(Strict):
    """One token a call, left to right."""

    name: Literal["ar"] = "ar"


class LeftToRight(Sampler):
    """Autoregressive sampling. GPT: https://arxiv.org/abs/2005.14165."""

    Params = LeftToRightParams
    requires = ArProcess
    own_pace = True

    def plan(self, state: State) -> Plan:
        unknown = self.noise(state)
        return Plan(sites=unknown & (unknown.long().cumsum(1) == 1), u=state.grid())

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        nothing = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(state.z, rows, drawn.token),
            t=plan.u,
            confidence=place(nothing, rows, drawn.log_probability.exp()),
        )

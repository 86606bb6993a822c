"""Keep-share recipes: of the tokens that are chosen, some become m, some a random token, and some stay as they are.

    a chosen token (probability 1 − κ):  m with share a,  uniform with share u,  unchanged with share k,  a + u + k = 1
    q_t(z | x) = κ_eff·1[z = x] + (1 − κ_eff)·π(z),      κ_eff = κ + k·(1 − κ),      π = (a·δ_m + u/K)/(a + u)

What stays is scored with the rest, so that a model learns that a token it sees may be right. A share k of the text is
there even at t = 0: the integral of the loss lies below the entropy, so there is **no bound**, and generation starts
from π, without what would have been kept. Devlin et al. 2019 (BERT: .8 mask, .1 uniform, .1 kept),
https://arxiv.org/abs/1810.04805 §3.1; .2, .7, .1 is FlowLM's variant. docs/MATH.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from diffusionlm.lazy import torch
from diffusionlm.process.base import Corrupted, Measure
from diffusionlm.process.mixture_path import MixturePath, MixturePathParams
from diffusionlm.process.noise import Noise
from diffusionlm.process.selection import bernoulli
from diffusionlm.rng import Draws


class KeepParams(MixturePathParams):
    """Mask, uniform and kept tokens in fixed shares of the chosen ones; what the two shares leave is uniform."""

    name: Literal["keep"] = "keep"
    mask_share: float = Field(default=0.8, ge=0.0, le=1.0)
    """a, the share of chosen tokens that become the mask token."""
    keep_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """k, the share of chosen tokens that stay as they are."""

    @model_validator(mode="after")
    def _shares(self) -> KeepParams:
        if self.mask_share + self.keep_share > 1.0 + 1e-9:
            raise ValueError(
                f"mask_share + keep_share is at most 1, got {self.mask_share} + {self.keep_share}; lower one of them"
            )
        return self

    @property
    def uniform_share(self) -> float:
        """u, the share of chosen tokens that become uniformly drawn ones."""
        return max(0.0, 1.0 - self.mask_share - self.keep_share)


class KeepProcess(MixturePath):
    """Chosen tokens are masked, replaced or kept. BERT, https://arxiv.org/abs/1810.04805."""

    Params = KeepParams
    bound = "none"
    counts = False
    objective = "ce_all"

    @property
    def mask_share(self) -> float:
        return self.params.mask_share / (self.params.mask_share + self.params.uniform_share)

    def noise(self, t: torch.Tensor) -> Noise:
        plain, k = super().noise(t), self.params.keep_share
        return replace(
            plain,
            kappa=plain.kappa + k * (plain.mask + plain.uniform),
            **{name: (1.0 - k) * vars(plain)[name] for name in ("dkappa", "mask", "dmask", "uniform", "duniform")},
        )

    def chosen_evidence(self) -> float:
        kept, each = self.params.keep_share, self.params.uniform_share / self.vocabulary.size
        return 0.0 if kept == 0.0 else math.inf if each == 0.0 else math.log1p(kept / each)

    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        importance = None
        if self.counts_first and measure == "t":
            chosen, t, importance = self.count_first(1.0 - t, editable, groups, draws)
        else:
            chosen = bernoulli(self.schedule.remaining(t), editable, draws)
        noise, probability = self.noise(t), self.schedule.remaining(t)
        replaced = chosen & (draws.uniform("corrupt/keep") >= self.params.keep_share)
        return Corrupted(
            x_t=torch.where(replaced, self.draw_noise(noise, draws), x_1),
            t=t,
            noised=chosen,
            editable=editable,
            weight=torch.zeros_like(t),
            noise_probability=probability,
            noise=noise,
            importance=importance,
        )

"""Fixed shares of mask and uniform noise: part of the noise is visible as such, the rest looks like text.

    q_t(z | x) = κ_t·1[z = x] + (1 − κ_t)·(a·1[z = m] + (1 − a)/K)

a = 0.3 is the any-position recipe of FlowLM, a = 0.9 what is known as LLaDA 90/10. The bound is tight for the
leave-one-out predictive. Gat et al. 2024, https://arxiv.org/abs/2407.15595. docs/MATH.md §1.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.process.mixture_path import MixturePath, MixturePathParams


class MixtureParams(MixturePathParams):
    """Mask and uniform noise in fixed shares."""

    name: Literal["mixture"] = "mixture"
    mask_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """a, the share of noised tokens that become the mask token; the others become uniformly drawn ones."""


class MixtureProcess(MixturePath):
    """Noise is the mask token or a uniform one, in fixed shares. https://arxiv.org/abs/2407.15595."""

    Params = MixtureParams
    bound = "tight"

    @property
    def mask_share(self) -> float:
        return self.params.mask_share

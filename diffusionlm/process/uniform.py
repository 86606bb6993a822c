"""Uniform noise: a noised token is any of the K data tokens, the right one included.

    q_t(z | x) = κ_t·1[z = x] + (1 − κ_t)/K

The bound is tight for the leave-one-out predictive p(x_i | z without z_i); no token says that it is noise, so a model
can correct every position. Schiff et al. 2024 (UDLM), https://arxiv.org/abs/2412.10193; Sahoo et al. 2025 (Duo),
https://arxiv.org/abs/2506.10892; Gat et al. 2024, https://arxiv.org/abs/2407.15595. docs/MATH.md §1.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.process.mixture_path import MixturePath, MixturePathParams


class UniformParams(MixturePathParams):
    """Uniform noise: UDLM, Duo, discrete flow matching from a uniform source."""

    name: Literal["uniform"] = "uniform"


class UniformProcess(MixturePath):
    """Noise is a uniformly drawn token. UDLM, https://arxiv.org/abs/2412.10193."""

    Params = UniformParams
    bound = "tight"

    @property
    def mask_share(self) -> float:
        return 0.0

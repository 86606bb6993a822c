"""The logit flow, trained with an entropy term.

The state is that of ``logit``; what differs is the objective that belongs to it, cross-entropy − λ(t)·H(p) with
λ(t) = λ·(1 − t) (``objective/ce_entropy.py``), which keeps the early, ambiguous predictions spread out. At λ = 0 it is
``logit``. KL-Flow announces such a term, https://arxiv.org/abs/2411.16821; this one is ours. docs/MATH.md §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from diffusionlm.process.simplex.logit import LogitProcess, RaceParams


class LogitEntropyParams(RaceParams):
    """The logit flow with an entropy term in its objective."""

    name: Literal["logit_entropy"] = "logit_entropy"


class LogitEntropyProcess(LogitProcess):
    """The logit flow; its objective has an entropy term. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = LogitEntropyParams
    objective = "ce_entropy"
    objective_defaults: ClassVar[Mapping[str, Any]] = {"entropy": 0.05}

"""The logit flow with the evidence in the head: the network says what the context expects, the channel the rest.

    ln p(i | x_t) = ln p_θ(i | context) − V·ln(1 − u_i(1 − 1/s)) + const

The second term is exact (``logit``), so the network's output is the leave-one-out predictive and never has to learn how
noise looks. It is added row by row in the chunked loss and at the sites that a sampler asks for. The idea is the
evident intent of KL-Flow's "updated" type, https://arxiv.org/abs/2411.16821. docs/MATH.md §3.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from diffusionlm.process.head import Head
from diffusionlm.process.simplex.logit import LogitProcess, RaceParams


class LogitUpdatedParams(RaceParams):
    """The logit flow with a context prior from the network and exact evidence in the head."""

    name: Literal["logit_updated"] = "logit_updated"


class LogitUpdatedProcess(LogitProcess):
    """Context prior and exact evidence. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = LogitUpdatedParams
    network_head: ClassVar[Head | None] = "leave_one_out"

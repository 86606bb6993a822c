"""A joint that makes one text near-certain, and heads that know it under any discrete process."""

from __future__ import annotations

import torch

from diffusionlm.process import PROCESSES, DiscreteProcess, Process, Vocabulary
from tests.oracle.joint import Evidence, Joint, Kind, OraclePredictor

K = 4
TEXT = [2, 0, 3, 1]


def near_certain(share: float = 0.97) -> Joint:
    """Return a joint over K^4 with ``share`` of the mass on TEXT and the rest spread evenly."""
    probability = torch.full([K] * len(TEXT), (1.0 - share) / (K ** len(TEXT) - 1), dtype=torch.float64)
    probability[tuple(TEXT)] = share
    return Joint(probability / probability.sum())


def process_of(name: str, **settings: object) -> DiscreteProcess:
    """Return a process over K tokens."""
    process: Process = PROCESSES[name](PROCESSES[name].Params(**settings), Vocabulary.after(K))
    assert isinstance(process, DiscreteProcess)
    return process


def evidence_of(process: DiscreteProcess) -> Evidence:
    """Return q_t(z_i | x_i = k), (z, t) → (B, L, K), of a process."""

    def evidence(z: torch.Tensor, t: torch.Tensor | None) -> torch.Tensor:
        assert t is not None
        noise, x = process.noise(t), torch.arange(K)
        at = noise.at(z, process.vocabulary)
        return at[..., None] + torch.where(z[..., None] == x, noise.kappa[..., None], 0.0)

    return evidence


def oracle(process: DiscreteProcess, joint: Joint, kind: Kind = "posterior") -> OraclePredictor:
    """Return the exact head of a joint under a process."""
    return OraclePredictor(joint, evidence_of(process), kind)

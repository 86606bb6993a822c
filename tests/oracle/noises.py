"""The evidence of the library's discrete processes, for the oracle of ``joint.py`` (which imports no process)."""

from __future__ import annotations

import torch

from diffusionlm.process import DiscreteProcess, Process
from tests.oracle.joint import Evidence, Joint


def discrete_evidence(process: Process, joint: Joint) -> Evidence:
    """Return (z, t) → (B, L, K), q_t(z_i given x_i = k) as the process itself says."""
    assert isinstance(process, DiscreteProcess)

    def evidence(z: torch.Tensor, t: torch.Tensor | None) -> torch.Tensor:
        assert t is not None
        noise = process.noise(t)
        states = [torch.full_like(z, k) for k in range(joint.vocabulary)]
        return torch.stack([noise.marginal(z, state, process.vocabulary) for state in states], -1)

    return evidence

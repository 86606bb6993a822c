"""Which devices lack float64, and where the arithmetic that needs it happens beside one of them.

Noise levels, bound weights, inverted distributions and sampling are float64. Apple's MPS has no such type: there the
network and its gradients are computed, and what a process, an objective or a sampler computes stays on the CPU, which
shares the memory. Tokens go over, and logits or losses come back. On every other device both places are one, and
nothing is ever moved.
"""

from __future__ import annotations

from diffusionlm.lazy import torch

WITHOUT_FLOAT64 = {"mps"}
"""Types of devices."""


def arithmetic_device(device: torch.device | str) -> torch.device:
    """Return where to compute in float64 for a network on ``device``: there, or on the CPU beside it."""
    own = torch.device(device)
    return torch.device("cpu") if own.type in WITHOUT_FLOAT64 else own

"""Networks for tests of objectives: a table of logits, and an exact head that can be bent away from the truth."""

from __future__ import annotations

import torch

from diffusionlm.process import Layout
from tests.oracle.joint import Joint, OraclePredictor, known_states


class BentOracle:
    """The exact head of a joint, its log-probabilities moved by a fixed direction that depends on all that it sees.

    Args:
        joint: The data distribution.
        bend: How far; 0 is the exact head.
        seed: Names the direction.
        exact: (B, L, K) the exact head at the states that will be asked for, where a view shows the state alone.
    """

    def __init__(self, joint: Joint, bend: torch.Tensor, seed: int, exact: torch.Tensor) -> None:
        self.joint, self.bend, self.exact, self.oracle = joint, bend, exact, OraclePredictor(joint)
        states = (joint.vocabulary + 1) ** joint.length
        generator = torch.Generator().manual_seed(seed)
        shape = (states, joint.length, joint.vocabulary)
        self.direction = torch.randn(shape, generator=generator, dtype=torch.float64)

    def __call__(
        self, x_t: torch.Tensor, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits as hidden states, (N, K)."""
        place = (self.joint.vocabulary + 1) ** torch.arange(self.joint.length - 1, -1, -1)
        known = (known_states(x_t, layout, self.joint.mask_id) * place).sum(-1)  # (B, L)
        whole = not (layout.causal or layout.blocks is not None)
        exact = self.exact if whole else self.oracle.of_view(x_t, layout)
        bent = exact.log().clamp_min(-60.0) + self.bend * self.direction[known, torch.arange(self.joint.length)]
        if rows is None:
            return bent.reshape(-1, self.joint.vocabulary)
        width, length = x_t.shape[1], self.joint.length
        return bent.flatten(0, 1)[rows // width * length + rows % width]

    @property
    def head_weight(self) -> torch.Tensor:
        """(K, K) identity."""
        return torch.eye(self.joint.vocabulary, dtype=torch.float64)

"""The exact head of a process on a tiny joint, for whatever the process shows its network.

    p(x_i | what query i sees) ∝ Σ_x p(x) Π_{c seen by i} (1[z_c = x_c] where column c is clean, else q_t(z_c | x_c))

It reads the layout as the Transformer does, so that a process that shows clean tokens beside noisy ones (block
diffusion) has an exact head as well. The leave-one-out predictive leaves out the query's own column.
"""

from __future__ import annotations

import torch

from diffusionlm.model.pattern import attention_mask
from diffusionlm.oracle.joint import Joint
from diffusionlm.process import Head, Layout, Process
from diffusionlm.process.base import Tokens

CHUNK = 4096


class ExactHead:
    """A network and a predictor at once that knows the joint and the noise.

    Args:
        joint: The data distribution.
        process: Over the joint's tokens; it knows its ``evidence``.
        kind: Which predictive the logits are.
    """

    shift = 0

    def __init__(self, joint: Joint, process: Process, kind: Head) -> None:
        self.joint, self.process = joint, process
        self.kind: Head = kind
        self.training = False

    @property
    def head_weight(self) -> torch.Tensor:
        """(K, K): the head is the identity, "hidden" states are log-probabilities."""
        return torch.eye(self.joint.vocabulary, dtype=torch.float64)

    def __call__(
        self, x_t: Tokens, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ln p, (N, K) float64, at the flat indices ``rows`` of the (B, S) columns, or (B, S, K) of them all."""
        assert t is not None, "the exact head depends on the time"
        flat = self._table(x_t, t, layout).log().flatten(0, 1)
        return flat if rows is None else flat[rows]

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) at the flat indices ``rows``: what a sampler asks for."""
        return self(z, t, Layout(), rows)

    def train(self, mode: bool = True) -> ExactHead:
        """Remember the mode, as a module does; nothing depends on it."""
        self.training = mode
        return self

    def _table(self, z: Tokens, t: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Return (B, S, K) predictives; columns beyond the joint's length predict nothing and hold uniform ones."""
        if not isinstance(z, torch.Tensor):
            evidence, back = self._evidence(z, t), None
        else:
            # Few states are distinct: each is enumerated once.
            unique, back = torch.cat([z.double(), t.double()], 1).unique(dim=0, return_inverse=True)
            states, times = unique[:, : z.shape[1]].long(), unique[:, z.shape[1] :]
            evidence = self._evidence(states, times)
            if layout.clean is not None:
                tokens = states[..., None] == torch.arange(self.joint.vocabulary)
                evidence = torch.where(layout.clean[:1, :, None], tokens.double(), evidence)
        table = torch.full_like(evidence, 1.0 / self.joint.vocabulary)
        seen = self._seen(layout, evidence.shape[1])
        for i in range(self.joint.length):
            parts = [self._query(part, seen[i], i) for part in evidence.split(CHUNK)]
            table[:, i] = torch.cat(parts)
        return table if back is None else table[back]

    def _evidence(self, z: Tokens, t: torch.Tensor) -> torch.Tensor:
        found = self.process.evidence(z, t)
        assert found is not None, "only a process that knows its evidence has an exact head"
        return found

    def _seen(self, layout: Layout, columns: int) -> torch.Tensor:
        """Return (S, S) bool, what each query sees; all rows of a batch have one layout here."""
        mask = attention_mask(layout)
        if mask is not None:
            return mask[0, 0]
        whole = torch.ones(columns, columns, dtype=torch.bool)
        return whole.tril() if layout.causal else whole

    def _query(self, evidence: torch.Tensor, seen: torch.Tensor, i: int) -> torch.Tensor:
        """Return (b, K), the predictive at position ``i`` from the evidence (b, S, K) of the columns that it sees."""
        x, weight = self.joint.sequences(), self.joint.flat().expand(len(evidence), -1)
        for column in range(evidence.shape[1]):
            if bool(seen[column]) and not (self.kind == "leave_one_out" and column == i):
                weight = weight * evidence[:, column][:, x[:, column % self.joint.length]]
        mass = torch.zeros(len(evidence), self.joint.vocabulary, dtype=torch.float64)
        mass.index_add_(1, x[:, i], weight)
        total = mass.sum(-1, keepdim=True)
        assert float(total.min()) > 0.0, "a state that the joint and the noise cannot produce"
        return mass / total

"""The exact head of a process on a tiny joint, for whatever the process shows its network.

    p(x_i | what query i sees) ∝ Σ_x p(x) Π_{c seen by i} (1[z_c = x_c] where column c is clean, else q_t(z_c | x_c))

It reads the layout as the Transformer does, so that a process that shows clean tokens beside noisy ones (block
diffusion), or the text shifted by one under a causal layout (autoregression: column c speaks of position c − 1), has an
exact head as well. States on the simplex say themselves what they know of each token. The leave-one-out predictive
leaves out the query's own position.
"""

from __future__ import annotations

import torch

from diffusionlm.model.pattern import attention_mask
from diffusionlm.oracle.joint import Joint
from diffusionlm.process import Head, Layout, Process
from diffusionlm.process.base import Embeddable, Tokens

CHUNK = 4096


class ExactHead:
    """A network and a predictor at once that knows the joint and the noise.

    Args:
        joint: The data distribution.
        process: Over the joint's tokens; it, or its states, know their ``evidence``.
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
        view = self.process.canvas_view(z, t, Layout())
        return self(view.tokens, view.t, view.layout, rows)

    def train(self, mode: bool = True) -> ExactHead:
        """Remember the mode, as a module does; nothing depends on it."""
        self.training = mode
        return self

    def _table(self, z: Tokens, t: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Return (B, S, K) predictives; columns beyond the joint's length predict nothing and hold uniform ones."""
        if not isinstance(z, torch.Tensor):
            evidence, back = self._evidence_of_state(z), None
        else:
            # Few states are distinct: each is enumerated once.
            states, times, back = distinct(z, t)
            evidence = self._evidence(states, times)
            if layout.clean is not None:
                tokens = states[..., None] == torch.arange(self.joint.vocabulary)
                evidence = torch.where(layout.clean[:1, :, None], tokens.double(), evidence)
        table = torch.full_like(evidence, 1.0 / self.joint.vocabulary)
        seen, first = self._seen(layout, evidence.shape[1]), -1 if layout.causal else 0
        for i in range(self.joint.length):
            parts = [self._query(part, seen[i], i, first) for part in evidence.split(CHUNK)]
            table[:, i] = torch.cat(parts)
        return table if back is None else table[back]

    def _evidence(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        found = self.process.evidence(z, t)
        assert found is not None, "only a process that knows its evidence has an exact head"
        return found

    def _evidence_of_state(self, z: Embeddable) -> torch.Tensor:
        """Return the likelihood of a state on the simplex, (B, T, K) float64, the largest of a position being 1."""
        logs = z.evidence(torch.arange(z.shape[0] * z.shape[1]), torch.float64)
        return (logs - logs.amax(1, keepdim=True)).exp().view(*z.shape, -1)

    def _seen(self, layout: Layout, columns: int) -> torch.Tensor:
        """Return (S, S) bool, what each query sees; all rows of a batch have one layout here."""
        mask = attention_mask(layout.rows(torch.zeros(1, dtype=torch.int64)))
        if mask is not None:
            return mask[0, 0]
        whole = torch.ones(columns, columns, dtype=torch.bool)
        return whole.tril() if layout.causal else whole

    def _query(self, evidence: torch.Tensor, seen: torch.Tensor, i: int, first: int) -> torch.Tensor:
        """Return (b, K), the predictive at position ``i`` from the evidence (b, S, K) of the columns that it sees.

        ``first`` is the position of which the first column speaks; what lies before the text says nothing.
        """
        x, weight = self.joint.sequences(), self.joint.flat().expand(len(evidence), -1)
        for column in range(evidence.shape[1]):
            position = (column + first) % self.joint.length if column + first >= 0 else None
            if position is None or not bool(seen[column]) or (self.kind == "leave_one_out" and column + first == i):
                continue
            weight = weight * evidence[:, column][:, x[:, position]]
        mass = torch.zeros(len(evidence), self.joint.vocabulary, dtype=torch.float64)
        mass.index_add_(1, x[:, i], weight)
        total = mass.sum(-1, keepdim=True)
        assert float(total.min()) > 0.0, "a state that the joint and the noise cannot produce"
        return mass / total


def distinct(z: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the distinct rows of states (B, S) and times (B, S), and for each row of the batch which one it is."""
    code, few = torch.zeros(len(z), dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    for column in (*z.unbind(1), *t.unbind(1)):
        # One sort of numbers a column: far faster than the sort of rows that ``unique(dim=0)`` is.
        values, index = column.unique(return_inverse=True)
        few, code = (code * len(values) + index).unique(return_inverse=True)
    first = torch.full((len(few),), len(z), dtype=torch.int64)
    first.scatter_reduce_(0, code, torch.arange(len(z)), reduce="amin")
    return z[first], t[first], code

"""What the losses that score the noised positions alone have in common: which predictive they teach.

Given that a position was noised, its token says nothing about the text, whatever the kind of noise: the minimiser is
p(x_i | z without z_i), the leave-one-out predictive, the one that the tight bound asks for. (Feeding it to a sampler as
if it were the posterior is why a model so trained wants to rewrite right tokens.) Where a recipe keeps a share k of the
chosen tokens, a chosen token speaks for itself by ln(1 + k·K/u); that is added to the network's output before the loss,
so that the output is the leave-one-out predictive there too. docs/MATH.md.
"""

from __future__ import annotations

from diffusionlm.lazy import torch
from diffusionlm.objective.base import Objective
from diffusionlm.objective.rows import Loss, Rows, cross_entropy
from diffusionlm.process.base import Corrupted, Process
from diffusionlm.process.discrete import DiscreteProcess
from diffusionlm.process.head import Head, add_evidence


class OfNoised(Objective):
    """A cross-entropy of the noised tokens."""

    head: Head = "leave_one_out"

    @classmethod
    def minimiser(cls, process: type[Process]) -> Head:
        # A state on the simplex is never a resampled token: it always says something of its own about x.
        return "posterior" if process.state == "simplex" else cls.head

    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        return corrupted.noised

    def loss(self) -> Loss | None:
        process = self.process
        if not isinstance(process, DiscreteProcess) or process.chosen_evidence() == 0.0:
            return None
        evidence, vocabulary = process.chosen_evidence(), process.vocabulary

        def of_chosen(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
            shift = torch.full(rows.z.shape, evidence, dtype=torch.float64, device=logits.device)
            return cross_entropy(add_evidence(logits, rows.z, shift, vocabulary), rows)

        return of_chosen

"""Autoregression: every token from the ones before it, left to right.

    −ln p(x) = Σ_i −ln p_i(x_i | x_{<i})

It is the other end of the same family: a generated token is unknown (m stands for it) until its turn, and nothing to
its right is ever seen. The network reads the text one place to the right, with m in front of each document, so that the
causal state at i predicts x_i for every i and no token goes unpredicted. There is no clock and no randomness; the
bound is the negative log-likelihood itself. Bengio et al. 2003; Radford et al. 2019 (GPT-2),
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
docs/MATH.md, "Blocks and autoregression".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.base import Corrupted, Measure, Process, State, Tokens, View
from diffusionlm.process.layout import Layout
from diffusionlm.process.schedules import Linear, LinearParams, Schedule
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.rng import Draws


class ArParams(Strict):
    """Autoregression: each token given the ones before it (GPT)."""

    name: Literal["ar"] = "ar"
    mask_id: int | None = Field(default=None, ge=0)
    """Model row of m, which stands for the beginning and for unknown tokens; unset = after the tokenizer's ids."""


def causal_view(x: torch.Tensor, layout: Layout, mask_id: int) -> View:
    """Return the text shifted by one under a causal layout: column i holds x_{i−1}, or m at a document's beginning.

    Args:
        x: (B, T) int64 tokens.
        layout: Its segments and positions; documents begin at position 0.
        mask_id: What stands for "nothing before".
    """
    before = torch.nn.functional.pad(x[:, :-1], (1, 0), value=mask_id)
    t = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    begins = layout.positions_of(t) == 0
    return View(torch.where(begins, mask_id, before), t, layout.with_causal(True))


class ArProcess(Process):
    """Left to right. GPT: https://arxiv.org/abs/2005.14165; Bengio et al. 2003."""

    Params = ArParams
    bound = "tight"
    bound_form = "ce"
    state: ClassVar[State] = "ids"
    objective = "ar"
    sampler = "ar"
    random = False
    has_evidence = False

    def __init__(self, params: Any, vocabulary: Vocabulary) -> None:
        super().__init__(params, vocabulary)
        self._schedule = Linear(LinearParams())

    @property
    def schedule(self) -> Schedule:
        """A clock for those who ask for one; nothing here depends on it."""
        return self._schedule

    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        del groups, measure
        return Corrupted(
            x_t=self.source(x_1, editable, draws),
            t=torch.zeros_like(t),
            noised=editable,
            editable=editable,
            weight=editable.double(),
            noise_probability=torch.ones_like(t),
        )

    def source(self, x: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
        del draws
        return torch.where(editable, self.vocabulary.mask_id, x)

    def evidence(self, z: Tokens, t: torch.Tensor) -> torch.Tensor:
        """A token is known, or nothing is."""
        assert isinstance(z, torch.Tensor), "states are ids"
        same = z[..., None] == torch.arange(self.vocabulary.size, device=z.device)
        return (same | self.is_noise(z)[..., None]).double()

    def view(self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor) -> View:
        del corrupted
        return causal_view(x_1, Layout(segments=segments, positions=positions), self.vocabulary.mask_id)

    def canvas_view(self, z: Tokens, t: torch.Tensor, layout: Layout) -> View:
        assert isinstance(z, torch.Tensor), "states are ids"
        return causal_view(z, layout, self.vocabulary.mask_id)

    def settled(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        # Column i holds z_{i−1} and sees the columns before it.
        unknown = torch.nn.functional.pad(self.is_noise(z)[:, :-1], (1, 0))
        return unknown.long().cumsum(1) == 0

    def is_noise(self, z: torch.Tensor) -> torch.Tensor:
        return z == self.vocabulary.mask_id

"""Revealing as many masked tokens at once as the network is sure of; what the three rules of that kind share.

Every call asks for all masked tokens of the block, ranks them surest first, and reveals the first n of the ranking,
where n is the rule's own count, never less than one. ``steps`` stays the most network evaluations that a canvas takes:
where a rule would be too slow for it, n is raised to the masked tokens over the steps left, which is one as long as
there are as many steps as tokens. Certainty is that of the unfiltered distribution, rounded as in ``confidence``, so
that a count does not depend on the batch. docs/MATH.md §4.
"""

from __future__ import annotations

from abc import abstractmethod

from diffusionlm.lazy import torch
from diffusionlm.process import MaskProcess
from diffusionlm.sampling.base import Law, Plan, Sampler, State, Step, place
from diffusionlm.sampling.confidence import Order, certainty, choose, even_ties
from diffusionlm.sampling.filters import draw


class Parallel(Sampler):
    """A rule that says how many of the surest tokens to reveal.

    Class attributes:
        order: What the ranking is by.
    """

    requires = MaskProcess
    order: Order = "max_prob"

    @property
    def law(self) -> Law:
        """A heuristic: tokens that are revealed together are drawn as if they were independent."""
        return "heuristic"

    @abstractmethod
    def count(self, scores: torch.Tensor) -> torch.Tensor:
        """Return (B,) int64: how many to reveal.

        Args:
            scores: (B, T) float64, ``certainty`` of each row's masked tokens in descending order, then −∞.
        """

    def plan(self, state: State) -> Plan:
        return Plan(sites=self.noise(state), u=state.grid())

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        empty = torch.full(state.z.shape, -torch.inf, dtype=torch.float64, device=state.z.device)
        scores = place(empty, rows, even_ties(certainty(logits, self.order), logits.dtype))
        masked, left = plan.sites.sum(1), (state.steps - state.step).clamp_min(1)
        least = (masked + left - 1) // left
        count = torch.maximum(self.count(scores.sort(1, descending=True).values), least)
        chosen = choose(scores, state.draws.uniform("sample/order"), plan.sites, count)
        kept = chosen.flatten()[rows].nonzero().squeeze(1)
        drawn = draw(logits[kept], state.draws.uniform("sample/token").flatten()[rows[kept]], self.filters)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(state.z, rows[kept], drawn.token),
            t=self._reached(state, masked - chosen.sum(1)),
            confidence=place(unknown, rows[kept], drawn.log_probability.exp()),
        )

    def _reached(self, state: State, left: torch.Tensor) -> torch.Tensor:
        """Return (B,) float64: the time at which the process has ``left`` (B,) of the block's tokens still masked.

        The number of steps says nothing about how much is clean, so the clock is read off the canvas.
        """
        share = left.double() / state.open.sum(1).clamp_min(1)
        return self.process.schedule.inverse(1.0 - share)

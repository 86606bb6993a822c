"""Reveal the masked tokens that the network is surest of, a scheduled number at a time.

With n_0 masked tokens in a block, n(u) = round(n_0·(1 − κ_u)) are left after the step that ends at u. Cumulative
rounding leaves none at u = 1, and a step whose count does not change makes no network call, so that more steps than
tokens cost nothing. Which tokens reveal is decided by

| order | score, highest first |
|---|---|
| ``max_prob`` | max_x p_i(x) |
| ``margin`` | p_i of the best token − p_i of the second best |
| ``entropy`` | −H(p_i) |
| ``random`` | a random number |
| ``drawn`` | p_i of the token that was drawn there |

and always from the unfiltered distribution, whatever the temperature, top-k and top-p of the draw. At one token a call
all but ``drawn`` choose the position from the visible tokens alone, so that with an exact head the samples have the
data law; ``drawn`` prefers positions where a likely token happened to be drawn, and biases the law even there.

References: Chang et al. 2022 (MaskGIT), https://arxiv.org/abs/2202.04200; Nie et al. 2025 (LLaDA, ``drawn``),
https://arxiv.org/abs/2502.09992; Kim et al. 2025 (margin), https://arxiv.org/abs/2502.06768; Ye et al. 2025 (Dream,
entropy), https://arxiv.org/abs/2508.15487. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import MaskProcess
from diffusionlm.sampling.base import Law, Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import CHUNK_ENTRIES, draw

Order = Literal["max_prob", "margin", "entropy", "random", "drawn"]


class ConfidenceParams(Strict):
    """Reveal the most certain masked tokens first, in numbers set by the schedule."""

    name: Literal["confidence"] = "confidence"
    order: Order = "max_prob"
    """What certainty is: max_prob, margin, entropy, random, or drawn (LLaDA's, which biases the law)."""


class Confidence(Sampler):
    """Confidence-ordered revealing. MaskGIT, https://arxiv.org/abs/2202.04200."""

    Params = ConfidenceParams
    requires = MaskProcess
    params: ConfidenceParams

    @property
    def law(self) -> Law:
        """The data law at one token a call, except for ``drawn``."""
        return "heuristic" if self.params.order == "drawn" else "joint"

    def plan(self, state: State) -> Plan:
        u = state.grid()
        masked = self.noise(state)
        count = self.reveal_count(state, u)
        if self.params.order == "random":
            zeros = torch.zeros(state.z.shape, dtype=torch.float64, device=state.z.device)
            return Plan(sites=choose(zeros, state.draws.uniform("sample/order"), masked, count), u=u)
        return Plan(sites=masked & (count > 0)[:, None], u=u)

    def reveal_count(self, state: State, u: torch.Tensor) -> torch.Tensor:
        """Return (B,) int64: how many tokens of each row's block to reveal in the step that ends at ``u`` (B,)."""
        n_0 = state.open.sum(1)
        left = (n_0 * self.process.schedule.remaining(u) + 0.5).floor().long()
        left = torch.where(u >= 1.0, 0, left)
        return (self.noise(state).sum(1) - left).clamp_min(0)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        u_token = state.draws.uniform("sample/token").flatten()
        if self.params.order == "drawn":
            drawn = draw(logits, u_token[rows], self.filters)
            kept = self._kept(state, plan, rows, drawn.log_probability, logits.dtype)
            token, log_probability = drawn.token[kept], drawn.log_probability[kept]
        else:
            scores = certainty(logits, self.params.order)
            kept = self._kept(state, plan, rows, scores, logits.dtype)
            drawn = draw(logits[kept], u_token[rows[kept]], self.filters)
            token, log_probability = drawn.token, drawn.log_probability
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(state.z, rows[kept], token),
            t=plan.u,
            confidence=place(unknown, rows[kept], log_probability.exp()),
        )

    def _kept(
        self, state: State, plan: Plan, rows: torch.Tensor, scores: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return (M,) indices into ``rows``: the positions to reveal."""
        if self.params.order == "random":
            return torch.arange(rows.numel(), device=rows.device)
        grid = torch.zeros(state.z.shape, dtype=torch.float64, device=state.z.device)
        grid = place(grid, rows, even_ties(scores, dtype))
        count = self.reveal_count(state, plan.u)
        chosen = choose(grid, state.draws.uniform("sample/order"), plan.sites, count)
        return chosen.flatten()[rows].nonzero().squeeze(1)


def certainty(logits: torch.Tensor, order: Order) -> torch.Tensor:
    """Return the score of each row of ``logits`` (N, K) under an order, (N,) float64, higher = surer.

    ``max_prob`` is returned as a logarithm, so that probabilities near one stay apart.
    """
    scores = [torch.empty(0, dtype=torch.float64, device=logits.device)]
    for part in logits.split(max(1, CHUNK_ENTRIES // logits.shape[-1])):
        part = part.double()
        if order == "max_prob":
            scores.append(part.amax(-1) - part.logsumexp(-1))
        elif order == "margin":
            best = part.softmax(-1).topk(min(2, part.shape[-1]), dim=-1).values
            scores.append(best[:, 0] - best[:, -1] if best.shape[-1] == 2 else best[:, 0])
        elif order == "entropy":
            log_p = part.log_softmax(-1)
            scores.append((log_p.exp() * log_p).nan_to_num(nan=0.0).sum(-1))
        else:
            assert order == "random", f"order {order!r} has no score of its own"
            scores.append(torch.zeros(part.shape[0], dtype=torch.float64, device=part.device))
    return torch.cat(scores)


def even_ties(scores: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round scores to a grid coarser than the arithmetic that made them, (N,) float64.

    Positions that the network cannot tell apart (every position of an empty canvas, to begin with) have scores that
    differ by rounding alone, and rounding depends on the batch. On the grid they tie, and ``choose`` breaks ties with
    the sample's own random numbers.
    """
    quantum = 2.0**-30 if dtype == torch.float64 else 2.0**-14
    return (scores / quantum).round() * quantum


def choose(scores: torch.Tensor, tiebreak: torch.Tensor, candidates: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Return (B, T) bool: in each row the ``count`` candidates with the highest scores, ties by ``tiebreak``.

    Args:
        scores: (B, T) float64, finite.
        tiebreak: (B, T) float64; the smaller wins.
        candidates: (B, T) bool.
        count: (B,) int64.
    """
    ranked = torch.where(candidates, scores, -torch.inf)
    order = tiebreak.argsort(dim=1)
    order = order.gather(1, ranked.gather(1, order).argsort(dim=1, descending=True, stable=True))
    place_of = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return candidates & (place_of < count[:, None])

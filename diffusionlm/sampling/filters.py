"""From logits to a token: temperature → top-k → top-p → draw, in float64.

The draw inverts the cumulative distribution with one uniform per position. It has the law of a Gumbel-max draw, needs
one random number in place of K, and in float64 has none of the half-precision failures of Gumbel noise (docs/MATH.md
§4; Zheng et al. 2024, https://arxiv.org/abs/2409.02908). Nothing here knows the mask token: logits have a column for
each of the K data tokens and no other, so that m and unused rows cannot be drawn.

Top-k: Fan et al. 2018, https://arxiv.org/abs/1805.04833. Top-p: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict

NUCLEUS = 256
"""Most likely tokens among which a nucleus is looked for before the whole vocabulary is sorted."""
CHUNK_ENTRIES = 1 << 22
"""Float64 entries of (rows, K) that are worked on at a time: 32 MiB, whatever the vocabulary."""


class Filters(Strict):
    """How a token is drawn from the head's distribution."""

    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 1 = the model's own law, 0 = always the most likely token."""
    top_k: int | None = Field(default=None, ge=1)
    """Keep the k most likely tokens (and those that tie with the k-th)."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    """Keep the smallest set of most likely tokens whose probability reaches p; the token that crosses p is kept."""


UNFILTERED = Filters()
"""The head's own distribution."""


@dataclass(frozen=True)
class Drawn:
    """Tokens drawn at N positions.

    Attributes:
        token: (N,) int64.
        log_probability: (N,) float64, ln p of each token under the unfiltered distribution.
        standing: (N,) float64, the probability under the filtered distribution of the tokens that were asked about; 0
            for m, and where none was.
    """

    token: torch.Tensor
    log_probability: torch.Tensor
    standing: torch.Tensor


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Return ``logits`` (N, K) with −inf below each row's k-th largest value; ties with it are kept."""
    if k >= logits.shape[-1]:
        return logits
    bar = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < bar, -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Return ``logits`` (N, K) with −inf outside each row's nucleus; the token that crosses ``p`` is inside.

    Equal probabilities are taken in the order of their ids. Sorting a whole vocabulary costs many times the head's own
    product, so that it is kept for the rows whose nucleus is wider than the ``NUCLEUS`` best tokens.
    """
    if p >= 1.0:
        return logits
    if logits.shape[-1] <= NUCLEUS:
        return _keep_top_p_by_sorting(logits, p)
    top = logits.topk(NUCLEUS, dim=-1).values
    share = (top - top[:, :1]).exp() / (logits - top[:, :1]).exp_().sum(-1, keepdim=True)
    number = (share.cumsum(-1) - share < p).sum(-1, keepdim=True)
    bar = top.gather(-1, number - 1)
    above, equal = logits > bar, logits == bar
    kept = above | (equal & (equal.cumsum(-1) <= number - above.sum(-1, keepdim=True)))
    nucleus = logits.masked_fill(~kept, -torch.inf)
    wide = (number.squeeze(-1) == NUCLEUS).nonzero().squeeze(-1)
    return nucleus.index_copy(0, wide, _keep_top_p_by_sorting(logits[wide], p))


def _keep_top_p_by_sorting(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Do what ``keep_top_p`` promises, for a nucleus of any width."""
    sorted_logits, order = logits.sort(dim=-1, descending=True, stable=True)
    probability = sorted_logits.softmax(-1)
    before = probability.cumsum(-1) - probability  # exactly 0 for the most likely token, which therefore stays
    outside = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, before >= p)
    return logits.masked_fill(outside, -torch.inf)


def filter_logits(logits: torch.Tensor, filters: Filters) -> torch.Tensor:
    """Return the logits of the distribution to draw from, (N, K) float64, −inf where a token is excluded.

    Args:
        logits: (N, K), any floating type.
        filters: The temperature must be positive; a temperature of 0 has no logits (see ``draw``).
    """
    assert filters.temperature > 0.0, f"temperature {filters.temperature} has no distribution"
    logits = logits.double()
    if filters.temperature != 1.0:
        # The best token's 0 survives the division by any temperature; a large logit over a tiny one is infinite.
        logits = (logits - logits.amax(-1, keepdim=True)) / filters.temperature
    if filters.top_k is not None:
        logits = keep_top_k(logits, filters.top_k)
    if filters.top_p is not None:
        logits = keep_top_p(logits, filters.top_p)
    return logits


def invert(logits: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return (N,) int64: in each row, the first token whose cumulative probability reaches ``u``.

    Args:
        logits: (N, K) float64; −inf is probability zero and is never returned.
        u: (N,) float64 in (0, 1].
    """
    return first_reaching((logits - logits.amax(-1, keepdim=True)).exp_(), u)


def first_reaching(mass: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return (N,) int64: in each row of ``mass`` (N, K), the first positive entry at which the share ``u`` is reached.

    A sum in order leaves a plateau where nothing is added, and a binary search finds where it begins. A parallel scan
    may round the plateau up or down: off the CPU excluded tokens are masked out of the search.
    """
    reached = mass.cumsum(-1)
    if mass.device.type == "cpu":
        return torch.searchsorted(reached, u[:, None] * reached[:, -1:]).squeeze(-1)
    possible = mass > 0.0
    target = u[:, None] * torch.where(possible, reached, 0.0).amax(-1, keepdim=True)
    return ((reached >= target) & possible).to(torch.uint8).argmax(-1)


def draw(logits: torch.Tensor, u: torch.Tensor, filters: Filters, standing: torch.Tensor | None = None) -> Drawn:
    """Draw a token in every row: temperature → top-k → top-p → inverse cumulative distribution.

    Args:
        logits: (N, K), any floating type.
        u: (N,) float64 uniforms in (0, 1].
        filters: Temperature 0 takes the most likely token, the lowest id among equals.
        standing: (N,) int64 tokens whose probability under the filtered distribution is wanted too.

    Returns:
        The tokens and their unfiltered log-probabilities.
    """
    size = max(1, CHUNK_ENTRIES // logits.shape[-1])
    asked = torch.full_like(u, -1, dtype=torch.int64) if standing is None else standing
    parts = [_draw(*part, filters) for part in zip(logits.split(size), u.split(size), asked.split(size))]
    return Drawn(*(torch.cat(column) for column in zip(*parts)))


def _draw(
    logits: torch.Tensor, u: torch.Tensor, standing: torch.Tensor, filters: Filters
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the three columns of ``Drawn`` for some rows."""
    logits = logits.double()
    known = (standing >= 0) & (standing < logits.shape[-1])
    column = torch.where(known, standing, 0)[:, None]
    best = logits.amax(-1, keepdim=True)
    mass = (logits - best).exp_()
    total = mass.sum(-1)
    if filters.temperature == 0.0:
        token = logits.argmax(-1)
        share = (token == standing).double()
    else:
        kept = mass if filters == UNFILTERED else filter_logits(logits, filters).softmax(-1)
        token = first_reaching(kept, u)
        share = kept.gather(-1, column).squeeze(-1) / (total if filters == UNFILTERED else 1.0)
    log_probability = (logits.gather(-1, token[:, None]) - best).squeeze(-1) - total.log()
    return token, log_probability, torch.where(known, share, 0.0)

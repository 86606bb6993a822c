"""Which editable positions a process noises, given the probability of noise at each.

``bernoulli`` decides every position alone; ``exact_count`` fixes the number per document and has the lower variance.
``exact_count_and_share`` does so for noise that can look like text, where every position is scored and a network is
told how much of what it sees is noise.
docs/MATH.md §1; the exact-count form: Ou et al. 2024, https://arxiv.org/abs/2406.03736 (eq. 3.4), used as the scorer of
LLaDA, https://arxiv.org/abs/2502.09992.
"""

from __future__ import annotations

from collections.abc import Callable

from diffusionlm.lazy import torch
from diffusionlm.rng import Draws

STREAM = "corrupt/select"


def bernoulli(noise_probability: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Noise each editable position with its own probability.

    Args:
        noise_probability: (B, T) float64, 1 − κ(t).
        editable: (B, T) bool.
        draws: Random numbers of the batch.

    Returns:
        (B, T) bool, the positions to noise.
    """
    return editable & (draws.uniform(STREAM) < noise_probability)


def document_counts(editable: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Return (B, T) int64: at each position, how many editable positions its segment has in the row."""
    return _segment_counts(editable, segments).gather(1, segments)


def document_places(editable: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Return (B, T) int64: at each position, how many editable positions of its segment come before it."""
    counts = _segment_counts(editable, segments)
    earlier = (counts.cumsum(1) - counts).gather(1, segments)
    return editable.cumsum(1) - editable.long() - earlier


def _segment_counts(editable: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Return (B, T + 1) int64: editable positions of segment 0 … T of each row."""
    zeros = torch.zeros((segments.shape[0], segments.shape[1] + 1), dtype=torch.int64, device=segments.device)
    return zeros.scatter_add_(1, segments, editable.long())


def exact_count(
    u: torch.Tensor, editable: torch.Tensor, segments: torch.Tensor, draws: Draws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise exactly n of the L editable positions of each document, n uniform on 1 … L.

    Args:
        u: (B, T) float64 in [0, 1), constant over a document: n = 1 + ⌊L·u⌋.
        editable: (B, T) bool.
        segments: (B, T) int64, 0 … T.
        draws: Random numbers of the batch.

    Returns:
        (B, T) bool, the positions to noise, and (B, T) int64, n at every position (0 where a document has nothing to
        noise).
    """
    length = document_counts(editable, segments)
    n = torch.minimum(1 + (length * u).long(), length)
    place, _ = _sorted(draws.uniform(STREAM), editable, segments)
    return editable & (place < n), n


def exact_count_and_share(
    u: torch.Tensor, editable: torch.Tensor, segments: torch.Tensor, draws: Draws
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise exactly n of the L editable positions of each document, n uniform on 0 … L, and say with which probability.

    Where every position is noised alone with probability s, s uniform, the number n of noised ones is uniform on
    0 … L and s given n has the law Beta(n + 1, L − n + 1). Here s is the n-th smallest of the L draws that choose the
    positions, whose law is Beta(n, L − n + 1): it comes near 0 less often, where weights of 1/s grow without limit
    (one noised token has 1/s of infinite variance). ``count_importance`` undoes the difference. Where nothing is
    noised, s is the smallest of the draws.

    Args:
        u: (B, T) float64 in [0, 1], constant over a document: n = ⌊(L + 1)·u⌋, at most L.
        editable: (B, T) bool.
        segments: (B, T) int64, 0 … T.
        draws: Random numbers of the batch.

    Returns:
        (B, T) bool, the positions to noise; (B, T) int64, n; and (B, T) float64, s in (0, 1), ½ where a document has
        nothing to noise.
    """
    length = document_counts(editable, segments)
    n = torch.minimum(((length + 1) * u).long(), length)
    uniform = draws.uniform(STREAM)
    place, at_place = _sorted(uniform, editable, segments)
    share = at_place((n - 1).clamp_min(0))
    return editable & (place < n), n, torch.where(length > 0, share, 0.5)


def count_importance(share: torch.Tensor, n: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return the density of (n, s) under independent noise, s uniform, over that of ``exact_count_and_share``.

    (L + 1)·s/n, and (L + 1)·(1 − s)/L where nothing is noised: with a weight of 1/s, about L/n as in ``exact_count``.
    """
    length = length.clamp_min(1).double()
    return (length + 1.0) * torch.where(n > 0, share / n.clamp_min(1), (1.0 - share) / length)


def _sorted(
    uniform: torch.Tensor, editable: torch.Tensor, segments: torch.Tensor
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Sort the draws of each document.

    Returns:
        (B, T) int64, the place of each editable position's draw among its document's, from 0; and a function from
        places (B, T) to the draws there, (B, T).
    """
    counts = _segment_counts(editable, segments)
    earlier = (counts.cumsum(1) - counts).gather(1, segments)
    # Sorting by (segment, draw) groups the editable positions of each document in random order; a position's place in
    # its group is its place in the row less the editable positions of earlier segments.
    width = segments.shape[1] + 2.0
    order = (torch.where(editable, segments.double(), width) + uniform).argsort(dim=1)
    place = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    in_order = uniform.gather(1, order)
    last = order.shape[1] - 1
    return place - earlier, lambda wanted: in_order.gather(1, (earlier + wanted).clamp(max=last))

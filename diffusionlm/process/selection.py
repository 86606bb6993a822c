"""Which editable positions a process noises, given the probability of noise at each.

``bernoulli`` decides every position alone; ``exact_count`` fixes the number per document and has the lower variance.
Both return the weight that makes the sum over the chosen positions an unbiased estimate of the likelihood bound.
docs/MATH.md §1; the exact-count form: Ou et al. 2024, https://arxiv.org/abs/2406.03736 (eq. 3.4), used as the scorer of
LLaDA, https://arxiv.org/abs/2502.09992.
"""

from __future__ import annotations

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
    counts = _segment_counts(editable, segments)
    length = counts.gather(1, segments)
    n = torch.minimum(1 + (length * u).long(), length)
    # Sorting by (segment, draw) groups the editable positions of each document in random order; a position's place in
    # its group is its place in the row less the editable positions of earlier segments.
    width = segments.shape[1] + 2.0
    order = (torch.where(editable, segments.double(), width) + draws.uniform(STREAM)).argsort(dim=1)
    place = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    earlier = (counts.cumsum(1) - counts).gather(1, segments)
    return editable & (place - earlier < n), n

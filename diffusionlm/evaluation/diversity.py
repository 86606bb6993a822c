"""How varied samples are: the entropy of the tokens of each, and the share of different token n-grams in all.

    entropy = mean over samples of −Σ_v f_v log2 f_v        distinct-n = |different n-grams| / |n-grams|

f are the token frequencies within a sample. Both fall when samples repeat themselves, and both depend on the length and
the number of samples, so they compare only at equal ones: real text is measured at the same. Li et al. 2016 (distinct),
https://arxiv.org/abs/1510.03055; Zheng et al. 2024 (entropy beside generative perplexity),
https://arxiv.org/abs/2409.02908.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRAM = 3


@dataclass(frozen=True)
class Diversity:
    """Measures of some samples.

    Attributes:
        entropy: Bits per token within a sample, on average; None where all are empty.
        distinct: Share of different token trigrams; None where there are none.
        tokens: Mean tokens of a sample.
    """

    entropy: float | None
    distinct: float | None
    tokens: float


def diversity(samples: Sequence[Sequence[int]]) -> Diversity:
    """Return the measures of samples, each a sequence of token ids."""
    entropies = [_entropy(ids) for ids in samples if len(ids)]
    grams = [tuple(ids[i : i + GRAM]) for ids in samples for i in range(len(ids) - GRAM + 1)]
    return Diversity(
        entropy=float(np.mean(entropies)) if entropies else None,
        distinct=len(set(grams)) / len(grams) if grams else None,
        tokens=float(np.mean([len(ids) for ids in samples])) if samples else 0.0,
    )


def _entropy(ids: Sequence[int]) -> float:
    counts = np.unique(np.asarray(ids), return_counts=True)[1]
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())

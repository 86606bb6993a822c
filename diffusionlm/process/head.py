"""What a network's output says: the posterior p(x_i | z), or the leave-one-out predictive p(x_i | z without z_i).

The two differ wherever z_i itself says something about x_i. Bayes' rule turns one into the other,

    p_post(x) ∝ p_loo(x) · q_t(z_i | x),

and since q_t(z | x) = κ_t·1[z = x] + ν_t(z) has one value for all x but z, that is a shift of one logit: the one of the
token that stands there, by ln(q_t(z | z) / ν_t(z)) = ln(1 + κ_t/ν_t(z)). At a masked position the shift is zero. Where
ν_t(z_i) = 0 the posterior is certain: it follows from either head, and nothing follows from it. docs/MATH.md §1.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.process.noise import Noise
from diffusionlm.process.vocabulary import Vocabulary

Head = Literal["posterior", "leave_one_out"]
CERTAIN = 1e4
"""Nats in place of infinitely many, where a token can only be right."""


def convert_head(
    logits: torch.Tensor, z: torch.Tensor, noise: Noise, vocabulary: Vocabulary, have: Head, want: Head
) -> torch.Tensor:
    """Return logits of the head that is wanted, up to a constant per row.

    Args:
        logits: (N, K), any floating type.
        z: (N,) int64, the token that stands at each position; m and unused rows say nothing about x.
        noise: ν_t at the N positions, (N,) each.
        vocabulary: The ids.
        have, want: Which head the logits are, and which is wanted.
    """
    if have == want:
        return logits
    shift = noise.evidence()
    return add_evidence(logits, z, shift if want == "posterior" else -shift, vocabulary)


def add_evidence(logits: torch.Tensor, z: torch.Tensor, shift: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
    """Return logits (N, K) with (N,) nats added at the token that stands at each position; m gets none.

    Certainty is cut to ``CERTAIN`` nats, so that the softmax stays a number.
    """
    is_token = z < vocabulary.size
    finite = torch.where(is_token, shift, 0.0).clamp(-CERTAIN, CERTAIN).to(logits.dtype)
    return logits.scatter_add(1, torch.where(is_token, z, 0)[:, None], finite[:, None])


def add_dense_evidence(logits: torch.Tensor, evidence: torch.Tensor, have: Head, want: Head) -> torch.Tensor:
    """Return logits of the head that is wanted where z is not a token: Bayes' rule with q_t(z_i | x) of every x.

    Args:
        logits: (N, K), any floating type.
        evidence: (N, K) ln q_t(z_i | x) up to a constant per row.
        have, want: Which head the logits are, and which is wanted.
    """
    if have == want:
        return logits
    return logits + evidence if want == "posterior" else logits - evidence

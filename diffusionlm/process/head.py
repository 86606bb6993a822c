"""What a network's output says: the posterior p(x_i | z), or the leave-one-out predictive p(x_i | z without z_i).

The two differ wherever z_i itself says something about x_i. Bayes' rule turns one into the other,

    p_post(x) ∝ p_loo(x) · q_t(z_i | x),

and since q_t(z | x) = κ_t·1[z = x] + ν_t(z) has one value for all x but z, that is a shift of one logit: the one of the
token that stands there, by ln(q_t(z | z) / ν_t(z)) = ln(1 + κ_t/ν_t(z)). At a masked position the shift is zero. Where
ν_t(z_i) = 0 the posterior is certain and the two cannot be converted. docs/MATH.md §1.
"""

from __future__ import annotations

from typing import Literal

from diffusionlm.lazy import torch
from diffusionlm.process.noise import Noise
from diffusionlm.process.vocabulary import Vocabulary

Head = Literal["posterior", "leave_one_out"]


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
    is_token = z < vocabulary.size
    shift = torch.where(is_token, noise.evidence(), 0.0).to(logits.dtype)
    column = torch.where(is_token, z, 0)[:, None]
    signed = shift if want == "posterior" else -shift
    return logits.scatter_add(1, column, signed[:, None])


def add_evidence(logits: torch.Tensor, evidence: torch.Tensor, have: Head, want: Head) -> torch.Tensor:
    """Return logits of the head that is wanted where z is not a token: Bayes' rule with q_t(z_i | x) of every x.

    Args:
        logits: (N, K), any floating type.
        evidence: (N, K) ln q_t(z_i | x) up to a constant per row.
        have, want: Which head the logits are, and which is wanted.
    """
    if have == want:
        return logits
    return logits + evidence if want == "posterior" else logits - evidence

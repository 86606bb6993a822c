"""The negative evidence lower bound of any discrete process: one formula for every ν_t.

    NELBO(x) = E_{t, z~q_t} Σ_i [ρ_t(z_i)/q_t(z_i|x_i)] · { KL(q_t(·|x_i) ‖ q_t(·|x̂_i)) + IS(r_i) },
    r_i = q_t(z_i|x_i)/q_t(z_i|x̂_i),   IS(r) = r − ln r − 1,   q_t(·|x̂) = κ_t x̂ + ν_t

with x̂ the leave-one-out predictive p(x_i | z without z_i), at which it equals the entropy. The first factor is
``Corrupted.weight``; the braces are ``divergence``. For the mask process they are κ·CE at masked positions and zero
elsewhere, which is why it gathers those alone (``bound_form``). Training and evaluation both ask here, so that they
cannot differ. docs/MATH.md §1.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusionlm.lazy import torch
from diffusionlm.objective.rows import Loss, Rows
from diffusionlm.process.base import Corrupted, Process
from diffusionlm.process.head import Head, convert_head


@dataclass(frozen=True)
class Scored:
    """Which positions of a corrupted batch a loss scores, and how.

    Attributes:
        chosen: (B, T) bool.
        weight: (B, T) float64.
        loss: Of a row, from its logits; None = the plain cross-entropy, which has a faster path.
    """

    chosen: torch.Tensor
    weight: torch.Tensor
    loss: Loss | None


def bound_of(process: Process, corrupted: Corrupted, head: Head) -> Scored:
    """Return what the bound scores.

    Args:
        process: Has a bound.
        corrupted: One of its batches.
        head: What the network's logits are; converted where the bound wants the leave-one-out predictive.
    """
    chosen = corrupted.weight > 0
    if process.bound_form == "ce":
        return Scored(chosen, corrupted.weight, None)

    def loss(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
        assert rows.noise is not None, "a dense bound belongs to a discrete process"
        loo = convert_head(logits, rows.z, rows.noise, process.vocabulary, head, "leave_one_out")
        return divergence(loo, rows)

    return Scored(chosen, corrupted.weight, loss)


def divergence(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return KL(q_t(·|x) ‖ q_t(·|x̂)) + IS(q_t(z|x)/q_t(z|x̂)), (N,) nats.

    The mask token has the same mass under both marginals, so that only the K data tokens enter.

    Args:
        logits: (N, K) of the leave-one-out head.
        rows: Clean and noisy tokens, and ν_t.
    """
    # Here, because the kernel needs torch as it is imported, and parameter classes import this module.
    from diffusionlm.kernels.marginal_divergence import marginal_divergence

    noise = rows.noise
    assert noise is not None, "a divergence belongs to a discrete process"
    return marginal_divergence(logits, rows.x, rows.z, noise.kappa, noise.uniform / noise.size)

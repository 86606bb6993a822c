"""How far the noisy marginal of a prediction is from that of the true token: the loss of the tight bound, row by row.

    D = KL(q(·|x) ‖ q(·|x̂)) + IS(q(z|x)/q(z|x̂)),     q(j|x̂) = κ·p_j + b,   IS(r) = r − ln r − 1,   p = softmax(logits)

With s = κ/b every term is a log1p, so that nothing cancels when the noise is nearly everything (s → 0, D ~ s²) and
nothing overflows when it is nearly nothing (s → ∞):

    KL = b·{(1 + s)·ln(1 + s) − s·ln(1 + s·p_x) − Σ_j ln(1 + s·p_j)},    ln r = 1[z = x]·ln(1 + s) − ln(1 + s·p_z)

Value and gradient are formed together, in slices that stay in the CPU's cache; autograd would keep five tensors of the
size of the logits. What is one number a row is computed in float64. docs/MATH.md §1; for uniform noise it is the closed
form of UDLM, https://arxiv.org/abs/2412.10193.
"""

from __future__ import annotations

from typing import Any

import torch

SLICE_ELEMENTS = 1 << 17
"""Logits that the CPU works on at once: three buffers of 512 KiB."""
SMALLEST_NOISE = 1e-35
"""b is not taken smaller: where a data token is never noise, its row is that of vanishing noise."""


def reference(
    logits: torch.Tensor, x: torch.Tensor, z: torch.Tensor, kappa: torch.Tensor, each: torch.Tensor
) -> torch.Tensor:
    """Return the same as it is written, by autograd and with a table of the marginals; for float64 and b > 0."""
    classes = logits.shape[1]
    predicted = kappa[:, None] * logits.softmax(-1) + each[:, None]
    true = kappa[:, None] * torch.nn.functional.one_hot(x, classes) + each[:, None]
    r = (true / predicted).gather(1, z.clamp(max=classes - 1)[:, None]).squeeze(1)
    r = torch.where(z < classes, r, 1.0)
    return (true * (true / predicted).log()).sum(-1) + r - r.log() - 1.0


class _MarginalDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, x: torch.Tensor, z: torch.Tensor, kappa: torch.Tensor, each: torch.Tensor
    ) -> torch.Tensor:
        rows, classes = logits.shape
        values = torch.empty(rows, dtype=logits.dtype, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        size = max(1, SLICE_ELEMENTS // classes) if logits.device.type == "cpu" else max(rows, 1)
        for start in range(0, rows, size):
            part = slice(start, start + size)
            out = None if gradient is None else gradient[part]
            values[part] = _slice(logits[part], x[part], z[part], kappa[part].double(), each[part].double(), out)
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return None if gradient is None else gradient * grads[0][:, None], None, None, None, None


def _slice(
    logits: torch.Tensor,
    x: torch.Tensor,
    z: torch.Tensor,
    kappa: torch.Tensor,
    each: torch.Tensor,
    gradient: torch.Tensor | None,
) -> torch.Tensor:
    """Return D of some rows in float64, and write ∂D/∂logits."""
    classes = logits.shape[1]
    is_token = z < classes
    column = torch.where(is_token, z, 0)[:, None]
    each = each.clamp_min(SMALLEST_NOISE)
    s = kappa / each
    largest = logits.amax(1, keepdim=True)
    p = (logits - largest).exp_()
    total = p.sum(1, keepdim=True)
    log_total = (total.double().log() + largest.double()).squeeze(1)
    log_x, log_z = (logits.gather(1, at).squeeze(1).double() - log_total for at in (x[:, None], column))
    p.mul_(1.0 / total)
    up = p * s[:, None].to(p.dtype)  # s·p
    each_log = up.log1p().sum(1).double()
    at_x, at_z = _log1p_exp(s.log() + log_x), _log1p_exp(s.log() + log_z)  # ln(1 + s·p)
    kl = each * ((1.0 + s) * s.log1p() - s * at_x - each_log)
    log_r = torch.where(is_token, torch.where(z == x, s.log1p(), 0.0) - at_z, 0.0)
    if gradient is not None:
        # ∂D/∂p_j = s·h_j with h_j = −b/(1 + s·p_j), one more term at x and one at z; then through the softmax.
        of_x = -kappa * (log_x - at_x).exp()  # p_x·h_x: −b·s·p_x/(1 + s·p_x)
        of_z = torch.where(is_token, -torch.expm1(log_r) * (log_z - at_z).exp(), 0.0)
        share = torch.div(p, up.add_(1.0), out=gradient)  # p/(1 + s·p)
        mean = of_x + of_z - each * share.sum(1).double()
        share.mul_((-each * s)[:, None].to(p.dtype)).addcmul_(p, (-s * mean)[:, None].to(p.dtype))
        share.scatter_add_(1, x[:, None], (s * of_x)[:, None].to(p.dtype))
        share.scatter_add_(1, column, (s * of_z)[:, None].to(p.dtype))
    return kl + torch.expm1(log_r) - log_r


def _log1p_exp(a: torch.Tensor) -> torch.Tensor:
    """Return ln(1 + e^a) for any a, −∞ included."""
    return a.clamp_min(0.0) + torch.log1p((-a.abs()).exp())


def marginal_divergence(
    logits: torch.Tensor, x: torch.Tensor, z: torch.Tensor, kappa: torch.Tensor, each: torch.Tensor
) -> torch.Tensor:
    """Return KL + IS of every row, (N,) nats in the dtype of the logits, differentiable in them.

    Args:
        logits: (N, K) float32 or float64 over the data tokens.
        x: (N,) int64 clean tokens.
        z: (N,) int64 noisy tokens; K or more is a token that predictions give no mass to (m).
        kappa: (N,) float64, κ.
        each: (N,) float64, b: the noise's mass on each data token.
    """
    result: Any = _MarginalDivergence.apply(logits, x, z, kappa, each)
    return result

"""Cross-entropy of a linear head without ever holding all its logits.

    loss = Σ_n w_n · (logsumexp_j(h_n · W_j) − h_n · W_{y_n})

The gradient of each chunk of rows is formed in place of its logits (``chunked_head``). Logits are computed in the dtype
of ``hidden``, the softmax in float32.
"""

from __future__ import annotations

import torch

from diffusionlm.kernels.chunked_head import chunked_head

CHUNK_ELEMENTS = 1 << 23
"""Logits held at once, in the dtype of the states: 16 MiB in bfloat16. Fewer starve the matmul."""
SLICE_ELEMENTS = 1 << 18
"""Logits that the CPU holds in float32 at once: 1 MiB, which its second-level cache keeps."""


def chunk_rows(rows: int, classes: int) -> int:
    """Return how many rows one chunk takes: bounded memory, never less than 64 rows."""
    return max(64, min(rows, CHUNK_ELEMENTS // max(classes, 1)))


def reference(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (Σ_n w_n·CE_n, CE) by dense logits; what the chunked form is tested against."""
    logits = torch.nn.functional.linear(hidden, weight.to(hidden.dtype))
    if logits.dtype != torch.float64:
        logits = logits.float()
    nll = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return (nll * row_weight.to(nll.dtype)).sum(), nll


def _softmax_slices(
    target: torch.Tensor, logits: torch.Tensor, row_weight: torch.Tensor, nll: torch.Tensor, gradient: bool
) -> torch.Tensor:
    """Write a chunk's cross-entropy into ``nll`` and, if asked for, its gradient over its logits; return that.

    d loss / d logits = w·(softmax − one-hot), in the dtype of ``nll``, slice by slice so that the wide copies of the
    logits stay in the CPU's second-level cache.
    """
    rows, classes = logits.shape
    size = max(1, SLICE_ELEMENTS // classes) if logits.device.type == "cpu" else rows
    for start in range(0, rows, size):
        part = slice(start, start + size)
        y, w = target[part, None], row_weight[part, None]
        wide = logits[part].to(nll.dtype, copy=True)
        largest = wide.amax(dim=1, keepdim=True)
        own = wide.gather(1, y)
        total = wide.sub_(largest).exp_().sum(dim=1, keepdim=True)
        nll[part] = (total.log().add_(largest).sub_(own)).squeeze(1)
        if gradient:
            logits[part] = wide.mul_(w / total).scatter_add_(1, y, -w)
    return logits


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, row_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted cross-entropy of a linear head, in nats.

    Args:
        hidden: (N, D) float16, bfloat16, float32 or float64 states of the scored rows.
        weight: (K, D) head.
        target: (N,) int64 classes.
        row_weight: (N,) weights, any float dtype; no gradient flows to them. Like ``target``, they may be on another
            device than the states.

    Returns:
        The scalar Σ_n w_n·CE_n, differentiable in ``hidden`` and ``weight``, and (N,) CE without gradient; both
        float32 (float64 for float64 input), on the device of ``row_weight``.
    """
    place, accurate = row_weight.device, torch.promote_types(hidden.dtype, torch.float32)
    y, w = target.to(hidden.device), row_weight.to(accurate).to(hidden.device)

    def score(
        logits: torch.Tensor, chunk: slice, part: torch.Tensor, nll: torch.Tensor, gradient: bool
    ) -> torch.Tensor:
        return _softmax_slices(y[chunk], logits, part, nll, gradient)

    total, nll = chunked_head(hidden, weight, w, chunk_rows(len(hidden), len(weight)), score)
    return total.to(place), nll.to(place)

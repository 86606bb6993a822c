"""How many floating-point operations a training token costs under a method, counted, not timed.

    FLOPs per token = c·(6·N + 12·layers·d·S) + 6·s·K·D

N are the weights of the hidden matrices and d the width of all query heads together; S columns are shown to the
network for every row of T tokens, c = S/T times the passes of the objective, and s rows reach the (K, D) head per
token. c and s are measured on a corrupted batch, so a process that shows two halves, or scores masked tokens alone, is
counted as it is. 6 = 2 for the forward and 4 for the backward pass; Kaplan et al. 2020,
https://arxiv.org/abs/2001.08361, table 1; the attention term is that of Chowdhery et al. 2022,
https://arxiv.org/abs/2204.02311, appendix B.
"""

from __future__ import annotations

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.objective.engine import prepare
from diffusionlm.workflows.assemble import build_parts
from diffusionlm.workflows.params import TrainParams


def flops_per_token(params: TrainParams, vocabulary: int, batch: Batch) -> float:
    """Return the operations of training on one token.

    Args:
        params: The run.
        vocabulary: K.
        batch: Some rows of the run's text, to measure c and s on.
    """
    parts = build_parts(params, vocabulary, torch.device("cpu"))
    prepared = prepare(parts.objective, batch, 0, 0, torch.arange(len(batch)), len(batch))
    tokens, model = max(1, int(batch.editable.sum())), params.model
    roles = parts.model.parameter_roles()
    hidden = sum(weight.numel() for name, weight in parts.parameters.items() if roles[name] == "hidden")
    total = 0.0
    for one in prepared.passes:
        columns, width = one.view.t.numel(), one.view.t.shape[1]
        attention = 12.0 * model.layers * model.heads * model.resolved_head_width * width
        total += columns * (6.0 * hidden + attention) + 6.0 * one.scored * vocabulary * model.width
    return total / tokens

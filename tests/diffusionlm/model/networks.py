"""Small networks for tests, and a straightforward Transformer to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.process import Vocabulary

K = 13
VOCABULARY = Vocabulary.after(K)


def params(**values: object) -> TransformerParams:
    """Return a small network's parameters; ``values`` override them."""
    small = {"layers": 2, "width": 32, "heads": 4, "context_length": 24}
    return TransformerParams.model_validate({**small, **values})


def network(seed: int = 0, dtype: torch.dtype = torch.float64, **values: object) -> Transformer:
    """Return a small network that computes in ``dtype``, with gains and biases away from where they start."""
    model = build_model(params(**values), VOCABULARY, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or "time.map" in name or name == "head.weight":
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    if dtype == torch.float64:
        model = model.double()
    model.compute_dtype = dtype
    return model.eval()


def tokens(rows: int = 3, length: int = 12, seed: int = 0) -> torch.Tensor:
    """Return random noisy tokens, mask included."""
    return torch.randint(0, K + 1, (rows, length), generator=torch.Generator().manual_seed(seed))


def normalised(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm in one line."""
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain


def rotated(x: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary embedding of (B, T, heads, d) by complex multiplication."""
    half = x.shape[-1] // 2
    angle = positions[..., None, None] * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag), -1)


def plain_forward(
    model: Transformer, x_t: torch.Tensor, allowed: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Return the logits of a network without time conditioning or shift, computed the textbook way.

    Args:
        model: The network, in float64.
        x_t: (B, T) tokens.
        allowed: (B, T, T) bool, which key a query may see.
        positions: (B, T).
    """
    p, eps = model.params, model.params.norm_eps
    h = model.embedding[x_t]
    blocks: Any = model.blocks
    for block in blocks:
        x = normalised(h, block.attention_norm.weight, eps)
        a = block.attention
        b, t, _ = x.shape
        q, k, v = (
            nn.functional.linear(x, m.weight, m.bias).view(b, t, -1, p.resolved_head_width) for m in (a.q, a.k, a.v)
        )
        if p.qk_norm:
            q, k = normalised(q, a.q_norm.weight, eps), normalised(k, a.k_norm.weight, eps)
        q, k = rotated(q, positions, p.rope_theta), rotated(k, positions, p.rope_theta)
        heads = []
        for head in range(p.heads):
            shared = head // (p.heads // p.resolved_kv_heads)
            scores = q[:, :, head] @ k[:, :, shared].transpose(1, 2) / p.resolved_head_width**0.5
            heads.append(scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v[:, :, shared])
        h = h + torch.cat(heads, -1) @ a.o.weight.T
        x = normalised(h, block.feedforward_norm.weight, eps)
        f = block.feedforward
        if p.activation == "swiglu":
            gate = x @ f.gate.weight.T
            inner = gate / (1 + (-gate).exp()) * (x @ f.up.weight.T)
        else:
            inner = (x @ f.up.weight.T).clamp(min=0) ** 2
        h = h + inner @ f.down.weight.T
    head_weight = model.embedding[:K] if model.head is None else model.head.weight
    return normalised(h, model.norm.weight, eps) @ head_weight.T

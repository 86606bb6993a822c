"""Attention by plain matmuls against PyTorch's kernel, forward and backward, and the rule that picks."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.kernels.attention import SHORT_ROW, attend, keeps_weights, reference

HEADS = [(4, 4), (4, 2), (4, 1)]
LENGTH, WIDTH = 19, 8


def tensors(heads: int, kv_heads: int, dtype: torch.dtype, length: int = LENGTH) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(heads * 10 + kv_heads)
    return [
        torch.randn(2, h, length, WIDTH, generator=generator).to(dtype).requires_grad_()
        for h in (heads, kv_heads, kv_heads)
    ]


def documents() -> torch.Tensor:
    segments = torch.tensor([[1] * 7 + [2] * 12, [1] * 3 + [2] * 10 + [0] * 6])
    return segments[:, None, :, None] == segments[:, None, None, :]


def mask_named(kind: str) -> tuple[torch.Tensor | None, bool]:
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    return {
        "none": (None, False),
        "causal": (None, True),
        "documents": (documents(), False),
        "both": (documents() & causal, False),
    }[kind]


@pytest.mark.parametrize("kind", ["none", "causal", "documents", "both"])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_every_path_is_the_reference_in_float64(kind, heads, kv_heads, dtype):
    mask, causal = mask_named(kind)
    made = tensors(heads, kv_heads, dtype)
    wide = [x.detach().double().requires_grad_() for x in made]
    explicit = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril() if causal else mask
    expected = reference(*wide, explicit)  # pyright: ignore[reportCallIssue]
    out = attend(made[0], made[1], made[2], mask, causal)
    assert out.dtype == dtype
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    pairs = [(out, expected)]
    pairs += zip(
        torch.autograd.grad(out, made, upstream.to(dtype)), torch.autograd.grad(expected, wide, upstream), strict=True
    )
    tolerance = 3e-2 if dtype == torch.bfloat16 else 1e-5
    for one, other in pairs:
        error = (one.double() - other).detach().abs().max() / other.detach().abs().max()
        assert float(error) < tolerance


def test_the_rule():
    q, k, _ = tensors(4, 2, torch.bfloat16)
    assert keeps_weights(q, k)
    assert not keeps_weights(q.float(), k.float())
    assert not keeps_weights(q[:, :, :1], k)
    long, keys, _ = tensors(1, 1, torch.bfloat16, SHORT_ROW + 1)
    assert not keeps_weights(long, keys)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_one_query_over_many_keys(dtype):
    q, k, v = tensors(4, 2, dtype)
    out = attend(q[:, :, -1:], k, v, None)
    assert torch.allclose(out.float(), attend(q, k, v, None)[:, :, -1:].float(), atol=2e-2)

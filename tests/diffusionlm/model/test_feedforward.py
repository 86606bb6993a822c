"""SwiGLU and squared ReLU against their formulas, in value and gradient."""

import pytest
import torch

from diffusionlm.model.feedforward import FeedForward
from tests.diffusionlm.model.networks import params


def made(activation: str, dtype: torch.dtype) -> FeedForward:
    generator = torch.Generator().manual_seed(0)
    layer = FeedForward(params(activation=activation, width=8, heads=2, hidden=12))
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return layer.to(dtype)


def formula(layer: FeedForward, x: torch.Tensor) -> torch.Tensor:
    up = x @ layer.up.weight.T
    if layer.gate is None:
        return up.clamp(min=0).square() @ layer.down.weight.T
    gate = x @ layer.gate.weight.T
    return (gate * torch.sigmoid(gate) * up) @ layer.down.weight.T


@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
def test_value_and_gradients(activation):
    layer = made(activation, torch.float64)
    x = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    arguments = (x, *layer.parameters())
    out, expected = layer(x), formula(layer, x)
    assert torch.allclose(out, expected)
    upstream = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        torch.autograd.grad(out, arguments, upstream), torch.autograd.grad(expected, arguments, upstream), strict=True
    ):
        assert torch.allclose(one, other)
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
def test_bfloat16_computes_and_float32_keeps(activation):
    layer = made(activation, torch.float32)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
    out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    assert torch.allclose(out.float(), formula(layer, x.float()), atol=0.1)


def test_no_rows():
    layer = made("swiglu", torch.float32)
    x = torch.zeros(0, 8, requires_grad=True)
    layer(x).sum().backward()
    assert all(float(p.grad.abs().sum()) == 0.0 for p in layer.parameters() if p.grad is not None)

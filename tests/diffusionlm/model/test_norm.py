"""RMSNorm against torch's, in value and gradient, in every dtype."""

import pytest
import torch

from diffusionlm.model.norm import RMSNorm

SHAPES = [(5, 16), (2, 3, 16), (0, 16), (2, 3, 4, 16)]


def made(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[RMSNorm, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(16, 1e-6)
    norm.weight.data = torch.randn(16, generator=generator)
    if dtype == torch.float64:
        norm = norm.double()
    return norm, (3 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_it_is_torchs(shape, dtype, tolerance):
    norm, x = made(shape, dtype)
    wide, gain = x.detach().double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    expected = torch.nn.functional.rms_norm(wide, (16,), gain, 1e-6)
    out = norm(x)
    assert out.dtype == dtype
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = [(out, expected)]
    pairs += zip(
        torch.autograd.grad(out, (x, norm.weight), upstream.to(dtype)),
        torch.autograd.grad(expected, (wide, gain), upstream),
        strict=True,
    )
    for one, other in pairs:
        assert torch.allclose(one.double(), other, rtol=tolerance, atol=tolerance * 10)


def test_gradients_are_the_numerical_ones():
    norm, x = made((3, 16), torch.float64)
    assert torch.autograd.gradcheck(
        lambda y, g: torch.func.functional_call(norm, {"weight": g}, (y,)), (x, norm.weight)
    )


def test_the_gain_starts_at_one_and_zero_stays_zero():
    norm = RMSNorm(16, 1e-6)
    assert bool((norm.weight == 1).all())
    assert bool((norm(torch.zeros(2, 16)) == 0).all())
    assert float(norm(torch.full((16,), 7.0)).detach().square().mean()) == pytest.approx(1.0)

"""Rotary positions against complex multiplication; only differences of positions matter."""

import pytest
import torch

from diffusionlm.model.rope import apply_rope, rope_tables
from tests.diffusionlm.model.networks import rotated

POSITIONS = torch.tensor([[0, 1, 2, 0, 1], [7, 8, 100, 3, 3]])


def states(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
def test_it_is_a_complex_rotation(dtype, tolerance):
    out = apply_rope(states(dtype), *rope_tables(POSITIONS, 8, 100.0, dtype))
    assert out.dtype == dtype
    assert torch.allclose(out.double(), rotated(states(), POSITIONS, 100.0), atol=tolerance)


def test_gradients_are_the_numerical_ones():
    tables = rope_tables(POSITIONS, 8, 100.0, torch.float64)
    assert torch.autograd.gradcheck(lambda x: apply_rope(x, *tables), states().requires_grad_())


def test_products_depend_on_the_distance_alone():
    x = states()[:1, :1].expand(1, 20, 3, 8)
    turned = apply_rope(x, *rope_tables(torch.arange(20)[None], 8, 10_000.0, torch.float64))
    products = torch.einsum("bihd,bjhd->bhij", turned, turned)[0, 0]
    for distance in range(1, 5):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[:1].expand_as(along))
    assert torch.allclose(products.diagonal(0), x[0, 0, 0].square().sum().expand(20))


def test_far_positions_keep_their_precision_in_bfloat16():
    cos, _ = rope_tables(torch.tensor([[4001]]), 8, 10_000.0, torch.bfloat16)
    assert float(cos[0, 0, 0, 0]) == pytest.approx(float(torch.tensor(4001.0).cos()), abs=4e-3)

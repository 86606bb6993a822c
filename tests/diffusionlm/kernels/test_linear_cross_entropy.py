"""The chunked head loss against dense logits: values, gradients, odd chunks, no rows, bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffusionlm.kernels import linear_cross_entropy as module
from diffusionlm.kernels.linear_cross_entropy import chunk_rows, linear_cross_entropy, reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


def inputs(rows: int, classes: int, width: int = 24, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    master = torch.float32 if dtype == torch.bfloat16 else dtype
    weight = torch.randn(classes, width, generator=generator, dtype=torch.float64).to(master).requires_grad_()
    target = torch.randint(0, classes, (rows,), generator=generator)
    row_weight = torch.rand(rows, generator=generator, dtype=torch.float64) * 5
    row_weight[::3] = 0.0
    return hidden, weight, target, row_weight


def gradients(function: Any, arguments: tuple, scale: float = 0.7) -> tuple[torch.Tensor, ...]:
    hidden, weight, target, row_weight = arguments
    total, nll = function(hidden, weight, target, row_weight)
    return (total, nll, *torch.autograd.grad(total * scale, (hidden, weight)))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("elements", [1, 70 * 37, 1 << 21])
@pytest.mark.parametrize("rows", [1, 64, 65, 200])
def test_value_and_gradients_are_those_of_dense_logits(dtype, elements, rows, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    arguments = inputs(rows, 37, dtype=dtype)
    wide = tuple(x.detach().double().requires_grad_(x.requires_grad) for x in arguments[:2]) + arguments[2:]
    expected = gradients(reference, wide)
    made = gradients(linear_cross_entropy, arguments)
    for one, other in zip(made, expected, strict=True):
        assert one.shape == other.shape
        limit = TOLERANCE[dtype]
        assert torch.allclose(one.double(), other, rtol=limit, atol=limit * float(other.detach().abs().max()))
    assert made[0].dtype == made[1].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert made[2].dtype == dtype


def test_the_gradient_is_the_numerical_one():
    hidden, weight, target, row_weight = inputs(5, 7, width=3)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, target, row_weight)[0], (hidden, weight), atol=1e-7
    )


def test_rows_of_weight_zero_have_a_value_and_no_gradient():
    hidden, weight, target, row_weight = inputs(9, 11)
    total, nll, grad_hidden, grad_weight = gradients(linear_cross_entropy, (hidden, weight, target, row_weight * 0))
    assert float(total) == 0.0
    assert bool((nll > 0).all())
    assert float(grad_hidden.abs().max()) == float(grad_weight.abs().max()) == 0.0


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_no_rows_at_all(dtype):
    total, nll, grad_hidden, grad_weight = gradients(linear_cross_entropy, inputs(0, 11, dtype=dtype))
    assert float(total) == 0.0
    assert nll.shape == (0,)
    assert grad_hidden.shape == (0, 24)
    assert float(grad_weight.abs().sum()) == 0.0


def test_only_the_gradients_that_are_wanted():
    hidden, weight, target, row_weight = inputs(9, 11)
    expected = gradients(reference, (hidden, weight, target, row_weight), 1.0)
    for wanted in (0, 1):
        pair = [hidden.detach(), weight.detach()]
        pair[wanted].requires_grad_()
        total, _ = linear_cross_entropy(pair[0], pair[1], target, row_weight)
        (grad,) = torch.autograd.grad(total, pair[wanted])
        assert torch.allclose(grad, expected[2 + wanted])


def test_large_logits_do_not_overflow():
    hidden, weight, target, row_weight = inputs(9, 11, dtype=torch.float32)
    total, _, grad_hidden, _ = gradients(linear_cross_entropy, ((hidden * 1e4), weight, target, row_weight))
    assert bool(total.isfinite())
    assert bool(grad_hidden.isfinite().all())


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made, and how many matrix products there were."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.products += func in (torch.ops.aten.mm.default, torch.ops.aten.mm.out)
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


def test_memory_does_not_grow_with_rows_times_classes(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 128 * 500)
    for rows in (256, 2048):
        arguments = inputs(rows, 500, width=8, dtype=torch.float32)
        with Largest() as seen:
            total, _ = linear_cross_entropy(*arguments)
            total.backward()
        assert seen.elements == 128 * 500, rows
    with Largest() as dense:
        reference(*arguments)
    assert dense.elements == 2048 * 500


def test_scoring_without_gradients_forms_none():
    arguments = inputs(64, 11, dtype=torch.float32)
    with torch.no_grad(), Largest() as seen:
        total, nll = linear_cross_entropy(*arguments)
    assert seen.products == 1
    assert not total.requires_grad
    assert torch.allclose(nll, reference(*arguments)[1], atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "classes", "expected"), [(1000, 1 << 21, 64), (1000, 1 << 14, 512), (100, 10, 100), (0, 10, 64)]
)
def test_rows_of_a_chunk(rows, classes, expected):
    assert chunk_rows(rows, classes) == expected

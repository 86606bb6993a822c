"""Clipping equals torch's, and gradients that are not finite become exact zeros without asking the host."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffusionlm.optim import clip_gradients


@pytest.mark.parametrize("max_norm", [0.1, 5.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(make, fill, max_norm, dtype):
    ours, theirs = make(dtype=dtype), make(dtype=dtype)
    fill(ours, 0)
    fill(theirs, 0)
    result = clip_gradients(ours.values(), max_norm)
    norm = torch.nn.utils.clip_grad_norm_(theirs.values(), max_norm)
    torch.testing.assert_close(result.norm, norm)
    assert bool(result.finite)
    for name in ours:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-6, atol=0)


def test_without_a_bound_gradients_stay_bit_for_bit(parameters, fill):
    fill(parameters, 0)
    before = [p.grad.clone() for p in parameters.values() if p.grad is not None]
    result = clip_gradients(parameters.values(), None)
    after = [p.grad for p in parameters.values() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert float(result.norm) == pytest.approx(math.sqrt(sum(float((g**2).sum()) for g in before)), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("max_norm", [1.0, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_bad_value_zeroes_everything(make, fill, bad, max_norm, dtype):
    parameters = make(dtype=dtype)
    fill(parameters, 0)
    gradient = parameters["layers.0.wide"].grad
    assert gradient is not None
    gradient[3, 5] = bad
    result = clip_gradients(parameters.values(), max_norm)
    assert not bool(result.finite)
    assert not math.isfinite(float(result.norm))
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.zeros_like(parameter.grad)), name


def test_transposed_and_mixed_gradients():
    tall = torch.nn.Parameter(torch.zeros(4, 6))
    tall.grad = torch.full((6, 4), 3.0).T
    double = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    double.grad = torch.full((5,), 3.0, dtype=torch.float64)
    result = clip_gradients([tall, double], 1.0)
    assert float(result.norm) == pytest.approx(3 * math.sqrt(29))
    assert float((tall.grad**2).sum() + (double.grad**2).sum()) == pytest.approx(1.0, rel=1e-5)


def test_parameters_without_gradients():
    result = clip_gradients([torch.nn.Parameter(torch.zeros(3))], 1.0)
    assert (float(result.norm), bool(result.finite)) == (0.0, True)
    with pytest.raises(AssertionError, match="above 0"):
        clip_gradients([], 0.0)


class Transfers(TorchDispatchMode):
    """Counts the operations that would make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero"):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_host_reads_nothing(parameters, fill):
    fill(parameters, 0)
    with Transfers() as watch:
        result = clip_gradients(parameters.values(), 1.0)
    assert watch.seen == []
    with Transfers() as watch:
        float(result.norm)
    assert len(watch.seen) == 1, "the watch sees a read"

"""Muon equals its published update, matrix by matrix, and its steps are orthogonal."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.optim import AdamWParams, MuonParams, build_optimizer, muon
from diffusionlm.optim.muon import COEFFICIENTS, orthogonalise


def published_step(
    weight: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor, params: MuonParams, dtype: torch.dtype
) -> None:
    """Make one published update of one matrix in place, written out without batching or fused products."""
    a, b, c = COEFFICIENTS
    momentum.copy_(params.momentum * momentum + (1 - params.momentum) * gradient)
    u = (1 - params.momentum) * gradient + params.momentum * momentum if params.nesterov else momentum
    x = u.to(dtype)
    if weight.size(0) > weight.size(1):
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(params.newton_schulz_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    if weight.size(0) > weight.size(1):
        x = x.T
    scale = max(1, weight.size(0) / weight.size(1)) ** 0.5
    weight.mul_(1 - params.lr * params.weight_decay)
    weight.sub_(params.lr * scale * x.to(weight.dtype))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("bfloat16", 3e-2)])
def test_equals_the_published_update(make, fill, roles, nesterov, precision, tolerance):
    params = MuonParams(lr=0.05, weight_decay=0.2, nesterov=nesterov, precision=precision)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    ours, theirs = make(), make()
    optimizer = build_optimizer(params, ours, roles)
    momenta = {name: torch.zeros_like(p) for name, p in theirs.items() if roles[name] == "hidden"}
    for step in range(20):
        fill(ours, step)
        fill(theirs, step)
        optimizer.step(1.0)
        with torch.no_grad():
            for name, momentum in momenta.items():
                gradient = theirs[name].grad
                assert gradient is not None
                published_step(theirs[name], gradient, momentum, params, dtype)
    for name, momentum in momenta.items():
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance, msg=name)
        torch.testing.assert_close(optimizer.state_tensors()[f"{name}/momentum"], momentum)


def test_everything_else_is_adamw(make, fill, roles):
    ours, theirs = make(), make()
    params = MuonParams(embedding_lr=1e-2, head_lr=2e-2, vector_lr=3e-2, weight_decay=0.1)
    optimizer = build_optimizer(params, ours, roles)
    rest = {name: parameter for name, parameter in theirs.items() if roles[name] != "hidden"}
    reference = build_optimizer(
        AdamWParams(lr=0, embedding_lr=1e-2, head_lr=2e-2, vector_lr=3e-2, weight_decay=0.1, eps=params.eps),
        rest,
        roles,
    )
    for step in range(10):
        fill(ours, step)
        fill(theirs, step)
        optimizer.step(0.7)
        reference.step(0.7)
    assert all(torch.equal(ours[name], rest[name]) for name in rest)
    assert optimizer.learning_rates(1.0) == {"hidden": 0.02, "embedding": 1e-2, "head": 2e-2, "vector": 3e-2}


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64), (2, 64, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_end_near_one(shape, dtype):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    matrices[0] *= 1e-3  # the scale of a gradient does not matter
    result = orthogonalise(matrices, 5, dtype).float()
    values = torch.linalg.svdvals(result)
    # The smallest direction of a random square matrix is still on its way up after five steps.
    floor = 0.15 if shape[1] == shape[2] else 0.6
    assert values.max() < 1.3, values
    assert values.min() > floor, values
    assert (values.mean(-1) - 1).abs().max() < 0.2, values
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    direction = (result * (u @ vh)).sum((-2, -1)) / (result.norm(dim=(-2, -1)) * (u @ vh).norm(dim=(-2, -1)))
    assert direction.min() > 0.95, direction


def test_a_zero_gradient_gives_a_zero_update():
    assert not orthogonalise(torch.zeros(2, 4, 6), 5, torch.float32).any()


def test_gradients_are_left_as_they_were(parameters, roles, fill):
    optimizer = build_optimizer(MuonParams(), parameters, roles)
    fill(parameters, 0)
    before = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    optimizer.step(1.0)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, before[name])


def test_stacks_of_bounded_size_give_the_same_result(make, fill, roles, monkeypatch):
    results = []
    for bound in (muon.MAX_STACK, 1):
        monkeypatch.setattr(muon, "MAX_STACK", bound)
        named = make()
        optimizer = build_optimizer(MuonParams(precision="float32"), named, roles)
        assert isinstance(optimizer, muon.Muon)
        results.append((len(optimizer.stacks), named))
        for step in range(3):
            fill(named, step)
            optimizer.step(1.0)
    (few, whole), (many, single) = results
    assert (few, many) == (3, 5)
    for name in whole:
        torch.testing.assert_close(whole[name], single[name], rtol=1e-5, atol=1e-5)


def test_a_batch_of_matrices_is_updated_matrix_by_matrix():
    generator = torch.Generator().manual_seed(2)
    weight, gradient = (torch.randn(3, 12, 6, generator=generator) for _ in range(2))
    together = {"experts": torch.nn.Parameter(weight.clone())}
    apart = {f"expert.{i}": torch.nn.Parameter(weight[i].clone()) for i in range(3)}
    together["experts"].grad = gradient.clone()
    for i in range(3):
        apart[f"expert.{i}"].grad = gradient[i].clone()
    for named in (together, apart):
        build_optimizer(MuonParams(precision="float32"), named, dict.fromkeys(named, "hidden")).step(1.0)
    torch.testing.assert_close(together["experts"], torch.stack([apart[f"expert.{i}"] for i in range(3)]))

"""AdamW equals torch.optim.AdamW, decays matrices only, and gives each role its learning rate."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.optim import AdamWParams, build_optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.9, 0.999), (0.0, 0.5)])
def test_equals_torch_over_many_steps(make, fill, roles, dtype, betas):
    ours, theirs = make(dtype=dtype), make(dtype=dtype)
    decayed = [theirs[name] for name in theirs if roles[name] in ("hidden", "head")]
    others = [theirs[name] for name in theirs if roles[name] not in ("hidden", "head")]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        lr=0.01,
        betas=betas,
        eps=1e-6,
    )
    optimizer = build_optimizer(AdamWParams(lr=0.01, betas=betas, eps=1e-6, weight_decay=0.3), ours, roles)
    for step in range(200):
        multiplier = 1.0 / (1 + step % 7)
        for group in reference.param_groups:
            group["lr"] = 0.01 * multiplier
        fill(ours, step)
        fill(theirs, step)
        optimizer.step(multiplier)
        reference.step()
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=tolerance, atol=tolerance, msg=name)
        torch.testing.assert_close(
            optimizer.state_tensors()[f"{name}/v"], reference.state[theirs[name]]["exp_avg_sq"], rtol=1e-6, atol=1e-12
        )


def test_only_hidden_and_head_decay(parameters, roles):
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(AdamWParams(lr=0.1, weight_decay=0.5), parameters, roles).step(1.0)
    for name, parameter in parameters.items():
        kept = 0.95 if roles[name] in ("hidden", "head") else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, msg=name)


def test_each_role_has_its_learning_rate(parameters, roles, fill):
    params = AdamWParams(lr=1e-3, embedding_lr=4e-3, head_lr=2e-3, vector_lr=0.0, weight_decay=0.0)
    optimizer = build_optimizer(params, parameters, roles)
    assert optimizer.learning_rates(0.5) == {"hidden": 5e-4, "embedding": 2e-3, "head": 1e-3, "vector": 0.0}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    fill(parameters, 0)
    optimizer.step(0.5)
    rates = optimizer.learning_rates(0.5)
    for name, parameter in parameters.items():  # the first Adam step has length lr in every coordinate
        moved = (parameter.detach() - before[name]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, rates[roles[name]]), rtol=1e-2, atol=1e-9, msg=name)


def test_unset_role_rates_are_lr(parameters, roles):
    rates = build_optimizer(AdamWParams(lr=2e-3), parameters, roles).learning_rates(1.0)
    assert rates == {"hidden": 2e-3, "embedding": 2e-3, "head": 2e-3, "vector": 2e-3}

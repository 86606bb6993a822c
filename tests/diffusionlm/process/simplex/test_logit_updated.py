"""Evidence in the head: a network that knows the context's prior alone has the loss of Bayes' posterior."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import make_pass
from diffusionlm.objective.rows import cross_entropy
from tests.diffusionlm.process.simplex.points import build, draws, log_race_density, times

V, MANY = 5, 30
PRIOR = torch.softmax(torch.randn(V, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 0)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_the_loss_of_a_prior_is_that_of_the_posterior(t: float) -> None:
    """−ln[π_i q(x_t | i)/Σ_k π_k q(x_t | k)] with the density of a race, value and gradient in the prior's logits."""
    process = build("logit_updated", V)
    objective = OBJECTIVES.build(OBJECTIVES["ce"].Params(), process)
    assert objective.network_head == "leave_one_out"
    x = (torch.arange(MANY) % V)[:, None]
    corrupted = process.corrupt(x, times(t, MANY), x >= 0, torch.ones_like(x), draws(MANY))
    [term] = objective.terms(corrupted, x, torch.ones_like(x), torch.zeros_like(x))
    one = make_pass(term, corrupted, x)
    assert one.loss is not None
    assert one.rows.state is not None
    logits = PRIOR.log().expand(MANY, V).clone().requires_grad_()
    loss = one.loss(logits, one.rows)
    race = process.dense(corrupted.x_t, torch.float64)[:, 0]  # type: ignore[arg-type]
    joint = PRIOR * log_race_density(race, process.level(times(t, MANY)).flatten()).exp()
    posterior = joint / joint.sum(1, keepdim=True)
    clean = torch.nn.functional.one_hot(x[:, 0], V)
    assert torch.allclose(loss, -(posterior * clean).sum(1).log(), atol=1e-9)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.allclose(slope, posterior - clean, atol=1e-9)
    if t == 0.0:
        assert torch.allclose(loss, cross_entropy(logits, one.rows), atol=1e-12), "noise says nothing"


def test_a_posterior_head_may_be_asked_for() -> None:
    process = build("logit_updated", V)
    objective = OBJECTIVES.build(OBJECTIVES["ce"].Params.model_validate({"head": "posterior"}), process)
    assert objective.with_head(None) is None

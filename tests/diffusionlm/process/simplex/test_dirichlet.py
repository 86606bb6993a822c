"""The Dirichlet flow: its laws against torch's distributions, its field against the laws that it must carry along."""

from __future__ import annotations

import math

import pytest
import torch

from diffusionlm.process.simplex.beta_velocity import velocity
from tests.diffusionlm.process.simplex.points import build, levels, points

V, MANY = 5, 20_000


def clean(token: int, many: int = MANY) -> torch.Tensor:
    """Return one token over and over."""
    return torch.full((many,), token)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_law_of_a_state_is_the_dirichlet_one(t: float) -> None:
    """Every mean and every second moment, in standard errors of the mean."""
    process = build("dirichlet", V, max_alpha=6.0)
    x = points(process, t, clean(2))
    concentration = torch.ones(V, dtype=torch.float64)
    concentration[2] = 1.0 + 5.0 * t
    law = torch.distributions.Dirichlet(concentration)
    assert torch.allclose(x.sum(1), torch.ones(MANY, dtype=torch.float64))
    assert bool(((x.mean(0) - law.mean).abs() < 4.5 * (law.variance / MANY).sqrt()).all())
    square = x.square()
    assert bool(
        ((square.mean(0) - law.variance - law.mean.square()).abs() < 4.5 * square.std(0) / math.sqrt(MANY)).all()
    )


def test_the_evidence_is_a_difference_of_log_densities() -> None:
    process = build("dirichlet", V, max_alpha=6.0)
    x = points(process, 0.7, clean(1, 50))
    alpha = float(process.level(torch.tensor(0.7, dtype=torch.float64)))
    assert alpha == pytest.approx(4.5)
    found = process.evidence(x.clone(), levels(process, 0.7, 50))
    laws = [torch.distributions.Dirichlet(1.0 + (alpha - 1.0) * torch.eye(V, dtype=torch.float64)[k]) for k in range(V)]
    expected = torch.stack([law.log_prob(x) for law in laws], 1)
    assert torch.allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-10)
    assert torch.allclose(process.weights(x.clone(), levels(process, 0.7, 50)), expected.softmax(1), atol=1e-10)


@pytest.mark.parametrize("size", [2, 5])
def test_the_field_of_the_clean_token_carries_its_law(size: int) -> None:
    """Points of time t that follow the field of a certain posterior become points of time u."""
    process, start, end, steps, many = build("dirichlet", size, max_alpha=6.0), 0.2, 0.8, 24, 4000
    x = points(process, start, clean(1, many))
    p = torch.nn.functional.one_hot(clean(1, many), size).double()
    for step in range(steps):
        ends = [levels(process, start + (end - start) * share / steps, many) for share in (step, step + 1)]
        x = process.advance(x, p, *ends)
        assert torch.allclose(x.sum(1), torch.ones(many, dtype=torch.float64))
        assert float(x.min()) >= 0.0
    concentration = torch.ones(size, dtype=torch.float64)
    concentration[1] = 5.0
    law = torch.distributions.Dirichlet(concentration)
    assert bool(((x.mean(0) - law.mean).abs() < 4.5 * (law.variance / many).sqrt() + 1e-3).all())
    assert bool((x.var(0) / law.variance - 1.0).abs().max() < 0.12)


def test_steps_converge_to_the_flow_of_the_posterior() -> None:
    """dx/dα = p⊙c − x⟨p, c⟩ by the classical Runge–Kutta rule; a step that holds c is of the first order."""
    process, many, start, end = build("dirichlet", V, max_alpha=6.0), 300, 2.0, 5.0
    p = torch.randn(many, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    first = points(process, 0.2, clean(1, many))

    def drift(x: torch.Tensor, alpha: float) -> torch.Tensor:
        pull = p * velocity(x, torch.full((many,), alpha, dtype=torch.float64), V)
        return pull - x * pull.sum(1, keepdim=True)

    exact, h = first, (end - start) / 32
    for step in range(32):
        alpha = start + h * step
        one = drift(exact, alpha)
        two = drift(exact + h / 2 * one, alpha + h / 2)
        three = drift(exact + h / 2 * two, alpha + h / 2)
        exact = exact + h / 6 * (one + 2 * two + 2 * three + drift(exact + h * three, alpha + h))
    errors = []
    for steps in (16, 32):
        x = first
        for alpha in torch.linspace(start, end, steps + 1, dtype=torch.float64)[:-1]:
            x = process.advance(x, p, alpha.expand(many), (alpha + (end - start) / steps).expand(many))
        errors.append(float((x - exact).abs().mean()))
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_nothing_moves_in_no_time() -> None:
    process = build("dirichlet", V)
    x, level = points(process, 0.5, clean(0, 20)), levels(process, 0.5, 20)
    p = torch.rand(20, V, dtype=torch.float64).softmax(1)
    assert torch.allclose(process.advance(x.clone(), p, level, level), x, atol=1e-12)


def test_the_concentration_follows_the_vocabulary() -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert build("dirichlet", 257).level(ends).tolist() == pytest.approx([1.0, 1.0 + 3.0 * math.log(257)])
    assert build("dirichlet", 257, max_alpha=3.0).level(ends).tolist() == [1.0, 3.0]

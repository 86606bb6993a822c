"""The sphere flow: its steps against the equation solved numerically, its evidence against the Jacobian of the flow."""

from __future__ import annotations

import math

import pytest
import torch

from tests.diffusionlm.process.simplex.points import build, levels, points


def followed(q: torch.Tensor, target: torch.Tensor, tau: float, steps: int = 400) -> torch.Tensor:
    """Return the solution of dq/dτ = q_1 − q⟨q, q_1⟩ by the classical Runge–Kutta rule."""

    def drift(at: torch.Tensor) -> torch.Tensor:
        return target - at * (at * target).sum(1, keepdim=True)

    h = tau / steps
    for _ in range(steps):
        one = drift(q)
        two = drift(q + h / 2 * one)
        three = drift(q + h / 2 * two)
        q = q + h / 6 * (one + 2 * two + 2 * three + drift(q + h * three))
    return q


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize("certain", [True, False])
def test_a_step_is_the_flow_of_a_constant_posterior(size: int, certain: bool) -> None:
    process, many = build("sphere", size), 30
    x = torch.arange(many) % size
    q = points(process, 0.3, x)
    generator = torch.Generator().manual_seed(0)
    p = torch.nn.functional.one_hot(x, size).double()
    if not certain:
        p = torch.randn(many, size, generator=generator, dtype=torch.float64).softmax(1)
    t, u = levels(process, 0.3, many), levels(process, 0.8, many)
    moved = process.advance(q.clone(), p, t, u)
    assert torch.allclose(moved, followed(q, p, float(u[0] - t[0])), atol=1e-9)
    if certain:
        assert torch.allclose(moved, points(process, 0.8, x), atol=1e-9)


def start_of(x: torch.Tensor, token: int, tau: float) -> torch.Tensor:
    """Return the first V − 1 coordinates of x_0 for those of x_τ: ⟨q, e⟩ = tanh(τ + artanh ρ), the rest keeps shape."""
    whole = torch.cat((x, 1.0 - x.sum()[None]))
    own = torch.tanh(torch.atanh(whole[token].sqrt()) - tau).square()
    rest = whole * (1.0 - own) / (1.0 - whole[token])
    mine = torch.arange(len(whole)) == token
    return torch.where(mine, own, rest)[:-1]


@pytest.mark.parametrize("t", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_evidence_is_the_jacobian_of_the_flow(size: int, t: float) -> None:
    """x_0 is uniform on the simplex, so ln q(x | k) = ln |∂x_0/∂x| where the flow of k reaches x, and nothing else."""
    process, many = build("sphere", size, accuracy=0.5), 60
    q = points(process, t, torch.arange(many) % size)
    level = levels(process, t, many)
    found, tau = process.evidence(q.clone(), level), float(level[0])
    compared = 0
    for row in range(many):
        x = q[row].square()
        possible = (q[row] > math.tanh(tau)).nonzero().flatten().tolist()
        assert row % size in possible, "the clean token is possible"
        assert bool((found[row][q[row] < math.tanh(tau)] < -5e3).all())
        density = []
        for k in possible:
            jacobian = torch.autograd.functional.jacobian(lambda y, k=k: start_of(y, k, tau), x[:-1])
            density.append(float(torch.linalg.slogdet(torch.as_tensor(jacobian)).logabsdet))
        differences = found[row][possible] - found[row][possible[0]]
        assert differences.tolist() == pytest.approx([value - density[0] for value in density], abs=1e-5)
        compared += len(possible) - 1
    assert compared > 10, "rows with several possible tokens were met"


def test_rivals_at_the_end_of_the_clock() -> None:
    """After the last time 1 − accuracy entries besides the clean one are on average possible."""
    process, many, size = build("sphere", 6, accuracy=0.8), 20_000, 6
    q = points(process, 1.0, torch.zeros(many, dtype=torch.int64))
    h = torch.tanh(levels(process, 1.0, 1)) ** 2
    # The start of the others is uniform: each lies above h with probability (1 − h)^{V − 1}.
    assert float((size - 1) * (1 - h) ** (size - 1)) == pytest.approx(0.2, rel=1e-9)
    start = points(process, 0.0, torch.zeros(many, dtype=torch.int64)).square()
    above = (start[:, 1:] > h).sum(1).double()
    assert float(above.mean()) == pytest.approx(0.2, abs=4.5 * float(above.std()) / math.sqrt(many))
    assert bool((q[:, 0].square() >= h - 1e-12).all())


def test_the_extreme_accuracy_is_finite() -> None:
    for accuracy in (1e-9, 0.999999):
        for size in (2, 300):
            process = build("sphere", size, accuracy=accuracy)
            x = torch.arange(300) % size
            q = points(process, 1.0, x, dtype=torch.float32)
            level = levels(process, 1.0, 300)
            p = torch.nn.functional.one_hot(x, size).float()
            assert bool(process.evidence(q.clone(), level).isfinite().all())
            assert bool(process.advance(q, p, levels(process, 0.9, 300), level).isfinite().all())

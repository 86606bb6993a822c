"""The logit flow against its own definition in logits, the density of a race, and its equation solved numerically."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.errors import ConfigError
from tests.diffusionlm.process.simplex.points import build, levels, log_race_density, points, states

V = 6
TOKENS = torch.arange(40) % V


def path(start: torch.Tensor, x: torch.Tensor, tau: float, beta: float) -> torch.Tensor:
    """Return softmax((1 − τ)·ln x_0 + τ·ln x_1^β), the definition."""
    size = start.shape[1]
    smoothed = torch.full_like(start, beta / size)
    smoothed[torch.arange(len(x)), x] += 1.0 - beta
    return ((1.0 - tau) * start.log() + tau * smoothed.log()).softmax(1)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("size", [2, 6, 1000])
def test_the_state_is_the_path_between_logits(size: int, t: float) -> None:
    """W·x_t is what input = "state" shows, and r is x_t^{1/(1−τ)} up to a factor."""
    process, x = build("logit", size, input="state", beta=0.05), torch.arange(40) % size
    start = points(process, 0.0, x)
    start = start / start.sum(1, keepdim=True)
    level = levels(process, t, 40)
    tau = float(level[0] / (math.log(size / 0.05 - size + 1) + level[0]))
    expected = path(start, x, tau, 0.05)
    assert torch.allclose(process.weights(points(process, t, x), level), expected, atol=1e-12)
    race = points(process, t, x).log() - expected.log() / (1.0 - tau)
    assert torch.allclose(race, race[:, :1].expand_as(race), atol=1e-8)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("size", [2, 6])
def test_the_evidence_is_the_log_density_of_a_race(size: int, t: float) -> None:
    process, x = build("logit", size), torch.arange(40) % size
    race, level = points(process, t, x), levels(process, t, 40)
    expected = log_race_density(race, level)
    found = process.evidence(race.clone(), level)
    assert torch.allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-9)
    assert torch.allclose(process.weights(race.clone(), level), expected.softmax(1), atol=1e-10)


def test_the_density_of_a_race_of_two_is_the_density_of_a_ratio() -> None:
    """The reference itself, by counting: u = sE_1/(sE_1 + E_2) lies below c with probability c/(c + s(1 − c))."""
    s, edges = 3.0, torch.linspace(0, 1, 100_001, dtype=torch.float64)
    u = 0.5 * (edges[1:] + edges[:-1])
    race = torch.stack((u, 1.0 - u), 1)
    density = log_race_density(race, torch.full((len(u),), math.log(s), dtype=torch.float64))[:, 0].exp()
    below = density.cumsum(0) / 100_000
    assert torch.allclose(below, edges[1:] / (edges[1:] + s * (1.0 - edges[1:])), atol=1e-6)


def test_a_certain_posterior_carries_a_state_along_its_path() -> None:
    process = build("logit", V)
    t, u = levels(process, 0.2, 40), levels(process, 0.7, 40)
    p = torch.nn.functional.one_hot(TOKENS, V).double()
    assert torch.allclose(process.advance(points(process, 0.2, TOKENS), p, t, u), points(process, 0.7, TOKENS))


def test_a_step_solves_the_equation_of_the_logits() -> None:
    """dl/dσ = E[l_1] − l in σ = −ln(1 − τ), E[l_1]_j = ln(β/V) + L·p_j, by the classical Runge–Kutta rule."""
    process, beta = build("logit", V, beta=0.05), 0.05
    length = math.log(V / beta - V + 1)
    p = torch.randn(40, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    t, u = levels(process, 0.2, 40), levels(process, 0.7, 40)
    tau, upto = (float(level[0] / (length + level[0])) for level in (t, u))
    goal, log_x = math.log(beta / V) + length * p, (1.0 - tau) * points(process, 0.2, TOKENS).log()
    steps = 200
    h = (math.log1p(-tau) - math.log1p(-upto)) / steps
    for _ in range(steps):
        one = goal - log_x
        two = goal - log_x - h / 2 * one
        three = goal - log_x - h / 2 * two
        four = goal - log_x - h * three
        log_x = log_x + h / 6 * (one + 2 * two + 2 * three + four)
    moved = process.advance(points(process, 0.2, TOKENS), p, t, u)
    assert torch.allclose((moved.log() * (1.0 - upto)).softmax(1), log_x.softmax(1), atol=1e-9)


def test_a_step_leaves_what_it_was_given() -> None:
    process = build("logit", V)
    race, p = points(process, 0.2, TOKENS), torch.full((40, V), 1 / V, dtype=torch.float64)
    before = race.clone()
    process.advance(race, p, levels(process, 0.2, 40), levels(process, 0.5, 40))
    assert torch.equal(race, before)


def test_the_warning_names_the_right_end_of_the_clock() -> None:
    with pytest.warns(UserWarning, match=r"max_t = 0\.3 .* for a vocabulary of 257 and beta = 0\.01 .* leave process"):
        build("logit", 257, max_t=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = build("logit", 257).clock.max_t  # type: ignore[attr-defined]
        assert build("logit", 257, max_t=right).clock.max_t == right  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"accuracy": 1 / 300}, r"process\.accuracy = 0\.00333333333 .* vocabulary of 257 .* between 0\.00391\d* and"),
        ({"accuracy": 1 - 1e-9}, r"process\.accuracy = 0\.999999999 .* and 0\.99999\d*: leave process\.accuracy unset"),
        ({"max_t": 0.999}, r"process\.max_t = 0\.999 .* between 9\.8\d*e-05 and 0\.59\d*: leave process\.max_t unset"),
        ({"max_t": 1e-300}, r"process\.max_t = 1e-300 .*: leave process\.max_t unset"),
        ({"max_t": 0.999, "clock": "t"}, r"process\.max_t = 0\.999 "),
    ],
)
def test_a_clock_that_cannot_be_computed_is_refused(values: dict, said: str) -> None:
    """Such a run trained on NaN: all of the clock at one place, or the clean entry certain within float32."""
    with pytest.raises(ConfigError, match=said):
        build("logit", 257, **values)


@pytest.mark.parametrize("beta", [0.0, 1e-320, 1.0, 1.0 - 1e-16, math.nan])
def test_a_smoothing_that_leaves_no_path_is_refused(beta: float) -> None:
    with pytest.raises(ValidationError):
        build("logit", 257, beta=beta)


@pytest.mark.parametrize("values", [{"beta": 1e-30}, {"beta": 0.999}, {"accuracy": 0.999995}])
@pytest.mark.parametrize("size", [2, 50257])
def test_the_most_extreme_clocks_are_finite(size: int, values: dict) -> None:
    """In float32, over more sites than a large vocabulary makes in a batch."""
    process, many = build("logit", size, **values), 100_000 if size == 2 else 60
    race, level = points(process, 1.0, torch.arange(many) % size, dtype=torch.float32), levels(process, 1.0, many)
    assert bool(process.evidence(race.clone(), level).isfinite().all())
    assert bool(process.weights(race, level).isfinite().all())


def test_small_vocabularies_have_no_winners_to_choose() -> None:
    """top_k of at least V − 1 leaves no rest: the embedding is the exact one."""
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (2, 3, 6):
        exact, fast = (build("logit", size, embedding=form, top_k=size - 1) for form in ("exact", "top_k"))
        x = torch.arange(10) % size
        assert torch.equal(states(exact, 0.5, x).embed(table), states(fast, 0.5, x).embed(table))

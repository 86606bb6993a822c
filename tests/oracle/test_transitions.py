"""Samplers of discrete processes: the code's exact transition law is the formula's, and composed it tends to the joint.

See ``tests/oracle/chain.py`` for how the code's law is measured.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from diffusionlm.process import PROCESSES, SCHEDULES, DiscreteProcess, MixturePath, Vocabulary
from diffusionlm.sampling import SAMPLERS, Ancestral, Euler, Filters, PlugIn, ReMDM, Sampler
from tests.oracle.chain import Chain, Edges, cumulative, measure
from tests.oracle.joint import random_joint

K = L = 3
JOINT = random_joint(K, L, seed=0)
DISCRETE = [name for name in PROCESSES if issubclass(PROCESSES[name], DiscreteProcess)]
PATHS = [name for name in DISCRETE if issubclass(PROCESSES[name], MixturePath)]


@cache
def chain(process: str, schedule: str | None = None) -> Chain:
    options: dict[str, Any] = {} if schedule is None else {"schedule": {"name": schedule}}
    kind = PROCESSES[process]
    return Chain(JOINT, kind(kind.Params.model_validate(options), Vocabulary.after(K)))  # type: ignore[arg-type]


def build(name: str, c: Chain, **params: Any) -> Sampler:
    return SAMPLERS[name](SAMPLERS[name].Params(**params), c.process, Filters())


def schedules(process: str) -> list[str | None]:
    return sorted(SCHEDULES) if "schedule" in PROCESSES[process].Params.model_fields else [None]


def steps_of(schedule: str | None) -> list[tuple[int, int]]:
    """Return (step, steps): the first, the last and the only one too, where the schedule is the default."""
    return [(0, 3), (1, 3), (2, 3), (0, 1)] if schedule in (None, "linear") else [(1, 3)]


ALL = [(process, schedule) for process in DISCRETE for schedule in schedules(process)]
ALL_PATHS = [(process, schedule) for process, schedule in ALL if process in PATHS]
# Without a bound (``keep``) the state at t = 0 is not the noise that sampling starts from: its steps are those of their
# formula, and no law is claimed of a run.
LAWFUL = [(process, schedule) for process, schedule in ALL if PROCESSES[process].bound != "none"]
LAWFUL_PATHS = [(process, schedule) for process, schedule in LAWFUL if process in PATHS]
ALL_STEPS = [(process, schedule, step, steps) for process, schedule in ALL for step, steps in steps_of(schedule)]


def kind_edges(kappa: float, nu: torch.Tensor) -> Edges:
    """Return the cells of a fresh draw from κ·x̂ + ν: clean, mask or a data token, and which."""
    cuts = torch.tensor([0.0, kappa, min(1.0, kappa + float(nu[K])), 1.0], dtype=torch.float64)
    return {"kind": cuts, "noise": torch.arange(K + 1, dtype=torch.float64) / K}


def assert_same(c: Chain, t: float, measured: torch.Tensor, formula: torch.Tensor) -> None:
    possible = c.marginal(t) > 0.0
    assert int(possible.sum()) >= 1
    assert float((measured - formula)[possible].abs().max()) < 1e-9
    assert float((c.matrix(measured) - c.matrix(formula))[possible].abs().max()) < 1e-9


@pytest.mark.parametrize(("process", "schedule", "step", "steps"), ALL_STEPS)
def test_plug_in_is_bayes_rule(process: str, schedule: str | None, step: int, steps: int) -> None:
    c, t, u = chain(process, schedule), step / steps, (step + 1) / steps
    formula = c.plug_in(t, u)
    (kappa_t, nu_t), (kappa_u, nu_u) = c.nu(t), c.nu(u)
    x_hat = c.padded(c.head(t, "leave_one_out")).gather(-1, c.states[..., None])[..., 0]
    r = kappa_t / kappa_u * (kappa_u * x_hat + nu_u[c.states])
    into = (nu_t - kappa_t / kappa_u * nu_u)[c.states].clamp_min(0.0)
    stays = torch.where(into > 0, r / (r + into), 1.0)
    ends = torch.ones_like(stays)
    edges = {
        "stay": torch.stack([0 * ends, stays, ends], -1),
        "token": cumulative(c.head(t, "leave_one_out")),
        **kind_edges(kappa_u, nu_u),
    }
    assert_same(c, t, measure(build("plug_in", c), c, step, steps, edges), formula)


LAWFUL_STEPS = [case for case in ALL_STEPS if (case[0], case[1]) in LAWFUL_PATHS]


@pytest.mark.parametrize(("process", "schedule", "step", "steps"), LAWFUL_STEPS)
@pytest.mark.parametrize("corrector", [0.0, 0.7])
def test_euler_is_a_jump_of_exact_probability(
    process: str, schedule: str | None, step: int, steps: int, corrector: float
) -> None:
    c, t, u = chain(process, schedule), step / steps, (step + 1) / steps
    sampler = build("euler", c, corrector=corrector, rise=0.0)
    kappa_t, kappa_u = c.nu(t)[0], c.nu(u)[0]
    b = 0.0 if u == 1.0 else min(1 - kappa_u, jump(corrector, kappa_t, kappa_u))
    f = (kappa_u - (1 - b) * kappa_t) / (1 - kappa_t)
    edges = {
        "jump": torch.tensor([0.0, f, min(1.0, f + b), 1.0], dtype=torch.float64),
        "token": cumulative(c.head(t, "posterior")),
        **kind_edges(*c.nu(0.0)),
    }
    assert_same(c, t, measure(sampler, c, step, steps, edges), c.euler(t, f, b))


def jump(corrector: float, kappa_t: float, kappa_u: float, rise: float = 0.0, fall: float = 0.25) -> float:
    """Return ∫ g·dκ/κ at the middle of [κ_t, κ_u]."""
    k = (kappa_t + kappa_u) / 2
    return corrector * k**rise * (1 - k) ** fall / k * (kappa_u - kappa_t)


@pytest.mark.parametrize(("schedule", "step", "steps"), [case[1:] for case in ALL_STEPS if case[0] == "mask"])
def test_ancestral_and_plug_in_are_one_on_the_mask_process(schedule: str, step: int, steps: int) -> None:
    c, t, u = chain("mask", schedule), step / steps, (step + 1) / steps
    kappa_t, kappa_u = c.nu(t)[0], c.nu(u)[0]
    reveal = (kappa_u - kappa_t) / (1 - kappa_t)
    edges = {
        "reveal": torch.tensor([0.0, reveal, 1.0], dtype=torch.float64),
        "token": cumulative(c.head(t, "posterior")),
    }
    assert_same(c, t, measure(build("ancestral", c), c, step, steps, edges), c.ancestral(t, reveal))
    assert_same(c, t, c.plug_in(t, u), c.ancestral(t, reveal))
    assert_same(c, t, c.euler(t, reveal), c.ancestral(t, reveal))


@pytest.mark.parametrize(("schedule", "step", "steps"), [case[1:] for case in ALL_STEPS if case[0] == "mask"])
@pytest.mark.parametrize("variant", ["cap", "rescale"])
def test_remdm_keeps_the_marginal_by_revealing_more(schedule: str, step: int, steps: int, variant: str) -> None:
    c, t, u = chain("mask", schedule), step / steps, (step + 1) / steps
    kappa_t, kappa_u = c.nu(t)[0], c.nu(u)[0]
    most = min(1.0, (1 - kappa_u) / kappa_t) if kappa_t > 0 else 1.0
    sigma = 0.0 if t == 0.0 else min(0.3, most) if variant == "cap" else 0.3 * most
    reveal = (kappa_u - (1 - sigma) * kappa_t) / (1 - kappa_t)
    edges = {
        "reveal": torch.tensor([0.0, reveal, 1.0], dtype=torch.float64),
        "remask": torch.tensor([0.0, sigma, 1.0], dtype=torch.float64),
        "token": cumulative(c.head(t, "posterior")),
    }
    measured = measure(build("remdm", c, variant=variant, eta=0.3), c, step, steps, edges)
    assert_same(c, t, measured, c.ancestral(t, reveal, sigma))


def site_laws(name: str, c: Chain, steps: int, **params: Any) -> list[torch.Tensor]:
    """Return the site law of each step of a run, from the formulas that the tests above hold the code to."""
    sites, sampler = [], build(name, c, **params)
    for step in range(steps):
        t, u = step / steps, (step + 1) / steps
        at, to = torch.tensor([t], dtype=torch.float64), torch.tensor([u], dtype=torch.float64)
        if isinstance(sampler, PlugIn):
            sites.append(c.plug_in(t, u))
        elif isinstance(sampler, Euler):
            sites.append(c.euler(t, *(float(p) for p in sampler.jump_probabilities(at, to))))
        elif isinstance(sampler, Ancestral):
            sites.append(c.ancestral(t, float(sampler.reveal_probability(at, to))))
        else:
            assert isinstance(sampler, ReMDM)
            assert params["variant"] == "rescale"
            kappa_t, kappa_u = c.nu(t)[0], c.nu(u)[0]
            most = 0.0 if t == 0.0 else min(1.0, (1 - kappa_u) / kappa_t)
            sigma = params["eta"] / steps * most
            sites.append(c.ancestral(t, (kappa_u - (1 - sigma) * kappa_t) / (1 - kappa_t), sigma))
    return sites


RUNS: list[tuple[str, str, str | None, dict[str, Any]]] = [
    *(("plug_in", process, schedule, {}) for process, schedule in LAWFUL),
    *(("euler", process, schedule, {}) for process, schedule in LAWFUL_PATHS),
    *(("euler", process, schedule, {"corrector": 1.0}) for process, schedule in LAWFUL_PATHS),
    *(("ancestral", "mask", schedule, {}) for schedule in sorted(SCHEDULES)),
    *(("remdm", "mask", s, {"variant": "rescale", "eta": 2.0, "eta_per": "run"}) for s in sorted(SCHEDULES)),
]


# The linear schedule by default; the others, which the steps above hold as well, with the slow tests.
BY_SPEED = [pytest.param(*run, marks=[] if run[2] in (None, "linear") else pytest.mark.slow) for run in RUNS]


@pytest.mark.parametrize(("name", "process", "schedule", "params"), BY_SPEED)
def test_composed_steps_tend_to_the_joint(
    name: str, process: str, schedule: str | None, params: dict[str, Any]
) -> None:
    c = chain(process, schedule)
    assert build(name, c, **params).law == "joint"
    few, many = (c.final(site_laws(name, c, steps, **params)) for steps in (32, 128))
    assert many < 0.02
    assert many < few
    # The errors of mixture paths are of order 1/N; noise that changes like a root of t near its ends (GIDD) is slower.
    if process in PATHS:
        assert few / many == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("process", sorted({process for process, _ in LAWFUL_PATHS}))
@pytest.mark.parametrize("corrector", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("rise", "fall"), [(0.0, 0.0), (1.0, 0.25), (2.0, 0.25)])
def test_the_corrector_leaves_every_marginal_unchanged(
    process: str, corrector: float, rise: float, fall: float
) -> None:
    """Kolmogorov's equation: what one step makes of q_t differs from q_u by O(h²), whatever the corrector."""
    c = chain(process, "linear")
    sampler = build("euler", c, corrector=corrector, rise=rise, fall=fall)
    assert isinstance(sampler, Euler)
    for t in (0.2, 0.5, 0.8):
        residual = []
        for h in (0.004, 0.002):
            u = t + h
            f, b = sampler.jump_probabilities(*torch.tensor([t, u], dtype=torch.float64).chunk(2))
            after = c.marginal(t) @ c.matrix(c.euler(t, float(f), float(b)))
            residual.append(float((after - c.marginal(u)).abs().sum()))
            # The rates are the paper's: (1 + g)·c forward, g·κ̇/κ backward.
            g = corrector * t**rise * (1 - t) ** fall
            assert float(f) / h == pytest.approx((1 + g) / (1 - t), rel=0.03)
            assert float(b) / h == pytest.approx(g / t, rel=0.03)
        assert residual[0] < 3 * 0.004 * (1 + corrector) ** 2 * 0.1
        assert residual[0] / residual[1] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(("process", "schedule"), LAWFUL_PATHS)
@pytest.mark.parametrize("corrector", [0.0, 3.0])
def test_one_position_has_its_exact_marginal_at_every_step(
    process: str, schedule: str | None, corrector: float
) -> None:
    kind = PROCESSES[process]
    params = kind.Params.model_validate({"schedule": {"name": schedule}})
    c = Chain(random_joint(K, 1, seed=1), kind(params, Vocabulary.after(K)))  # type: ignore[arg-type]
    law = c.start()
    for step, site in enumerate(site_laws("euler", c, 5, corrector=corrector, rise=0.0), 1):
        law = law @ c.matrix(site)
        assert float((law - c.marginal(step / 5)).abs().max()) < 1e-14

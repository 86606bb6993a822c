"""Whole runs of every registered sampler under every process that it fits: what their ``law`` promises, by sampling.

A new sampler is tested by existing; ``VARIANTS`` adds parameters whose law is not that of the defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from diffusionlm.generation.canvas import Canvas
from diffusionlm.generation.loop import Sampled, sample
from diffusionlm.process import PROCESSES, SCHEDULES, DiscreteProcess, Head, MaskProcess, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters, Sampler
from tests.oracle.chain import Chain, ChainPredictor
from tests.oracle.joint import Joint, noise_floor, random_joint, total_variation

K = L = 3
JOINT = random_joint(K, L, seed=0)
SINGLE = random_joint(K, 1, seed=0)
SAMPLES = 6_000
FLOOR = noise_floor(JOINT, SAMPLES)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("euler", {"corrector": 1.0}),
    ("remdm", {"eta": 2.0, "eta_per": "run"}),
    ("remdm", {"eta": 2.0, "eta_per": "run", "variant": "rescale"}),
    ("remdm", {"eta": 2.0, "eta_per": "run", "variant": "loop"}),
    ("remdm", {"variant": "conf"}),
    ("remdm", {"variant": "loop"}),
    *(("confidence", {"order": order}) for order in ("margin", "entropy", "random", "drawn")),
]


def fits(name: str, process: str) -> bool:
    return issubclass(PROCESSES[process], SAMPLERS[name].requires) and issubclass(PROCESSES[process], DiscreteProcess)


def starts_at_noise(process: str) -> bool:
    """Without a bound (``keep``) the state at t = 0 is not the noise that sampling starts from: no law is claimed."""
    return PROCESSES[process].bound != "none"


CASES = [
    (name, process, params)
    for name, params in [*((name, {}) for name in SAMPLERS), *VARIANTS]
    for process in PROCESSES
    if fits(name, process)
]


@cache
def chain(process: str, length: int = L, schedule: str | None = None) -> Chain:
    kind = PROCESSES[process]
    options = {} if schedule is None else {"schedule": {"name": schedule}}
    joint = JOINT if length == L else SINGLE
    return Chain(joint, kind(kind.Params.model_validate(options), Vocabulary.after(K)))  # type: ignore[arg-type]


def build(name: str, process: str, params: dict[str, Any], schedule: str | None = None) -> Sampler:
    return SAMPLERS[name](
        SAMPLERS[name].Params.model_validate(params), chain(process, schedule=schedule).process, Filters()
    )


def run(
    sampler: Sampler, c: Chain, steps: int, number: int = SAMPLES, kind: Head | None = None, **options: Any
) -> Sampled:
    kind = sampler.wanted_head("leave_one_out") if kind is None else kind
    ids = torch.zeros(number, c.L, dtype=torch.int64)
    canvas = Canvas(ids, torch.ones_like(ids, dtype=torch.bool), torch.ones_like(ids), torch.arange(number))
    return sample(ChainPredictor(c, kind), sampler, canvas, steps=steps, seed=5, **options)


@pytest.mark.slow  # the self-test, which is tested too, draws as many for every pair
@pytest.mark.parametrize(("name", "process", "params"), [case for case in CASES if starts_at_noise(case[1])])
def test_samples_have_the_law_that_the_sampler_declares(name: str, process: str, params: dict[str, Any]) -> None:
    sampler = build(name, process, params)
    if sampler.law == "joint":
        # As many steps as tokens is where order-based samplers are exact; those with a clock need many.
        steps = L if name == "confidence" else 48
        ids = run(sampler, chain(process), steps).ids
        assert total_variation(JOINT, ids) < 0.02 + FLOOR
    elif sampler.law == "single":
        ids = run(sampler, chain(process, 1), 24).ids
        assert total_variation(SINGLE, ids) < 0.01 + noise_floor(SINGLE, SAMPLES)
    else:
        assert sampler.law == "heuristic"
        assert total_variation(JOINT, run(sampler, chain(process), 24).ids) < 0.5


@pytest.mark.parametrize(("name", "process", "params"), [c for c in CASES if c[0] in ("plug_in", "euler")])
def test_a_head_of_the_other_kind_is_converted_by_bayes_rule(name: str, process: str, params: dict[str, Any]) -> None:
    sampler, c = build(name, process, params), chain(process)
    own = sampler.wanted_head("leave_one_out")
    other: Head = "posterior" if own == "leave_one_out" else "leave_one_out"
    a = run(sampler, c, 12, number=400, kind=own)
    b = run(sampler, c, 12, number=400, kind=other)
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.nfe, b.nfe)


@pytest.mark.parametrize(("name", "process", "params"), [c for c in CASES if issubclass(PROCESSES[c[1]], MaskProcess)])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_no_mask_is_left_whatever_the_steps(name: str, process: str, params: dict[str, Any], schedule: str) -> None:
    sampler = build(name, process, params, schedule)
    for steps in (1, 2, 5, 17):
        result = run(sampler, chain(process, schedule=schedule), steps, number=40)
        assert 0 <= int(result.ids.min()) <= int(result.ids.max()) < K
        assert int(result.nfe.min()) >= 1
        # One token a call is what first_hitting is; every other rule keeps to the steps.
        assert int(result.nfe.max()) <= (L if name == "first_hitting" else steps)
        if sampler.monotone:
            assert int(result.nfe.max()) <= L


@pytest.mark.parametrize("name", ["plug_in", "euler", "first_hitting", "remdm"])
@pytest.mark.parametrize("block_length", [1, 2])
def test_blocks_around_a_sampler_have_the_joint_law(name: str, block_length: int) -> None:
    params = {"eta": 1.0, "eta_per": "run"} if name == "remdm" else {}
    ids = run(build(name, "mask", params), chain("mask"), 48, block_length=block_length).ids
    assert total_variation(JOINT, ids) < 0.02 + FLOOR


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_first_hitting_is_exact_in_as_many_calls_as_tokens(schedule: str) -> None:
    result = run(build("first_hitting", "mask", {}, schedule), chain("mask", schedule=schedule), 1)
    assert result.nfe.unique().tolist() == [L]
    assert total_variation(JOINT, result.ids) < 1.6 * FLOOR


def test_first_hitting_is_the_limit_of_ancestral() -> None:
    limit = law(run(build("first_hitting", "mask", {}), chain("mask"), 1).ids)
    distances = []
    for steps in (1, 4, 128):
        ids = run(build("ancestral", "mask", {}), chain("mask"), steps).ids
        distances.append(float((law(ids) - limit).abs().sum() / 2))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 2.5 * FLOOR


def law(ids: torch.Tensor) -> torch.Tensor:
    return torch.bincount(JOINT.index(ids), minlength=K**L).double() / len(ids)


@pytest.mark.parametrize("variant", ["cap", "rescale", "conf", "loop"])
def test_remdm_without_remasking_is_ancestral_draw_for_draw(variant: str) -> None:
    ids = [
        run(build(name, "mask", params), chain("mask"), 7, number=500)
        for name, params in (("ancestral", {}), ("remdm", {"eta": 0.0, "variant": variant}))
    ]
    if variant == "loop":  # its clock is another
        assert int(ids[1].ids.max()) < K
        return
    assert torch.equal(ids[0].ids, ids[1].ids)
    assert torch.equal(ids[0].nfe, ids[1].nfe)


def test_a_joint_of_one_position_needs_no_steps() -> None:
    joint: Joint = SINGLE
    ids = run(build("euler", "uniform", {}), chain("uniform", 1), 1).ids
    assert total_variation(joint, ids) < 2 * noise_floor(joint, SAMPLES)

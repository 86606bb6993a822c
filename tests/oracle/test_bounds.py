"""Every tight bound is the entropy and every loose one its own value, by enumeration (docs/MATH.md §1, §6).

No Monte Carlo: all states z and texts x of a tiny joint, Gauss–Legendre over the times, the exact head, and the
library's own ν_t, weights, change of head and losses. Over the registry: a new discrete process is tested by existing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.bound import divergence
from diffusionlm.objective.rows import Rows
from diffusionlm.process import PROCESSES, SCHEDULES, DiscreteProcess, Vocabulary
from diffusionlm.process.base import Corrupted, Measure
from diffusionlm.process.head import Head, convert_head
from tests.oracle.joint import Joint, Kind, gauss_legendre, predictive, random_joint
from tests.oracle.noises import discrete_evidence

SMALL, LARGE = random_joint(3, 2, seed=0), random_joint(3, 3, seed=1)


def variants(bound: str = "tight") -> list[tuple[str, str | None]]:
    """Return every discrete process with a bound, with every schedule that it can have."""
    made: list[tuple[str, str | None]] = []
    for name in PROCESSES:
        if not issubclass(PROCESSES[name], DiscreteProcess) or PROCESSES[name].bound != bound:
            continue
        # A process with blocks or a layout of its own has a bound of its own, and its own test.
        if PROCESSES[name].blocks is not DiscreteProcess.blocks:
            continue
        has = "schedule" in PROCESSES[name].Params.model_fields
        made += [(name, schedule) for schedule in (SCHEDULES if has else [None])]
    return made


def build(name: str, schedule: str | None, joint: Joint) -> DiscreteProcess:
    given = {} if schedule is None else {"schedule": {"name": schedule}}
    process = PROCESSES.build(PROCESSES[name].Params.model_validate(given), Vocabulary.after(joint.vocabulary))
    assert isinstance(process, DiscreteProcess)
    return process


@dataclass(frozen=True)
class Everything:
    """All (time, state, text) of a joint, as rows: R of them, L positions each.

    Attributes:
        z, x, t: (R, L).
        share: (R,) quadrature weight × p(x) × q_t(z | x).
        head: (R, L, K) the exact predictive.
    """

    z: torch.Tensor
    x: torch.Tensor
    t: torch.Tensor
    share: torch.Tensor
    head: torch.Tensor


def enumerate_states(process: DiscreteProcess, joint: Joint, measure: Measure, nodes: int, kind: Kind) -> Everything:
    places, weights = gauss_legendre(nodes)
    times = process.time_of_level(places) if measure == "level" else places
    states = torch.tensor(list(itertools.product(range(joint.vocabulary + 1), repeat=joint.length)))
    texts = joint.sequences()
    q, s, n = len(times), len(states), len(texts)
    z = states.repeat(q, 1)
    t = times.repeat_interleave(s)[:, None].expand_as(z)
    evidence = discrete_evidence(process, joint)(z, t)
    possible = (evidence.sum(-1) > 0).all(1)
    head = torch.zeros(len(z), joint.length, joint.vocabulary, dtype=torch.float64)
    head[possible] = predictive(joint, evidence[possible], kind)
    x = texts.repeat(q * s, 1)
    z, t, head = z.repeat_interleave(n, 0), t.repeat_interleave(n, 0), head.repeat_interleave(n, 0)
    noise = process.noise(t)
    probability = noise.marginal(z, x, process.vocabulary).prod(1)
    share = weights.repeat_interleave(s * n) * joint.flat().repeat(q * s) * probability
    kept = share > 0
    return Everything(z[kept], x[kept], t[kept], share[kept], head[kept])


def bound(
    process: DiscreteProcess, joint: Joint, measure: Measure, nodes: int, kind: Kind, declared: Head | None = None
) -> float:
    """Return ∫ E Σ_i weight·divergence, nats per sequence, at the exact head of a kind, declared or not."""
    every = enumerate_states(process, joint, measure, nodes, kind)
    weight = process.bound_weight(every.z, every.x, every.t, measure)
    index = (weight > 0).flatten().nonzero().squeeze(1)
    noise = process.noise(every.t)
    flat = [a.flatten()[index] for a in (every.x, every.z, every.t)]
    rows = Rows(*flat, noise.rows(index), index)
    logits = every.head.reshape(-1, joint.vocabulary)[index].log()
    loo = convert_head(logits, rows.z, rows.noise, process.vocabulary, declared or kind, "leave_one_out")  # type: ignore[arg-type]
    share = every.share[:, None].expand_as(weight).flatten()[index]
    return float((share * weight.flatten()[index] * divergence(loo, rows)).sum())


@pytest.mark.parametrize(("name", "schedule"), variants())
class TestTightBounds:
    @pytest.mark.parametrize("kind", ["leave_one_out", "posterior"])
    def test_it_is_the_entropy_in_levels(self, name: str, schedule: str | None, kind: Kind) -> None:
        """At the exact leave-one-out head, and at the exact posterior, which is converted."""
        found = bound(build(name, schedule, SMALL), SMALL, "level", 40, kind)
        assert found == pytest.approx(SMALL.entropy(), abs=1e-3)

    def test_it_is_the_entropy_in_t(self, name: str, schedule: str | None) -> None:
        found = bound(build(name, schedule, SMALL), SMALL, "t", 200, "leave_one_out")
        # The ends of GIDD's clock are poles in t, which is why its levels are another clock.
        assert found == pytest.approx(SMALL.entropy(), abs=1e-3 if schedule is not None else 2e-2)


@pytest.mark.parametrize("name", sorted({name for name, _ in variants()}))
class TestEveryTightProcess:
    def test_a_longer_joint(self, name: str) -> None:
        process = build(name, dict(variants())[name], LARGE)
        assert bound(process, LARGE, "level", 60, "leave_one_out") == pytest.approx(LARGE.entropy(), abs=1e-3)

    def test_the_value_does_not_depend_on_the_schedule(self, name: str) -> None:
        other = random_joint(3, 2, seed=5)  # any head will do: the value is that of the process
        schedules = [schedule for process, schedule in variants() if process == name]
        values = [bound(build(name, schedule, other), other, "level", 8, "leave_one_out") for schedule in schedules]
        assert max(values) - min(values) < 1e-9

    def test_a_posterior_that_is_not_converted_is_above_the_entropy(self, name: str) -> None:
        """The silent mistake: only where noise cannot look like text does it cost nothing."""
        process = build(name, dict(variants())[name], SMALL)
        wrong = bound(process, SMALL, "level", 40, "posterior", declared="leave_one_out")
        if PROCESSES[name].bound_form == "ce":
            assert wrong == pytest.approx(SMALL.entropy(), abs=1e-3)
        else:
            assert wrong > SMALL.entropy() + 0.05


def by_hand(joint: Joint, mask_share: float, nodes: int) -> float:
    """Return the generalised KL at the exact posterior with κ = t, from loops over states: ∫ c·Σ_i E 1[z ≠ x]·CE.

    What 1[z = x] − p(z) adds is zero on average at the exact posterior.
    """
    total, size = 0.0, joint.vocabulary
    texts, p = joint.sequences().tolist(), joint.flat().tolist()
    for k, w in zip(*(a.tolist() for a in gauss_legendre(nodes)), strict=True):

        def q(z: int, x: int, k: float = k) -> float:
            noise = mask_share if z == size else (1 - mask_share) / size
            return (1 - k) * noise + k * (z == x)

        for z in itertools.product(range(size + 1), repeat=joint.length):
            likelihood = [
                math.prod(q(a, b) for a, b in zip(z, x, strict=True)) * px for x, px in zip(texts, p, strict=True)
            ]
            for i, state in enumerate(z):
                mass = [sum(v for v, x in zip(likelihood, texts, strict=True) if x[i] == j) for j in range(size)]
                for j in range(size):
                    if j != state and mass[j] > 0:
                        total += w / (1 - k) * mass[j] * -math.log(mass[j] / sum(mass))
    return total


@pytest.mark.parametrize(("name", "mask_share"), [("mask", 1.0), ("uniform", 0.0), ("mixture", 0.3)])
def test_the_generalised_kl(name: str, mask_share: float) -> None:
    """Through the objective's own weight and loss; the entropy for mask noise, more where noise can look like text."""
    process = build(name, "linear", SMALL)
    objective = OBJECTIVES.build(OBJECTIVES["gkl"].Params(), process)
    every = enumerate_states(process, SMALL, "t", 40, "posterior")
    everywhere, noise = torch.ones_like(every.z).bool(), process.noise(every.t)
    noised = every.z == process.vocabulary.mask_id if name == "mask" else everywhere
    weight = torch.where(noised, process.schedule.jump_rate(every.t), 0.0)
    corrupted = Corrupted(every.z, every.t, noised, everywhere, weight, noise.mask + noise.uniform, noise)
    index = objective.scored(corrupted).flatten().nonzero().squeeze(1)
    rows = Rows.of(corrupted, every.x, index)
    logits = every.head.reshape(-1, SMALL.vocabulary)[index].log()
    loss = objective.loss()
    values = -logits.gather(1, rows.x[:, None]).squeeze(1) if loss is None else loss(logits, rows)
    share = every.share[:, None].expand_as(every.z).flatten()[index]
    found = float((share * objective.weight(corrupted).flatten()[index] * values).sum())
    assert found == pytest.approx(by_hand(SMALL, mask_share, 40), abs=1e-9)
    if objective.tightness(type(process)) == "tight":
        assert found == pytest.approx(SMALL.entropy(), abs=1e-9)
    else:
        assert found > SMALL.entropy() + 0.05


def test_a_keep_share_would_go_below_the_entropy() -> None:
    """Which is why it has no bound: the text is there at t = 0."""
    process = build("keep", "linear", SMALL)
    assert bound(process, SMALL, "t", 200, "leave_one_out") < SMALL.entropy() - 0.05

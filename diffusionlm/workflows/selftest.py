"""``flowlm selftest``: every registered method against exact answers on tiny joints, one line each.

bound      the likelihood bound at the exact head, by enumeration, against the entropy
evaluator  the same number as ``flowlm eval`` estimates it, within its own standard error
loss       a training loss that claims to be a bound, at the head that it declares
start      how far the state at t = 0 of a flow on the simplex depends on the text: not at all
sampler    total variation of samples with the exact head, against the law that the sampler declares; for a flow on
           the simplex KL(data ‖ samples) of one position

Methods come from the registries, so a new one is tested by existing. What a method does not declare is not asked: a
process without a bound, or one whose noise no oracle can invert, has a line that says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from diffusionlm.errors import PairingError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.oracle import Joint, noise_floor, random_joint, total_variation
from diffusionlm.process import PROCESSES, Process, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters, Sampler
from diffusionlm.sampling.simplex import Sampling
from diffusionlm.workflows.params import SelftestParams
from diffusionlm.workflows.selftest_bound import evaluator_bound, exact_bound, exact_loss
from diffusionlm.workflows.selftest_law import dependence_at_start, divergence, exact_divergence, samples_of
from diffusionlm.workflows.selftest_report import SelftestReport

SEQUENCES, PAIRS, SINGLE = random_joint(3, 3, seed=0), random_joint(3, 2, seed=0), random_joint(4, 1, seed=0)
POINTS = random_joint(8, 1, seed=1, sharpness=1.2)
TIGHT = 1e-3
"""Largest error in nats of a tight bound."""
FAR = 0.02
"""Largest total variation of a sampler with the data law at ``STEPS`` steps, beyond that of exact samples."""
NEAR, STILL = 2e-3, 1e-9
"""Largest KL of a flow at one position, in nats, and largest dependence of its start on the text: rounding."""
FLOW_STEPS, NOISING_STEPS = 48, 8
"""Steps of samplers of flows: following one is exact as they grow (the sphere needs most), guessing at any number."""
DEVIATIONS = 4.0
NO_LAW = "no law is claimed"


@dataclass(frozen=True)
class Effort:
    """How much is drawn.

    Attributes:
        samples: For each sampler, and for each state whose start is compared.
        steps: Of a sampler of token ids.
        rows, draws: Sequences and noise levels of the evaluator's estimate.
    """

    samples: int = 12_000
    steps: int = 64
    rows: int = 8000
    draws: int = 16


@dataclass(frozen=True)
class Check:
    """One line of the suite.

    Attributes:
        kind: ``bound``, ``evaluator``, ``loss``, ``start`` or ``sampler``.
        process: Registry name.
        method: Registry name of the objective or the sampler; empty for the process itself.
        state: ``tight``, ``loose``, ``exact``, ``joint``, ``single``, ``heuristic``; ``none`` where nothing is claimed.
        value, exact, error: What came, what is right, and how far apart they are; None where there is nothing.
        allowed: The largest error that passes; None = any.
        ok: Whether it passed.
        note: What a reader should know, in a few words.
    """

    kind: str
    process: str
    method: str
    state: str
    value: float | None = None
    exact: float | None = None
    error: float | None = None
    allowed: float | None = None
    ok: bool = True
    note: str = ""

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def selftest(params: SelftestParams) -> SelftestReport:
    """Run the suite, or the part of it that is about some processes."""
    began = time.perf_counter()
    unknown = [name for name in params.processes if name not in PROCESSES]
    if unknown:
        PROCESSES[unknown[0]]  # says which are known
    torch.set_num_threads(params.threads or torch.get_num_threads())
    names = tuple(dict.fromkeys(params.processes)) or tuple(PROCESSES)
    checks = [check for name in names for check in checks_of(name, Effort(params.samples))]
    return SelftestReport(tuple(checks), time.perf_counter() - began)


def build(name: str, joint: Joint) -> Process:
    """Return a process with its defaults over the tokens of a joint."""
    return PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(joint.vocabulary))


def checks_of(name: str, effort: Effort) -> Iterator[Check]:
    """Yield every check of a process: its bound, the losses that are bounds on it, the samplers that fit it."""
    process = build(name, SEQUENCES)
    for kind, method in planned(process):
        if kind == "none":
            yield Check("bound", name, "", "none", note=method)
        else:
            one = CHECKS[kind]
            yield guarded(kind, name, method, lambda one=one, method=method: one(name, method, effort))


def planned(process: Process) -> Iterator[tuple[str, str]]:
    """Yield (kind, method) of every check that a process has; ("none", why) where there is nothing to check."""
    if not _has_oracle(process):
        yield "none", "no exact head is known for its noise"
        return
    if process.bound == "none":
        yield "none", "declares no bound"
    else:
        yield from (("bound", ""), ("evaluator", ""))
        for objective in OBJECTIVES:
            if OBJECTIVES[objective].is_bound and fits(OBJECTIVES[objective].check, type(process)):
                yield "loss", objective
    if process.state == "simplex":
        yield "start", ""
    for sampler in SAMPLERS:
        if fits(SAMPLERS[sampler].check, type(process)):
            yield "sampler", sampler


def guarded(kind: str, process: str, method: str, check: Callable[[], Check]) -> Check:
    """Return what a check says; a method that breaks down has failed it, and the suite goes on."""
    try:
        return check()
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(kind, process, method, "none", ok=False, note=said[:160])


def bound_check(name: str, _method: str, _effort: Effort) -> Check:
    """Compare the bound at the exact head with the entropy; a loose one must lie above it."""
    process = build(name, SEQUENCES)
    return _judged("bound", name, "", process.bound, exact_bound(process, SEQUENCES))


def loss_check(name: str, objective: str, _effort: Effort) -> Check:
    """Compare a training loss that claims to be a bound with the entropy, at the head that it declares."""
    process = build(name, SEQUENCES)
    built = OBJECTIVES.build(OBJECTIVES[objective].Params(), process)
    # An objective may bound loosely what the process could bound tightly.
    return _judged("loss", name, objective, built.tightness(type(process)), exact_loss(built, process, SEQUENCES))


def _judged(kind: str, name: str, method: str, state: str, value: float) -> Check:
    entropy = SEQUENCES.entropy()
    error = value - entropy
    ok = abs(error) <= TIGHT if state == "tight" else error > TIGHT
    return Check(kind, name, method, state, value, entropy, error, TIGHT if state == "tight" else None, ok)


def evaluator_check(name: str, _method: str, effort: Effort) -> Check:
    """Compare the evaluator's estimate, through the process's own noise, with the bound at the exact head."""
    process = build(name, SEQUENCES)
    value, exact, deviation = evaluator_bound(process, SEQUENCES, effort.rows, effort.draws)
    if process.bound == "loose":
        exact = exact_bound(process, SEQUENCES)
    # Sequences are not drawn, so without noise nothing is left to chance.
    allowed = DEVIATIONS * deviation if process.random else TIGHT
    return Check(
        "evaluator", name, "", process.bound, value, exact, value - exact, allowed, abs(value - exact) < allowed
    )


def start_check(name: str, _method: str, effort: Effort) -> Check:
    """Compare the states of all tokens at t = 0, with the same random numbers: a start that leaks makes good losses."""
    value = dependence_at_start(build(name, POINTS), effort.samples // POINTS.vocabulary)
    note = "the state at t = 0, between clean tokens"
    return Check("start", name, "", "exact", value, 0.0, value, STILL, value <= STILL, note)


def claimed(rule: Sampler) -> str:
    """Return what a sampler claims of its samples' law under its process: the data's, one position's, or nothing.

    A process over ids without a bound has states at t = 0 that still hold some of the text (``keep``), and sampling,
    which knows no text, starts elsewhere: from there no rule has the data law.
    """
    no_start = rule.process.state == "ids" and rule.process.bound == "none"
    return "none" if no_start else rule.law


def sampler_check(name: str, sampler: str, effort: Effort) -> Check:
    """Compare the samples' law with the data's, as far as the sampler says that they agree."""
    rule = _rule(name, sampler, PAIRS)
    law = claimed(rule)
    if rule.process.state == "simplex":
        rule = _rule(name, sampler, POINTS)
        steps = NOISING_STEPS if isinstance(rule, Sampling) else FLOW_STEPS
        value = divergence(POINTS, samples_of(rule, POINTS, effort.samples, steps))
        allowed, note = max(NEAR, exact_divergence(POINTS, effort.samples, DEVIATIONS)), "KL, one position alone"
    else:
        joint = SINGLE if law == "single" else PAIRS
        ids = samples_of(_rule(name, sampler, joint), joint, effort.samples, effort.steps)
        value, allowed = total_variation(joint, ids), FAR + noise_floor(joint, effort.samples)
        note = "one position alone" if law == "single" else ""
    if law in ("heuristic", "none"):
        return Check("sampler", name, sampler, law, value, 0.0, value, note=NO_LAW)
    return Check("sampler", name, sampler, law, value, 0.0, value, allowed, value < allowed, note)


def _rule(name: str, sampler: str, joint: Joint) -> Sampler:
    return SAMPLERS.build(SAMPLERS[sampler].Params(), build(name, joint), Filters())


CHECKS: dict[str, Callable[[str, str, Effort], Check]] = {
    "bound": bound_check,
    "evaluator": evaluator_check,
    "loss": loss_check,
    "start": start_check,
    "sampler": sampler_check,
}


def _has_oracle(process: Process) -> bool:
    if process.state != "ids":
        return process.has_evidence
    state, t = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 0.5, dtype=torch.float64)
    return process.evidence(state, t) is not None


def fits(check: Callable[[type[Process]], None], process: type[Process]) -> bool:
    """Return whether a check of a pair lets the process pass."""
    try:
        check(process)
    except PairingError:
        return False
    return True

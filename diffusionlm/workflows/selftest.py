"""``flowlm selftest``: every registered method against exact answers on tiny joints, one line each.

bound      the likelihood bound at the exact head, by enumeration, against the entropy
evaluator  the same number as ``flowlm eval`` estimates it, within its own standard error
loss       a training loss that claims to be a bound, at the head that it declares
sampler    total variation of samples with the exact head, against the law that the sampler declares

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
from diffusionlm.generation.canvas import Canvas
from diffusionlm.generation.loop import sample
from diffusionlm.objective import OBJECTIVES
from diffusionlm.oracle import ExactHead, Joint, noise_floor, random_joint, total_variation
from diffusionlm.process import PROCESSES, DiscreteProcess, Process, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters
from diffusionlm.workflows.params import SelftestParams
from diffusionlm.workflows.selftest_bound import evaluator_bound, exact_bound, exact_loss
from diffusionlm.workflows.selftest_report import SelftestReport

SEQUENCES, PAIRS, SINGLE = random_joint(3, 3, seed=0), random_joint(3, 2, seed=0), random_joint(4, 1, seed=0)
TIGHT = 1e-3
"""Largest error in nats of a tight bound."""
FAR = 0.02
"""Largest total variation of a sampler with the data law at ``STEPS`` steps, beyond that of exact samples."""
STEPS, DEVIATIONS = 64, 4.0


@dataclass(frozen=True)
class Check:
    """One line of the suite.

    Attributes:
        kind: ``bound``, ``evaluator``, ``loss`` or ``sampler``.
        process: Registry name.
        method: Registry name of the objective or the sampler; empty for the process itself.
        state: ``tight``, ``loose``, ``joint``, ``single``, ``heuristic``; ``none`` where there is nothing to check.
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
    names = params.processes or tuple(PROCESSES)
    checks = [check for name in names for check in checks_of(name, params.samples)]
    return SelftestReport(tuple(checks), time.perf_counter() - began)


def build(name: str, joint: Joint) -> Process:
    """Return a process with its defaults over the tokens of a joint."""
    return PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(joint.vocabulary))


def checks_of(name: str, samples: int) -> Iterator[Check]:
    """Yield every check of a process: its bound, the losses that are bounds on it, the samplers that fit it."""
    process = build(name, SEQUENCES)
    for kind, method in planned(process):
        if kind == "none":
            yield Check("bound", name, "", "none", note=method)
        elif kind == "sampler":
            yield guarded(kind, name, method, lambda method=method: sampler_check(name, method, samples))
        else:
            assert isinstance(process, DiscreteProcess), "only a discrete process has a bound"
            one = {"bound": bound_check, "evaluator": evaluator_check, "loss": loss_check}[kind]
            yield guarded(kind, name, method, lambda one=one, method=method: one(name, process, method))


def planned(process: Process) -> Iterator[tuple[str, str]]:
    """Yield (kind, method) of every check that a process has; ("none", why) where there is nothing to check."""
    if not _has_oracle(process):
        yield "none", "no exact head is known for its noise"
        return
    if process.bound == "none" or not isinstance(process, DiscreteProcess):
        yield "none", "declares no bound"
    else:
        yield from (("bound", ""), ("evaluator", ""))
        for objective in OBJECTIVES:
            if OBJECTIVES[objective].is_bound and fits(OBJECTIVES[objective].check, type(process)):
                yield "loss", objective
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


def bound_check(name: str, process: DiscreteProcess, _method: str = "") -> Check:
    """Compare the bound at the exact head with the entropy; a loose one must lie above it."""
    return _judged("bound", name, "", process.bound, exact_bound(process, SEQUENCES))


def loss_check(name: str, process: DiscreteProcess, objective: str) -> Check:
    """Compare a training loss that claims to be a bound with the entropy, at the head that it declares."""
    built = OBJECTIVES.build(OBJECTIVES[objective].Params(), process)
    value = exact_loss(built, process, SEQUENCES)
    # An objective may bound loosely what the process could bound tightly; only a value below the entropy is wrong.
    is_tight = objective == "nelbo" and process.bound == "tight"
    state = "tight" if is_tight or abs(value - SEQUENCES.entropy()) <= TIGHT else "loose"
    return _judged("loss", name, objective, state, value)


def _judged(kind: str, name: str, method: str, state: str, value: float) -> Check:
    entropy = SEQUENCES.entropy()
    error = value - entropy
    ok = abs(error) <= TIGHT if state == "tight" else error > TIGHT
    return Check(kind, name, method, state, value, entropy, error, TIGHT if state == "tight" else None, ok)


def evaluator_check(name: str, process: DiscreteProcess, _method: str = "") -> Check:
    """Compare the evaluator's estimate, through the process's own noise, with the bound at the exact head."""
    value, exact, deviation = evaluator_bound(process, SEQUENCES, rows=8000, draws=16)
    if process.bound == "loose":
        exact = exact_bound(process, SEQUENCES)
    allowed = DEVIATIONS * deviation
    return Check(
        "evaluator", name, "", process.bound, value, exact, value - exact, allowed, abs(value - exact) < allowed
    )


def sampler_check(name: str, sampler: str, samples: int) -> Check:
    """Compare the samples' law with the joint, as far as the sampler says that they agree."""
    law = SAMPLERS.build(SAMPLERS[sampler].Params(), build(name, PAIRS), Filters()).law
    joint = SINGLE if law == "single" else PAIRS
    process = build(name, joint)
    rule = SAMPLERS.build(SAMPLERS[sampler].Params(), process, Filters())
    head = ExactHead(joint, process, "leave_one_out" if rule.heads == {"leave_one_out"} else "posterior")
    empty = torch.zeros(samples, joint.length, dtype=torch.int64)
    canvas = Canvas(empty, empty == 0, torch.ones_like(empty), torch.arange(samples))
    made = sample(head, rule, canvas, steps=STEPS, seed=0)
    value, allowed = total_variation(joint, made.ids), FAR + noise_floor(joint, samples)
    note = {"joint": "", "single": "one position alone", "heuristic": "no law is claimed"}[law]
    is_claimed = law != "heuristic"
    return Check(
        "sampler", name, sampler, law, value, 0.0, value, allowed if is_claimed else None,
        ok=not is_claimed or value < allowed, note=note,
    )  # fmt: skip


def _has_oracle(process: Process) -> bool:
    if process.state != "ids":
        return False
    state, t = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), 0.5, dtype=torch.float64)
    return process.evidence(state, t) is not None


def fits(check: Callable[[type[Process]], None], process: type[Process]) -> bool:
    """Return whether a check of a pair lets the process pass."""
    try:
        check(process)
    except PairingError:
        return False
    return True

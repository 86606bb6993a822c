"""What every process owes its users. Parametrised over the registry: a new process is tested by existing."""

from __future__ import annotations

import math
import re
import sys

import pytest
import torch

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.objective.bound import bound_of
from diffusionlm.objective.rows import Rows, cross_entropy
from diffusionlm.process import PROCESSES, SCHEDULES, DiscreteProcess, Process, Vocabulary
from diffusionlm.process.base import Choice, Corrupted
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

K = 7
VOCABULARY = Vocabulary(size=K, mask_id=K + 1, rows=K + 3)
DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6], K)
PACKED = lay_rows([DOCUMENTS[:3], DOCUMENTS[3:5], DOCUMENTS[5:]], 18, frozen=1)
ALONE = lay_rows([[document] for document in DOCUMENTS], 15, frozen=1)


def variants() -> list[Process]:
    """Return every process in every way to choose positions, and with every schedule."""
    made = []
    for name in (p for p in PROCESSES if PROCESSES[p].state == "ids"):  # test_simplex_processes.py has the others
        fields = PROCESSES[name].Params.model_fields
        corruptions = ["bernoulli", "exact_count"] if "corruption" in fields else [None]
        schedules = [{"name": s} for s in SCHEDULES] if "schedule" in fields else [None]
        for corruption in corruptions:
            # Counts of noise that can look like text know a schedule by its inverse alone: one of them is enough.
            first = corruption == "exact_count" and PROCESSES[name].bound_form != "ce"
            for schedule in schedules[:1] if first else schedules:
                given = {"corruption": corruption, "schedule": schedule}
                params = PROCESSES[name].Params.model_validate({k: v for k, v in given.items() if v is not None})
                made.append(PROCESSES.build(params, VOCABULARY))
    return made


def by_document(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """Return one value per site that depends on its document alone."""
    return values[batch.document]


def corrupt(process: Process, batch: Batch, times: torch.Tensor, step: int = 0, measure: str = "t") -> Corrupted:
    t = by_document(batch, times)
    return process.corrupt(batch.x_1, t, batch.editable, batch.segments, draws_of(batch, 3, step), measure)  # type: ignore[arg-type]


def sites(batch: Batch, values: torch.Tensor) -> dict[tuple[int, int], float]:
    """Return the values by (document, position), padding left out."""
    return {
        (int(d), int(p)): float(v)
        for d, p, v, s in zip(
            batch.document.flatten(), batch.positions.flatten(), values.flatten(), batch.segments.flatten(), strict=True
        )
        if s > 0
    }


def in_the_bound(process: Process, out: Corrupted) -> torch.Tensor:
    """Return (B, T) bool: the positions that the bound scores."""
    if process.bound == "none":
        return torch.zeros_like(out.editable)
    if process.bound_form == "ce":
        return out.noised
    # A clean token counts too: that the noising process could still jump into its state is something to predict.
    assert out.noise is not None
    assert isinstance(out.x_t, torch.Tensor)
    return out.editable & (out.noise.rate(out.x_t, VOCABULARY) > 0)


def leaks(process: Process) -> bool:
    """Return whether a token may be clean at t = 0, as a recipe that keeps some of the chosen tokens wants it."""
    start = torch.zeros(1, dtype=torch.float64)
    return isinstance(process, DiscreteProcess) and bool(process.noise(start).kappa > 0)


TIMES = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)


def assert_share(seen: torch.Tensor, probability: torch.Tensor, many: int) -> None:
    """Check (B, T) events against their probability at every position, to five standard deviations."""
    share = seen.double().mean(0)
    error = (probability * (1 - probability) / many).sqrt()
    assert float((share - probability).abs().max()) <= 5 * error + 1e-12, (share, probability)


def assert_marginals_of_counts(process: Process, out: Corrupted, clean: int) -> None:
    """Check that states of counts, weighted, have the marginal of independent noise of a share uniform on (0, 1)."""
    assert isinstance(process, DiscreteProcess)
    assert out.importance is not None
    assert isinstance(out.x_t, torch.Tensor)
    shares = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t = process.schedule.inverse(1.0 - shares)
    for z in (*range(K), VOCABULARY.mask_id):
        state = torch.full(t.shape, z)
        expected = process.noise(t).marginal(state, torch.full_like(state, clean), VOCABULARY).mean()
        counted = out.importance * (out.x_t == z)
        error = counted.std() / math.sqrt(len(counted))  # of all positions, which are alike
        assert bool(((counted.mean(0) - expected).abs() <= 5 * error + 1e-12).all()), (z, counted.mean(0), expected)
    counted = out.importance * out.noised
    assert bool(((counted.mean(0) - 0.5).abs() <= 5 * counted.std() / math.sqrt(len(counted))).all())


@pytest.mark.parametrize("process", variants(), ids=lambda p: str(p.params))
class TestEveryProcess:
    @pytest.mark.parametrize("measure", ["t", "level"])
    def test_fields(self, process: Process, measure: str) -> None:
        out = corrupt(process, PACKED, TIMES, measure=measure)
        assert out.x_t.dtype == torch.int64
        for field in (out.t, out.weight, out.noise_probability):
            assert field.dtype == torch.float64
            assert field.shape == PACKED.x_1.shape
            assert bool(field.isfinite().all())
        assert torch.equal(out.editable, PACKED.editable)
        assert bool((out.weight[~out.editable] == 0).all())
        assert torch.equal(out.weight > 0, in_the_bound(process, out))
        assert bool(((out.noise_probability >= 0) & (out.noise_probability <= 1)).all())
        assert bool(((out.t >= 0) & (out.t <= 1)).all())
        assert int(out.x_t.min()) >= 0
        assert int(out.x_t.max()) < VOCABULARY.rows

    def test_given_tokens_and_padding_are_never_touched(self, process: Process) -> None:
        kept = ~PACKED.editable
        for step in range(20):
            out = corrupt(process, PACKED, TIMES * 0.1, step)
            assert torch.equal(out.x_t[kept], PACKED.x_1[kept])
            assert not bool(out.noised[kept].any())
        start = process.source(PACKED.x_1, PACKED.editable, draws_of(PACKED))
        assert torch.equal(start[kept], PACKED.x_1[kept])

    def test_the_noise_does_not_depend_on_the_packing_or_the_order_of_rows(self, process: Process) -> None:
        packed, alone = corrupt(process, PACKED, TIMES), corrupt(process, ALONE, TIMES)
        for name in ("x_t", "t", "weight", "noised", "noise_probability"):
            assert sites(PACKED, vars(packed)[name]) == sites(ALONE, vars(alone)[name]), name
        assert (packed.importance is None) == (alone.importance is None)
        if packed.importance is not None and alone.importance is not None:
            assert sites(PACKED, packed.importance) == sites(ALONE, alone.importance)
        order = torch.tensor([4, 2, 6, 0, 1, 3, 5])
        mixed = concatenate([ALONE.rows(int(i), int(i) + 1) for i in order])
        assert torch.equal(corrupt(process, mixed, TIMES).x_t, alone.x_t[order])
        assert torch.equal(corrupt(process, ALONE.rows(2, 3), TIMES).x_t, alone.x_t[2:3])

    def test_steps_bring_new_noise(self, process: Process) -> None:
        states = {tuple(corrupt(process, ALONE, TIMES, step).x_t.flatten().tolist()) for step in range(10)}
        assert len(states) == (10 if process.random else 1)

    def test_the_start_state_knows_nothing_of_the_text(self, process: Process) -> None:
        other = torch.where(PACKED.editable, (PACKED.x_1 + 3) % K, PACKED.x_1)
        starts = [process.source(x, PACKED.editable, draws_of(PACKED)) for x in (PACKED.x_1, other)]
        assert torch.equal(starts[0], starts[1])
        if leaks(process):
            assert process.bound == "none", "a process whose t = 0 knows the text has no bound"
            return
        nothing = torch.zeros(len(DOCUMENTS), dtype=torch.float64)
        at_zero = [
            process.corrupt(x, by_document(PACKED, nothing), PACKED.editable, PACKED.segments, draws_of(PACKED)).x_t
            for x in (PACKED.x_1, other)
        ]
        assert torch.equal(at_zero[0], at_zero[1])

    @pytest.mark.parametrize("time", [0.0, 1.0 - 1e-9])
    @pytest.mark.parametrize("measure", ["t", "level"])
    def test_the_ends_of_time_are_finite(self, process: Process, time: float, measure: str) -> None:
        """Training times may be exactly 0; an evaluator's levels come close to 1."""
        times = torch.full((len(DOCUMENTS),), time, dtype=torch.float64)
        out = corrupt(process, PACKED, times, measure=measure)
        assert bool(out.weight.isfinite().all())
        assert bool(out.weight.float().isfinite().all())
        assert bool((out.weight >= 0).all())

    @pytest.mark.parametrize("time", [0.2, 0.75])
    def test_the_marginal_at_every_position(self, process: Process, time: float) -> None:
        """q_t(z | x) = κ·1[z = x] + ν_t(z) for every z, edges of a document and of a row included."""
        many, length, clean = 4000, 6, 2
        batch = lay_rows([[(i, [clean] * length), (i + many, [clean] * length)] for i in range(many)], 2 * length)
        # Exact counts take their number from the time: uniform times make every count equally likely.
        exact = "exact_count" in str(process.params)
        t = torch.full((2 * many,), time, dtype=torch.float64)
        if exact:
            t = (torch.arange(2 * many, dtype=torch.float64) % many + 0.5) / many
        out = corrupt(process, batch, t)
        if out.importance is not None:
            assert_marginals_of_counts(process, out, clean)
            return
        noised = torch.tensor((length + 1) / (2 * length)) if exact else out.noise_probability[0, 0]
        assert_share(out.noised, noised, many)
        certain = process.is_noise(out.x_t)
        assert bool((out.noised | ~certain).all())
        if not isinstance(process, DiscreteProcess):
            return
        assert torch.equal(certain, out.x_t == VOCABULARY.mask_id)
        states = torch.tensor([*range(K), VOCABULARY.mask_id])
        expected = process.noise(torch.full(states.shape, time, dtype=torch.float64)).marginal(
            states, torch.full_like(states, clean), VOCABULARY
        )
        assert float(expected.sum()) == pytest.approx(1.0, abs=1e-12)
        for z, probability in zip(states, expected, strict=True):
            share = noised * (z == VOCABULARY.mask_id) + (1 - noised) * (z == clean) if exact else probability
            assert_share(out.x_t == z, share, many)

    def test_is_documented(self, process: Process) -> None:
        kind = type(process)
        assert re.search(r"https?://|arXiv:\d", kind.__doc__ or ""), f"{kind.__name__} names no reference"
        assert sys.modules[kind.__module__].__doc__
        assert kind.bound in ("tight", "loose", "none")
        assert kind.state in ("ids", "simplex")


def in_random_order(many: int) -> torch.Tensor:
    """Return the midpoints of as many equal parts of (0, 1), float64, in an order that is always the same."""
    points = (torch.arange(many, dtype=torch.float64) + 0.5) / many
    return points[torch.randperm(many, generator=torch.Generator().manual_seed(0))]


BOUNDED = [process for process in variants() if process.bound != "none"]


def test_every_process_with_a_bound_is_weighed() -> None:
    kinds = {type(process) for process in BOUNDED}
    assert kinds == {PROCESSES[name] for name in PROCESSES if PROCESSES[name].bound != "none"}
    assert {PROCESSES["mask"], PROCESSES["uniform"]} <= kinds


@pytest.mark.parametrize("process", BOUNDED, ids=lambda p: str(p.params))
def test_weights_make_an_unbiased_estimate(process: Process) -> None:
    """Guessing costs ln K a token, whatever κ and ν: weight × loss of a flat head averages to it."""
    many, length = 20_000, 4
    batch = lay_rows([[(i, [1] * length)] for i in range(many)], length)
    levels = ((torch.arange(many, dtype=torch.float64) + 0.5) / many)[
        torch.randperm(many, generator=torch.Generator().manual_seed(0))
    ]
    for measure in ("t", "level"):
        t = levels if measure == "t" else process.time_of_level(levels)
        out = corrupt(process, batch, t, measure=measure)
        index = (out.weight > 0).flatten().nonzero().squeeze(1)
        rows = Rows.of(out, batch.x_1, index)
        loss = bound_of(process, out, "leave_one_out").loss or cross_entropy
        flat = torch.zeros(len(index), K, dtype=torch.float64)
        # The very last times have huge weights and next to no noise: their share is cut, as in training.
        weight = out.weight if out.importance is None else out.weight * out.importance
        total = (weight.flatten()[index] * loss(flat, rows)).clamp(max=1e3).sum() / many
        assert float(total) == pytest.approx(length * math.log(K), rel=0.06)


@pytest.mark.parametrize("process", BOUNDED, ids=lambda p: str(p.params))
@pytest.mark.parametrize("choice", ["bernoulli", "exact_count"])
def test_an_evaluators_levels(process: Process, choice: Choice) -> None:
    """Whatever the choice: the same fields, given tokens untouched, packing without a say, an unbiased estimate."""

    def at(batch: Batch, level: torch.Tensor) -> Corrupted:
        draws = draws_of(batch, 3, 0)
        return process.corrupt_level(
            batch.x_1, by_document(batch, level), batch.editable, batch.segments, draws, choice
        )

    packed, alone = at(PACKED, TIMES), at(ALONE, TIMES)
    assert isinstance(packed.x_t, torch.Tensor)
    assert torch.equal(packed.x_t[~PACKED.editable], PACKED.x_1[~PACKED.editable])
    importance = [torch.ones_like(o.t) if o.importance is None else o.importance for o in (packed, alone)]
    assert bool((importance[0] >= 0).all() & importance[0].isfinite().all())
    assert sites(PACKED, importance[0]) == sites(ALONE, importance[1])
    for name in ("x_t", "t", "weight", "noised", "noise_probability"):
        assert sites(PACKED, vars(packed)[name]) == sites(ALONE, vars(alone)[name]), name
    for level in (0.0, 1.0 - 1e-9):
        out = at(PACKED, torch.full_like(TIMES, level))
        assert bool((out.weight.float().isfinite() & (out.weight >= 0)).all())
    many, length = 20_000, 4
    batch = lay_rows([[(i, [1] * length)] for i in range(many)], length)
    out = at(
        batch,
        ((torch.arange(many, dtype=torch.float64) + 0.5) / many)[
            torch.randperm(many, generator=torch.Generator().manual_seed(0))
        ],
    )
    index = (out.weight > 0).flatten().nonzero().squeeze(1)
    loss = bound_of(process, out, "leave_one_out").loss or cross_entropy
    weight = out.weight if out.importance is None else out.weight * out.importance
    values = weight.flatten()[index] * loss(
        torch.zeros(len(index), K, dtype=torch.float64), Rows.of(out, batch.x_1, index)
    )
    assert float(values.clamp(max=1e3).sum() / many) == pytest.approx(length * math.log(K), rel=0.06)


def test_what_has_no_bound_has_no_counts() -> None:
    assert not any(process.counts for process in variants() if process.bound == "none")

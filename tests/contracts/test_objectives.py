"""What every objective owes its users. Parametrised over the registry: a new objective is tested by existing.

The gradient of a step is one thing, however its rows are split into micro-batches and ranks, padded or packed.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence

import pytest
import torch

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.errors import PairingError
from diffusionlm.model.transformer import Transformer
from diffusionlm.objective import OBJECTIVES, Objective, engine
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.noised import OfNoised
from diffusionlm.objective.rows import cross_entropy
from diffusionlm.process import PROCESSES, DiscreteProcess, Head, TimesParams, Vocabulary
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents
from tests.oracle.joint import Joint, OraclePredictor, random_joint
from tests.oracle.noises import discrete_evidence

DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6, 8], K)
ALONE = lay_rows([[document] for document in DOCUMENTS], 12, frozen=1)
PACKED = lay_rows([DOCUMENTS[:3], DOCUMENTS[3:5], DOCUMENTS[5:7], DOCUMENTS[7:]], 18, frozen=1)


def build(name: str, corruption: str = "bernoulli", **values: object) -> Objective:
    """Return an objective over the mask process, or over the first process that it can train."""
    params = OBJECTIVES[name].Params.model_validate(values)
    for other in sorted(PROCESSES, key=lambda p: p != "mask"):
        try:
            OBJECTIVES[name].check(PROCESSES[other])
        except PairingError:
            continue
        fields = PROCESSES[other].Params.model_fields
        given = {"corruption": corruption} if "corruption" in fields else {}
        process = PROCESSES.build(PROCESSES[other].Params.model_validate(given), VOCABULARY)
        return OBJECTIVES.build(params, process)
    raise AssertionError(f"no registered process can be trained with objective {name!r}")


def whole_rows(name: str) -> dict[str, object]:
    """Return parameters under which rows are not cut at random."""
    return (
        {"random_length_probability": 0.0}
        if "random_length_probability" in OBJECTIVES[name].Params.model_fields
        else {}
    )


def gradient(
    objective: Objective, parts: Sequence[Sequence[Batch]], model: Transformer, step: int = 0
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and gradient of a step whose rows lie in the micro-batches of several ranks, in order."""
    model.zero_grad()
    rows = sum(len(batch) for rank in parts for batch in rank)
    first, prepared = 0, []
    for batch in (batch for rank in parts for batch in rank):
        prepared.append(prepare(objective, batch, 0, step, torch.arange(first, first + len(batch)), rows))
        first += len(batch)
    # What an all-reduce over the ranks gives: sums of numerators, of denominators and of gradients.
    denominator = torch.stack([part.denominator for part in prepared]).sum().clamp_min(1)
    total = 0.0
    for part in prepared:
        loss = loss_sum(model, part).total / denominator
        loss.backward()
        total += float(loss.detach())
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_equal(one: tuple[float, dict], other: tuple[float, dict], tolerance: float = 1e-11) -> None:
    assert one[0] == pytest.approx(other[0], rel=tolerance)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        assert torch.allclose(one[1][name], other[1][name], atol=tolerance), name


def cut(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [batch.rows(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def widen(batch: Batch, columns: int) -> Batch:
    """Return the rows with padding after them."""
    fields = {k: torch.nn.functional.pad(v, (0, columns)) for k, v in vars(batch).items()}
    return Batch(**fields)


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("name", OBJECTIVES)
class TestEveryObjective:
    @pytest.mark.parametrize("sizes", [(4, 4), (1,) * 8, (7, 1), (3, 3, 2)])
    def test_the_gradient_does_not_depend_on_the_micro_batches(self, name: str, corruption: str, sizes: tuple) -> None:
        objective, model = build(name, corruption), network()
        assert_equal(gradient(objective, [[ALONE]], model), gradient(objective, [cut(ALONE, sizes)], model))

    def test_nor_on_the_ranks(self, name: str, corruption: str) -> None:
        objective, model = build(name, corruption), network()
        ranks = [cut(half, (2, 2)) for half in cut(ALONE, (4, 4))]
        assert_equal(gradient(objective, [[ALONE]], model), gradient(objective, ranks, model))

    @pytest.mark.parametrize("columns", [1, 9])
    def test_nor_on_the_padding(self, name: str, corruption: str, columns: int) -> None:
        objective, model = build(name, corruption, **whole_rows(name)), network()
        assert_equal(gradient(objective, [[ALONE]], model), gradient(objective, [[widen(ALONE, columns)]], model))

    def test_nor_on_rows_of_padding(self, name: str, corruption: str) -> None:
        shared = TimesParams(per="batch")  # otherwise one more row moves the lattice of times
        objective, model = build(name, corruption, times=shared, **whole_rows(name)), network()
        empty = Batch(**{k: torch.zeros_like(v[:1]) for k, v in vars(ALONE).items()})
        longer = concatenate([ALONE, empty])
        assert_equal(gradient(objective, [[ALONE]], model), gradient(objective, [cut(longer, (8, 1))], model))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
    def test_nor_on_the_packing(self, name: str, corruption: str, dtype: torch.dtype, monkeypatch) -> None:
        """The same documents at the same times, one to a row or end to end."""
        objective, model = build(name, corruption, **whole_rows(name)), network(dtype=dtype)
        times = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)
        found = []
        for batch in (ALONE, PACKED):
            monkeypatch.setattr(engine, "draw_times", lambda *arguments, batch=batch: times[batch.document])
            found.append(gradient(objective, [[batch]], model))
        assert_equal(*found, tolerance=1e-5 if dtype == torch.float32 else 1e-11)

    def test_steps_differ_and_repeat(self, name: str, corruption: str) -> None:
        objective, model = build(name, corruption), network()
        first, again, next_one = (gradient(objective, [[ALONE]], model, step) for step in (0, 0, 1))
        assert_equal(first, again, 1e-15)
        assert (first[0] != next_one[0]) == objective.process.random

    def test_given_tokens_and_padding_are_never_scored(self, name: str, corruption: str) -> None:
        objective = build(name, corruption)
        for step in range(10):
            part = prepare(objective, PACKED, 0, step, torch.arange(4), 4)
            for one in part.passes:
                assert bool(PACKED.editable.flatten()[one.rows.index].all())
                assert torch.equal(one.rows.x, PACKED.x_1.flatten()[one.rows.index])
                assert bool((one.weight[: one.scored] > 0).all())
                assert float(one.weight[one.scored :].abs().sum()) == 0.0

    def test_a_step_without_anything_to_score(self, name: str, corruption: str) -> None:
        everything_given = lay_rows([[document] for document in DOCUMENTS], 12, frozen=12)
        loss, found = gradient(build(name, corruption), [[everything_given]], network())
        assert loss == 0.0
        assert all(float(g.abs().sum()) == 0.0 for g in found.values())

    def test_is_documented(self, name: str, corruption: str) -> None:
        del corruption
        objective = OBJECTIVES[name]
        assert re.search(r"https?://|arXiv:\d", objective.__doc__ or ""), f"{objective.__name__} names no reference"
        assert sys.modules[objective.__module__].__doc__
        assert objective.head in ("posterior", "leave_one_out")


def pairs() -> list[tuple[str, str, str]]:
    """Return every objective with every discrete process that it can train, as (objective, process, corruption)."""
    made = []
    for name in OBJECTIVES:
        for other in PROCESSES:
            if PROCESSES[other].state != "ids" or OBJECTIVES[name].refusal(PROCESSES[other]) is not None:
                continue
            both = "corruption" in PROCESSES[other].Params.model_fields
            made += [(name, other, way) for way in (("bernoulli", "exact_count") if both else ("bernoulli",))]
    return made


def paired(name: str, other: str, corruption: str, vocabulary: Vocabulary, **values: object) -> Objective:
    """Return an objective over a process of the given vocabulary."""
    fields = PROCESSES[other].Params.model_fields
    given = {"corruption": corruption} if "corruption" in fields else {}
    process = PROCESSES.build(PROCESSES[other].Params.model_validate(given), vocabulary)
    return OBJECTIVES.build(OBJECTIVES[name].Params.model_validate({**values, **whole_rows(name)}), process)


PAIRS = pairs()


def guess_is_known(name: str, other: str) -> bool:
    """Return whether guessing costs ln K: not for a loose bound, nor where a kept token speaks for itself."""
    objective, kind = OBJECTIVES[name], PROCESSES[other]
    is_loose = objective.is_bound and objective.tightness(kind) == "loose"
    return not is_loose and not (issubclass(objective, OfNoised) and kind.bound == "none")


def converts(name: str, other: str) -> bool:
    """Return whether the other head fixes this one: not where a visible token is certain, nor without evidence."""
    is_certain = PROCESSES[other].bound_form == "ce" and name == "ce_all"
    return PROCESSES[other].has_evidence and not is_certain


GUESSED = [pair for pair in PAIRS if guess_is_known(*pair[:2])]
CONVERTED = [pair for pair in PAIRS if converts(*pair[:2])]


@pytest.mark.parametrize("chosen", [GUESSED, CONVERTED], ids=["guessed", "converted"])
def test_what_is_left_out_is_the_exception(chosen: list[tuple[str, str, str]]) -> None:
    """Every objective, and every kind of noise that has a bound and evidence, is still there."""
    usual = [pair for pair in PAIRS if PROCESSES[pair[1]].has_evidence and PROCESSES[pair[1]].bound != "none"]
    for place in range(2):
        assert {pair[place] for pair in usual} <= {pair[place] for pair in chosen}
    assert {"mask", "uniform"} <= {other for _, other, _ in chosen}
    assert len(PAIRS) / 2 < len(chosen) < len(PAIRS)


class TestEveryPair:
    @pytest.mark.parametrize(("name", "other", "corruption"), GUESSED)
    def test_guessing_costs_the_logarithm_of_the_vocabulary(self, name: str, other: str, corruption: str) -> None:
        """So that the loss is in nats per token, whatever is scored and weighed."""
        objective = paired(name, other, corruption, VOCABULARY, times=TimesParams(epsilon=1e-4))
        rows = 8000
        documents = random_documents([6] * rows, K)
        batch = lay_rows([[document] for document in documents], 6)
        part = prepare(objective, batch, 0, 0, torch.arange(rows), rows)
        total = 0.0
        for one in part.passes:
            flat = torch.zeros(len(one.weight), K, dtype=torch.float64)
            total += float((one.weight * (one.loss or cross_entropy)(flat, one.rows)).sum())
        assert total / float(part.denominator) == pytest.approx(objective.scale * math.log(K), rel=0.08)

    @pytest.mark.parametrize(("name", "other", "corruption"), PAIRS)
    def test_the_declared_head_is_the_minimum(self, name: str, other: str, corruption: str) -> None:
        """On a joint whose posteriors are known: the slope is zero there, and every other head costs more."""
        self.check_minimum(name, other, corruption, None)

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "other", "corruption"), CONVERTED)
    def test_so_is_the_other_head_that_is_converted(self, name: str, other: str, corruption: str) -> None:
        """A network declared to predict the other head is trained towards that one."""
        heads: dict[Head, Head] = {"posterior": "leave_one_out", "leave_one_out": "posterior"}
        self.check_minimum(name, other, corruption, heads[OBJECTIVES[name].head])

    def check_minimum(self, name: str, other: str, corruption: str, head: Head | None) -> None:
        joint = random_joint(3, 2, seed=0)
        loss_at = joint_loss(name, other, corruption, joint, head)
        for seed in range(2):
            bend = torch.zeros((), dtype=torch.float64, requires_grad=True)
            loss = loss_at(bend, seed)
            (slope,) = torch.autograd.grad(loss, bend)
            away = [float(loss_at(torch.tensor(b, dtype=torch.float64), seed).detach()) for b in (-0.3, 0.3)]
            curvature = sum(away) - 2 * float(loss.detach())
            assert min(away) > float(loss.detach())
            # A parabola's bottom, in units of the bend: not more than sampling noise away from the exact head.
            assert abs(float(slope)) * 0.09 / curvature < 0.03


MASKING = {"prefix": 0.4, "suffix": 0.5, "spans": 0.5, "span_lengths": (2, 3)}


# Spans belong to noise that takes positions one by one, which autoregression has none of.
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "ar"])
class TestEveryObjectiveWithCorruptionModes:
    """The same promises where documents get prefixes, lose their ends and are noised in spans."""

    def test_the_gradient_does_not_depend_on_micro_batches_and_padding(self, name: str) -> None:
        objective, model = build(name, masking=MASKING, **whole_rows(name)), network()
        whole = gradient(objective, [[ALONE]], model, step=1)
        assert_equal(whole, gradient(objective, [cut(ALONE, (3, 3, 2))], model, step=1))
        assert_equal(whole, gradient(objective, [[widen(ALONE, 5)]], model, step=1))

    def test_nor_on_the_packing(self, name: str, monkeypatch) -> None:
        objective, model = build(name, masking=MASKING, **whole_rows(name)), network()
        times = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)
        found = []
        for batch in (ALONE, PACKED):
            monkeypatch.setattr(engine, "draw_times", lambda *arguments, batch=batch: times[batch.document])
            found.append(gradient(objective, [[batch]], model, step=1))
        assert_equal(*found)


def joint_loss(
    name: str, other: str, corruption: str, joint: Joint, head: Head | None
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return (bend, seed) → the objective's loss on every sequence of a joint, in proportion to its probability."""
    from tests.diffusionlm.objective.heads import BentOracle

    # Where the number of noised tokens is drawn first, a time is not a thing to choose, and shares vary more.
    whole = corruption == "exact_count" and PROCESSES[other].bound_form == "dense"
    counts = (joint.flat() * (40_000 if whole else 10_000)).round().long()
    x = joint.sequences().repeat_interleave(counts, 0)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    batch = lay_rows([[(i, row)] for i, row in enumerate(x[order].tolist())], joint.length)
    vocabulary = Vocabulary.after(joint.vocabulary)
    # The minimum is the same at every t; the ends, whose weights are huge, only add noise.
    times = TimesParams(t_range=(0.0, 1.0) if whole else (0.25, 0.75))
    objective = paired(name, other, corruption, vocabulary, times=times, head=head)
    part = prepare(objective, batch, 0, 0, torch.arange(len(batch)), len(batch))
    evidence = None
    if isinstance(objective.process, DiscreteProcess):
        evidence = discrete_evidence(objective.process, joint)
    oracle = OraclePredictor(joint, evidence, objective.network_head)
    exact = oracle.probabilities(part.corrupted.x_t, part.corrupted.t)

    def loss(bend: torch.Tensor, seed: int) -> torch.Tensor:
        return loss_sum(BentOracle(joint, bend, seed, exact), part).total / part.denominator

    return loss


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_process_that_cannot_be_trained_is_refused(name: str) -> None:
    mask = PROCESSES["mask"]
    simplex = type("Other", (mask,), {"state": "simplex", "Params": mask.Params})
    if "simplex" in OBJECTIVES[name].states:
        OBJECTIVES[name].check(simplex)
    else:
        with pytest.raises(PairingError, match=f"objective '{name}' needs states that are token ids"):
            OBJECTIVES[name].check(simplex)
    unbounded = type("Other", (mask,), {"bound": "none", "Params": mask.Params})
    if OBJECTIVES[name].is_bound:
        with pytest.raises(PairingError, match="has no likelihood bound"):
            OBJECTIVES[name].check(unbounded)
    else:
        OBJECTIVES[name].check(unbounded)

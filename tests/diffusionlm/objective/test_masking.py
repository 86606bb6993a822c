"""Corruption modes: exact marginals at every position, decisions per document, schedules exact at their boundaries."""

import functools

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.errors import PairingError
from diffusionlm.objective import CE, NELBO
from diffusionlm.objective.ce import CEParams
from diffusionlm.objective.engine import prepare
from diffusionlm.objective.masking import MaskingParams, OverSteps, apply_masking
from diffusionlm.objective.nelbo import NELBOParams
from diffusionlm.process import PROCESSES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.process.selection import STREAM
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

LENGTH = 10


def masking(**values) -> MaskingParams:
    return MaskingParams.model_validate(values)


@functools.cache
def many(documents: int, length: int = LENGTH, frozen: int = 0):
    return lay_rows([[(i, [1] * length)] for i in range(documents)], length, frozen)


def applied(params: MaskingParams, batch, step: int = 0):
    return apply_masking(params, batch.segments, batch.frozen, draws_of(batch, 5, step))


class TestSchedules:
    def test_a_bare_number_is_a_constant(self):
        assert masking(prefix=0.25).prefix == OverSteps(value=0.25)
        assert [masking(prefix=0.25).prefix.at(step) for step in (0, 10**9)] == [0.25, 0.25]
        assert masking(prefix=1).prefix.at(3) == 1.0

    def test_a_ramp(self):
        ramp = OverSteps(value=0.4, ramp_steps=100)
        assert [ramp.at(s) for s in (0, 1, 50, 99, 100, 101)] == pytest.approx([0, 0.004, 0.2, 0.396, 0.4, 0.4])

    def test_phases_begin_at_their_steps(self):
        phased = OverSteps(value=0.1, phases=((5, 0.2), (8, 0.0)))
        assert [phased.at(step) for step in range(10)] == [0.1] * 5 + [0.2] * 3 + [0.0] * 2
        lengths = masking(span_lengths=[2], span_length_phases=[[3, [4, 8]], [5, [16]]])
        assert [lengths.lengths_at(step) for step in range(6)] == [(2,)] * 3 + [(4, 8)] * 2 + [(16,)]

    def test_never(self):
        assert MaskingParams().never
        assert masking(prefix={"phases": [[10, 0.0]]}).never
        assert not masking(spans={"phases": [[10, 0.1]]}).never

    @pytest.mark.parametrize(
        "values",
        [
            {"prefix": 1.5},
            {"prefix": {"value": 0.1, "ramp_steps": 5, "phases": [[1, 0.2]]}},
            {"suffix": {"phases": [[5, 0.2], [5, 0.3]]}},
            {"span_lengths": []},
            {"span_lengths": [0]},
            {"span_length_phases": [[1, []]]},
            {"span_length_phases": [[4, [2]], [3, [2]]]},
            {"prefix": True},
        ],
    )
    def test_refused(self, values):
        with pytest.raises(ValidationError):
            masking(**values)

    def test_nothing_is_touched_at_a_step_where_all_are_zero(self):
        batch, params = many(3), masking(prefix={"phases": [[1, 1.0]]}, spans={"value": 1.0, "ramp_steps": 10})
        segments, frozen, draws = applied(params, batch, step=0)
        assert segments is batch.segments
        assert frozen is batch.frozen
        assert type(draws).__name__ == "Draws"
        assert bool(applied(params, batch, step=1)[1].any())


class TestPrefix:
    def test_its_length_is_uniform(self):
        batch = many(20_000, frozen=2)
        segments, frozen, _ = applied(masking(prefix=1.0), batch)
        assert torch.equal(segments, batch.segments)
        n = frozen.sum(1) - 2
        assert bool((frozen.long().diff(dim=1) <= 0).all())
        counts = torch.bincount(n)
        assert counts[0] == 0
        assert counts.numel() == LENGTH - 2  # 0 … L − 1 of the 8 editable ones
        expected = 20_000 / 7
        assert float(((counts[1:] - expected) ** 2 / expected).sum()) < 25  # 6 degrees of freedom

    def test_its_probability(self):
        _, frozen, _ = applied(masking(prefix=0.3), many(20_000))
        assert float(frozen.any(1).double().mean()) == pytest.approx(0.3, abs=0.013)

    def test_it_is_neither_noised_nor_scored(self):
        batch = many(50)
        objective = CE(CEParams(masking=masking(prefix=1.0)), MaskProcess(MaskParams(), Vocabulary.after(3)))
        part = prepare(objective, batch, 0, 0, torch.arange(50), 50)
        assert bool((part.corrupted.editable.sum(1) < LENGTH).all())
        assert not bool(part.corrupted.editable[:, 0].any())
        assert not bool((part.corrupted.noised & ~part.corrupted.editable).any())

    def test_one_token_is_never_all_given(self):
        assert not bool(applied(masking(prefix=1.0), many(30, length=1))[1].any())


class TestSuffix:
    def test_where_it_cuts(self):
        batch = many(20_000, frozen=2)
        segments, frozen, _ = applied(masking(suffix=1.0), batch)
        assert torch.equal(frozen, batch.frozen)
        kept = (segments > 0).sum(1)
        assert bool((segments.diff(dim=1) <= 0).all())
        counts = torch.bincount(kept, minlength=LENGTH + 1)
        assert counts[:3].tolist() == [0, 0, 0]
        assert counts[LENGTH] == 0
        expected = 20_000 / 7
        assert float(((counts[3:LENGTH] - expected) ** 2 / expected).sum()) < 25

    def test_not_where_a_prefix_was_drawn(self):
        segments, frozen, _ = applied(masking(prefix=0.5, suffix=0.5), many(20_000))
        given, cut = frozen.any(1), (segments == 0).any(1)
        assert not bool((given & cut).any())
        assert float(cut.double().mean()) == pytest.approx(0.25, abs=0.013)

    def test_what_is_cut_is_padding(self):
        objective = NELBO(NELBOParams(masking=masking(suffix=1.0)), MaskProcess(MaskParams(), Vocabulary.after(3)))
        part = prepare(objective, many(20), 0, 0, torch.arange(20), 20)
        layout = part.passes[0].view.layout
        assert layout.segments is not None
        assert int((layout.segments > 0).sum()) == int(part.denominator) < 200


class TestSpans:
    @pytest.mark.parametrize("size", [1, 2, 4, 8, 25])
    def test_the_marginal_is_exact_at_every_position(self, size):
        """The edges included, and where the document is shorter than a span."""
        number = 20_000
        _, _, draws = applied(masking(spans=1.0, span_lengths=[size]), many(number))
        u = draws.uniform(STREAM)
        for p in (0.02, 0.1, 0.5, 0.9):
            share = (u < p).double().mean(0)
            assert bool(((share - p).abs() < 4.5 * (p * (1 - p) / number) ** 0.5).all()), share

    def test_the_law_of_two_neighbours(self):
        """Both are clean iff none of the b + 1 windows over them is noise."""
        size, kappa = 4, 0.4
        _, _, draws = applied(masking(spans=1.0, span_lengths=[size]), many(20_000))
        clean = draws.uniform(STREAM) >= 1 - kappa
        both = (clean[:, 1:] & clean[:, :-1]).double().mean(0)
        assert both.numpy() == pytest.approx(kappa ** ((size + 1) / size), abs=0.016)

    @pytest.mark.parametrize("name", ["mask", "uniform", "mixture"])
    def test_every_process_keeps_its_marginal(self, name):
        process = PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(3))
        batch, kappa = many(20_000), 0.35
        _, _, draws = applied(masking(spans=1.0, span_lengths=[2, 8]), batch)
        t = torch.full(batch.x_1.shape, kappa, dtype=torch.float64)
        out = process.corrupt(batch.x_1, t, batch.editable, batch.segments, draws)
        assert out.noised.double().mean(0).numpy() == pytest.approx(1 - kappa, abs=0.016)

    def test_other_documents_keep_their_numbers(self):
        batch = many(2000)
        _, _, draws = applied(masking(spans=0.3, span_lengths=[4]), batch)
        same = (draws.uniform(STREAM) == draws_of(batch, 5).uniform(STREAM)).all(1)
        assert float(same.double().mean()) == pytest.approx(0.7, abs=0.05)
        assert torch.equal(draws.uniform("corrupt/token"), draws_of(batch, 5).uniform("corrupt/token"))

    def test_exact_counts_are_refused_with_them(self):
        process = MaskProcess(MaskParams(corruption="exact_count"), Vocabulary.after(3))
        NELBO(NELBOParams(masking=masking(prefix=0.5)), process)
        with pytest.raises(PairingError, match=r'set process.corruption = "bernoulli"'):
            NELBO(NELBOParams(masking=masking(spans=0.1)), process)


DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6, 8] * 5, 7)
DOCUMENTS = [(i, tokens) for i, (_, tokens) in enumerate(DOCUMENTS)]


def by_site(batch, values: torch.Tensor) -> dict:
    flat = zip(
        batch.document.flatten().tolist(), batch.positions.flatten().tolist(), values.flatten().tolist(), strict=True
    )
    return {(d, p): v for (d, p, v), s in zip(flat, batch.segments.flatten().tolist(), strict=True) if s > 0}


@pytest.mark.parametrize("mode", ["prefix", "suffix", "spans"])
def test_packing_changes_no_decision(mode):
    alone = lay_rows([[document] for document in DOCUMENTS], 12, frozen=1)
    packed = lay_rows([DOCUMENTS[i : i + 4] for i in range(0, 40, 4)], 30, frozen=1)
    params, found = masking(**{mode: 0.6}), []
    for batch in (alone, packed, packed.rows(3, 7)):
        segments, frozen, draws = applied(params, batch, step=2)
        sites = (segments > 0).double() + 2 * frozen + 4 * draws.uniform(STREAM)
        found.append(by_site(batch, sites))
    assert found[0] == found[1]
    assert found[2].items() <= found[0].items()


def test_the_bound_is_not_reported_with_them():
    process = MaskProcess(MaskParams(), Vocabulary.after(3))
    assert NELBO(NELBOParams(), process).reports_bound
    for mode in ("prefix", "suffix", "spans"):
        assert not NELBO(NELBOParams(masking=masking(**{mode: 0.1})), process).reports_bound

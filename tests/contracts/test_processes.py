"""What every process owes its users. Parametrised over the registry: a new process is tested by existing."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.process import PROCESSES, SCHEDULES, Process, Vocabulary
from diffusionlm.process.base import Corrupted
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
            for schedule in schedules:
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


TIMES = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)


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
        assert bool((out.weight[~out.noised] == 0).all())
        if process.bound != "none":
            assert bool((out.weight[out.noised] > 0).all())
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
        order = torch.tensor([4, 2, 6, 0, 1, 3, 5])
        mixed = concatenate([ALONE.rows(int(i), int(i) + 1) for i in order])
        assert torch.equal(corrupt(process, mixed, TIMES).x_t, alone.x_t[order])
        assert torch.equal(corrupt(process, ALONE.rows(2, 3), TIMES).x_t, alone.x_t[2:3])

    def test_steps_bring_new_noise(self, process: Process) -> None:
        states = {tuple(corrupt(process, ALONE, TIMES, step).x_t.flatten().tolist()) for step in range(10)}
        assert len(states) == 10

    def test_the_start_state_knows_nothing_of_the_text(self, process: Process) -> None:
        other = torch.where(PACKED.editable, (PACKED.x_1 + 3) % K, PACKED.x_1)
        starts = [process.source(x, PACKED.editable, draws_of(PACKED)) for x in (PACKED.x_1, other)]
        assert torch.equal(starts[0], starts[1])
        nothing = torch.zeros(len(DOCUMENTS), dtype=torch.float64)
        at_zero = [
            process.corrupt(x, by_document(PACKED, nothing), PACKED.editable, PACKED.segments, draws_of(PACKED)).x_t
            for x in (PACKED.x_1, other)
        ]
        assert torch.equal(at_zero[0], at_zero[1])

    @pytest.mark.parametrize("time", [0.2, 0.75])
    def test_the_marginal_at_every_position(self, process: Process, time: float) -> None:
        """q_t(z | x) = κ·1[z = x] + noise, edges of a document and of a row included."""
        many, length = 4000, 6
        batch = lay_rows([[(i, [2] * length), (i + many, [2] * length)] for i in range(many)], 2 * length)
        # Exact counts take their number from the time: uniform times make every count equally likely.
        exact = "exact_count" in str(process.params)
        k = float(process.schedule.kappa(torch.tensor(time, dtype=torch.float64)))
        t = torch.full((2 * many,), time, dtype=torch.float64)
        if exact:
            t = (torch.arange(2 * many, dtype=torch.float64) % many + 0.5) / many
        out = corrupt(process, batch, t)
        share = out.noised.double().mean(0)
        expected = (length + 1) / (2 * length) if exact else 1 - k
        error = (expected * (1 - expected) / many) ** 0.5
        assert float((share - expected).abs().max()) < 4.5 * error, share
        assert torch.equal(process.is_noise(out.x_t), out.noised) or process.bound != "tight"

    def test_weights_make_an_unbiased_estimate(self, process: Process) -> None:
        """An absorbing process's weights add up to one per token on average, whatever κ: ∫ c·(1 − κ) dt = 1."""
        if process.bound == "none" or not bool(process.is_noise(torch.tensor([[VOCABULARY.mask_id]])).all()):
            pytest.skip("not an absorbing process")
        many, length = 20_000, 4
        batch = lay_rows([[(i, [1] * length)] for i in range(many)], length)
        levels = ((torch.arange(many, dtype=torch.float64) + 0.5) / many)[torch.randperm(many)]
        for measure in ("t", "level"):
            t = levels if measure == "t" else process.schedule.inverse(levels)
            # The very last times have huge weights and next to no noise: their share is cut, as in training.
            total = corrupt(process, batch, t, measure=measure).weight.clamp(max=1e3).sum(1).mean()
            assert float(total) == pytest.approx(length, rel=0.06)

    def test_is_documented(self, process: Process) -> None:
        kind = type(process)
        assert re.search(r"https?://|arXiv:\d", kind.__doc__ or ""), f"{kind.__name__} names no reference"
        assert sys.modules[kind.__module__].__doc__
        assert kind.bound in ("tight", "loose", "none")
        assert kind.state in ("ids", "simplex")

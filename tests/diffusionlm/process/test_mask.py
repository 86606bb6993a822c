"""The absorbing process: its two ways to mask, its weights, its source."""

import pytest
import torch

from diffusionlm.process import MaskProcess, Vocabulary
from diffusionlm.process.base import Measure
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

VOCABULARY = Vocabulary(size=9, mask_id=10, rows=12)
BATCH = lay_rows([random_documents([6, 10], 9)], 20)


def process(**values) -> MaskProcess:
    return MaskProcess(MaskParams.model_validate(values), VOCABULARY)


def corrupt(made: MaskProcess, t: float, step: int = 0, measure: Measure = "t"):
    times = torch.full(BATCH.x_1.shape, t, dtype=torch.float64)
    return made.corrupt(BATCH.x_1, times, BATCH.editable, BATCH.segments, draws_of(BATCH, step=step), measure)


def test_masked_means_the_mask_token():
    out = corrupt(process(), 0.5)
    assert bool((out.x_t[out.noised] == 10).all())
    assert torch.equal(out.x_t[~out.noised], BATCH.x_1[~out.noised])
    assert 0 < int(out.noised.sum()) < 16


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
def test_at_time_zero_everything_is_masked(corruption):
    out = corrupt(process(corruption=corruption), 0.0)
    assert torch.equal(out.noised, BATCH.editable)
    assert torch.equal(out.x_t, process().source(BATCH.x_1, BATCH.editable, draws_of(BATCH)))


@pytest.mark.parametrize(
    ("schedule", "rate"), [("linear", 1 / 0.6), ("quadratic", 2 / 0.6), ("polynomial", 3 * 0.4**2 / (1 - 0.4**3))]
)
def test_the_weight_is_the_jump_rate(schedule, rate):
    out = corrupt(process(schedule={"name": schedule}), 0.4)
    assert torch.allclose(out.weight[out.noised], torch.tensor(rate, dtype=torch.float64))
    uniform_in_kappa = corrupt(process(schedule={"name": schedule}), 0.4, measure="level")
    remaining = process(schedule={"name": schedule}).schedule.remaining(torch.tensor(0.4, dtype=torch.float64))
    assert torch.allclose(uniform_in_kappa.weight[out.noised], 1 / remaining)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("measure", ["t", "level"])
def test_exact_counts_carry_their_weight_and_time(schedule, measure):
    made = process(schedule={"name": schedule}, corruption="exact_count")
    t = 0.55
    k = t if measure == "t" else float(made.schedule.kappa(torch.tensor(t, dtype=torch.float64)))
    out = corrupt(made, t, measure=measure)
    for length, site in ((6, slice(0, 6)), (10, slice(6, 16))):
        n = 1 + int(length * (1 - k))
        assert int(out.noised[0, site].sum()) == n
        weights = out.weight[0, site][out.noised[0, site]]
        assert torch.allclose(weights, torch.tensor(length / n, dtype=torch.float64))
        assert torch.allclose(made.schedule.kappa(out.t[0, site]), torch.tensor(1 - n / length, dtype=torch.float64))
        assert torch.allclose(out.noise_probability[0, site], torch.tensor(n / length, dtype=torch.float64))


def test_only_the_mask_token_is_noise():
    assert process().is_noise(torch.tensor([0, 9, 10, 11])).tolist() == [False, False, True, False]

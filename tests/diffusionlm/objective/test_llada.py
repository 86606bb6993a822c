"""LLaDA's loss: p_mask never below ε, weights 1/p_mask, and one row in a hundred cut short."""

import pytest
import torch

from diffusionlm.objective import LLaDA
from diffusionlm.objective.engine import prepare
from diffusionlm.objective.llada import LLaDAParams
from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.process.batches import draws_of, lay_rows

T = torch.linspace(0, 1, 11, dtype=torch.float64)


def llada(schedule: str = "linear", **values) -> LLaDA:
    params = MaskParams.model_validate({"schedule": {"name": schedule}})
    return LLaDA(LLaDAParams.model_validate(values), MaskProcess(params, Vocabulary.after(5)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.2])
def test_the_masking_probability(schedule, epsilon):
    objective = llada(schedule, epsilon=epsilon)
    made = objective.process.schedule.remaining(objective.clock(T))
    assert torch.allclose(made, (1 - epsilon) * objective.process.schedule.remaining(T) + epsilon, atol=1e-12)


def test_weights_are_one_over_the_probability():
    batch = lay_rows([[(i, [1, 2, 3, 4] * 4)] for i in range(40)], 16)
    part = prepare(llada(random_length_probability=0.0), batch, 0, 0, torch.arange(40), 40)
    one = part.passes[0]
    probability = part.corrupted.noise_probability.flatten()[one.rows.index]
    assert torch.allclose(one.weight[: one.scored], 1 / probability[: one.scored])
    assert int(part.denominator) == 640


def test_rows_are_cut_to_every_length():
    many, length = 3000, 8
    batch = lay_rows([[(i, [1] * length)] for i in range(many)], length)
    cut = llada(random_length_probability=1.0).crop(batch.segments, draws_of(batch))
    kept = (cut > 0).sum(1)
    assert bool((cut[:, 0] == 1).all())
    assert bool((cut.diff(dim=1) <= 0).all())
    counts = torch.bincount(kept, minlength=length + 1)[1:].double()
    assert float(((counts - many / length) ** 2 / (many / length)).sum()) < 30  # 7 degrees of freedom


def test_one_row_in_a_hundred():
    many = 20_000
    batch = lay_rows([[(i, [1] * 2)] for i in range(many)], 2)
    cut = llada(random_length_probability=0.1).crop(batch.segments, draws_of(batch))
    assert float((cut[:, 1] == 0).double().mean()) == pytest.approx(0.05, abs=0.006)
    assert LLaDAParams().random_length_probability == 0.01
    assert llada(random_length_probability=0.0).crop(batch.segments, draws_of(batch)) is batch.segments


def test_what_is_cut_away_is_padding():
    batch = lay_rows([[(i, [1, 2, 3, 4] * 4)] for i in range(20)], 16)
    part = prepare(llada(random_length_probability=1.0), batch, 0, 0, torch.arange(20), 20)
    layout = part.passes[0].view.layout
    assert layout.segments is not None
    away = layout.segments == 0
    assert 0 < int(away.sum()) == 320 - int(part.denominator)
    assert not bool((part.corrupted.noised & away).any())

"""The shared engine: gathered rows, rounded up without changing the loss."""

import pytest
import torch

from diffusionlm.objective import CE, engine
from diffusionlm.objective.ce import CEParams
from diffusionlm.objective.engine import gather_scored, loss_sum, prepare
from diffusionlm.process import MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.model.networks import K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents


def test_small_batches_are_not_rounded_up():
    chosen = torch.tensor([[True, False], [True, True]])
    rows, weight, scored = gather_scored(chosen, torch.tensor([[0.5, 9.0], [1.5, 2.5]]))
    assert rows.tolist() == [0, 2, 3]
    assert weight.tolist() == [0.5, 1.5, 2.5]
    assert scored == 3


@pytest.mark.parametrize("number", [0, 1, 256, 257])
def test_large_ones_are_with_repeats_of_the_first(number):
    chosen = torch.zeros(8, 256, dtype=torch.bool)
    chosen.view(-1)[5 : 5 + number] = True
    rows, weight, scored = gather_scored(chosen, torch.full(chosen.shape, 3.0))
    assert scored == number
    assert weight.tolist() == [3.0] * number + [0.0] * (len(rows) - number)
    assert len(rows) == {0: 0, 1: 256, 256: 256, 257: 512}[number]
    assert rows[:number].tolist() == list(range(5, 5 + number))
    assert bool((rows[number:] == 5).all())


def test_a_given_time_is_that_of_every_position_and_noises_by_the_same_numbers():
    batch = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)]], 16)
    objective = CE(CEParams(), MaskProcess(MaskParams(), Vocabulary.after(K)))
    low, high = (prepare(objective, batch, 0, 3, torch.arange(2), 2, time) for time in (0.3, 0.8))
    assert bool((low.corrupted.t == 0.3).all())
    assert low.corrupted.t.dtype == torch.float64
    assert low.corrupted.noised.sum() > high.corrupted.noised.sum() > 0
    assert bool((low.corrupted.noised | ~high.corrupted.noised).all())


def test_rounding_up_does_not_change_the_loss_or_its_gradient(monkeypatch):
    batch = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)]], 16)
    objective, found = CE(CEParams(), MaskProcess(MaskParams(), Vocabulary.after(K))), []
    for multiple in (1, 4):  # 4 · 8 rows are as many as the batch has
        monkeypatch.setattr(engine, "ROW_MULTIPLE", multiple)
        model = network()
        part = prepare(objective, batch, 0, 2, torch.arange(2), 2)
        made = loss_sum(model, part)
        made.total.backward()
        found.append((len(part.passes[0].columns), made, [p.grad for p in model.parameters()]))
    assert found[0][0] < found[1][0]
    assert found[1][0] % 4 == 0
    assert torch.allclose(found[0][1].total, found[1][1].total, atol=1e-12)
    assert torch.allclose(found[0][1].values, found[1][1].values)
    for one, other in zip(found[0][2], found[1][2], strict=True):
        assert torch.allclose(one, other, atol=1e-12)

"""Context-adaptive weights against the direct sum over pairs, and within documents alone."""

import pytest
import torch

from diffusionlm.objective import CART
from diffusionlm.objective.cart import CARTParams, context_weight
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import MaskProcess, TimesParams, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.model.networks import K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

PROCESS = MaskProcess(MaskParams(), Vocabulary.after(K))


def direct(clean: torch.Tensor, segments: torch.Tensor, p: float) -> torch.Tensor:
    """Return the weights by the formula, pair by pair."""
    length = clean.shape[1]
    distance = (torch.arange(length)[:, None] - torch.arange(length)[None]).abs()
    law = torch.where(distance > 0, p * (1 - p) ** (distance - 1).double(), 0.0)
    same = segments[:, :, None] == segments[:, None, :]
    return (law * same * clean[:, None, :]).sum(-1) / 2


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.95])
def test_they_are_the_sum_over_pairs(length, p):
    generator = torch.Generator().manual_seed(length)
    clean = torch.rand(6, length, generator=generator) < 0.5
    segments = (torch.rand(6, length, generator=generator) < 0.1).long().cumsum(1) + 1
    assert torch.allclose(context_weight(clean, segments, p), direct(clean, segments, p), atol=1e-14)


def test_inside_clean_text_a_token_counts_one_and_alone_nothing():
    ones = torch.ones(1, 401, dtype=torch.int64)
    assert float(context_weight(ones.bool(), ones, 0.3)[0, 200]) == pytest.approx(1.0)
    assert float(context_weight(ones.bool(), ones, 0.3)[0, 0]) == pytest.approx(0.5)
    assert float(context_weight(~ones.bool(), ones, 0.3).abs().sum()) == 0.0


def test_documents_and_padding_do_not_see_one_another():
    segments = torch.tensor([[1, 1, 2, 2, 2, 0, 0]])
    clean = torch.tensor([[True, True, False, False, False, False, False]])
    weight = context_weight(clean, segments, 0.3)
    assert weight[0, 2:].tolist() == [0.0] * 5
    assert weight[0, :2].tolist() == pytest.approx([0.15, 0.15])


@pytest.mark.parametrize("times", [TimesParams(), TimesParams(law="importance", density=(1.0, 2.0))], ids=["", "law"])
def test_the_loss_is_the_weighted_mean(times):
    batch = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)], [(3, [2] * 16)]], 16, frozen=2)
    objective, model = CART(CARTParams(times=times), PROCESS), network()
    part = prepare(objective, batch, 0, 1, torch.arange(3), 3)
    noised = part.corrupted.noised
    weight = direct((batch.segments > 0) & ~noised, batch.segments, 0.3)
    if part.corrupted.importance is not None:
        weight = weight * part.corrupted.importance
    logits = model.logits(model(part.corrupted.x_t, None, part.passes[0].view.layout))
    loss = torch.nn.functional.cross_entropy(logits[noised], batch.x_1[noised], reduction="none")
    expected = (weight[noised] * loss).sum() / weight[noised].sum()
    assert torch.allclose(loss_sum(model, part).total / part.denominator, expected)
    assert not objective.reports_bound


def test_where_nothing_is_clean_nothing_is_scored():
    batch = lay_rows([[(i, [1] * 8)] for i in range(4)], 8)
    objective = CART(CARTParams(times=TimesParams(t_range=(0.0, 1e-9))), PROCESS)
    part = prepare(objective, batch, 0, 0, torch.arange(4), 4)
    assert (part.passes[0].scored, float(part.denominator)) == (0, 0.0)

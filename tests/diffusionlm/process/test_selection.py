"""Which positions are noised: exact counts per segment in packed rows, uniform subsets, Bernoulli marginals."""

import itertools
import math

import pytest
import torch

from diffusionlm.process.selection import bernoulli, document_counts, exact_count
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

ROWS = [
    random_documents([5, 1, 7], 9),
    [(3, [1] * 13)],
    [(4, [2]), (5, [3])],
    [(number, [1]) for number in range(6, 22)],
]
BATCH = lay_rows(ROWS, 16)


def test_counts_by_segment():
    counts = document_counts(BATCH.editable, BATCH.segments)
    assert counts[0].tolist() == [5] * 5 + [1] + [7] * 7 + [0] * 3
    assert counts[3].tolist() == [1] * 16
    frozen = lay_rows(ROWS[:1], 16, frozen=1)
    assert document_counts(frozen.editable, frozen.segments)[0].tolist() == [4] * 5 + [0] + [6] * 7 + [0] * 3


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("frozen", [0, 2])
def test_the_count_is_exact_in_every_segment(step, frozen):
    batch = lay_rows(ROWS, 16, frozen=frozen)
    u = (torch.arange(4)[:, None] * 0.3 + batch.segments * 0.17 + 0.05 * step) % 1.0
    chosen, n = exact_count(u.double(), batch.editable, batch.segments, draws_of(batch, step=step))
    assert not bool((chosen & ~batch.editable).any())
    for b in range(4):
        for segment in range(1, int(batch.segments[b].max()) + 1):
            here = batch.segments[b] == segment
            length = int((here & batch.editable[b]).sum())
            wanted = min(1 + math.floor(length * float(u[b][here][0])), length)
            assert int(chosen[b][here].sum()) == wanted
            assert bool((n[b][here] == wanted).all())
    assert bool((n[batch.segments == 0] == 0).all())


def test_every_subset_of_a_size_is_equally_likely():
    many = 6000
    batch = lay_rows([[(i, [0] * 2), (i + many, [0] * 5)] for i in range(many)], 8)
    chosen, n = exact_count(
        torch.full((many, 8), 0.3, dtype=torch.float64), batch.editable, batch.segments, draws_of(batch)
    )
    assert int(n[0, 3]) == 2
    code = (chosen[:, 2:7] * 2 ** torch.arange(5)).sum(1)
    subsets = [sum(2**i for i in pair) for pair in itertools.combinations(range(5), 2)]
    counts = torch.bincount(code, minlength=32)
    assert int(counts[subsets].sum()) == many
    assert float(((counts[subsets] - 600.0) ** 2 / 600).sum()) < 35  # 9 degrees of freedom


def test_bernoulli_has_its_probability_at_every_position():
    many = 8000
    batch = lay_rows([[(i, [0] * 6)] for i in range(many)], 8, frozen=1)
    probability = torch.linspace(0.05, 0.95, 8, dtype=torch.float64)
    chosen = bernoulli(probability.expand(many, 8), batch.editable, draws_of(batch))
    share = chosen.double().mean(0)
    assert float(share[0]) == float(share[6:].sum()) == 0.0
    expected = probability[1:6]
    error = (expected * (1 - expected) / many).sqrt()
    assert bool(((share[1:6] - expected).abs() < 4 * error).all())
    assert abs(float(torch.corrcoef(chosen[:, 1:6].double().T).fill_diagonal_(0).abs().max())) < 0.05

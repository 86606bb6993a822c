"""The race by its winners: distinct fair names, order statistics of exponentials, and what the rest's mean loses."""

from __future__ import annotations

import math

import pytest
import torch

from diffusionlm.process.simplex.logit import LogitProcess
from diffusionlm.process.simplex.top_k import embed_top_k, names, next_prime, race
from tests.diffusionlm.process.simplex.points import build, draws, states

MANY = 4000


def keys(many: int) -> torch.Tensor:
    """Return (many, 2) int32 keys of as many sites."""
    return draws(many).entry_keys("test").flatten(0, 1)


@pytest.mark.parametrize(("number", "expected"), [(0, 2), (2, 2), (3, 3), (4, 5), (24, 29), (90, 97), (50256, 50261)])
def test_primes(number: int, expected: int) -> None:
    assert next_prime(number) == expected


@pytest.mark.parametrize(("size", "number"), [(3, 1), (4, 2), (8, 6), (25, 20), (27, 5), (50_257, 128)])
def test_names_are_distinct_and_never_the_clean_one(size: int, number: int) -> None:
    clean = torch.arange(MANY) % size
    found = names(keys(MANY), clean, number, size)
    assert found.shape == (MANY, number)
    assert int(found.min()) >= 0
    assert int(found.max()) < size
    assert not bool((found == clean[:, None]).any())
    ordered = found.sort(1).values
    assert bool((ordered.diff(dim=1) > 0).all())


@pytest.mark.parametrize("size", [4, 8, 27])
def test_every_name_is_as_likely_in_every_place(size: int) -> None:
    """χ² over the names of the first winner and of the second, to about five standard deviations."""
    clean = torch.zeros(20_000, dtype=torch.int64)
    found, cells = names(keys(20_000), clean, 2, size), size - 1
    for place in range(2):
        counts = torch.bincount(found[:, place], minlength=size)[1:].double()
        expected = 20_000 / cells
        assert float(((counts - expected) ** 2 / expected).sum()) < cells - 1 + 5 * math.sqrt(2 * cells)


def dense_weights(process: LogitProcess, level: torch.Tensor, many: int) -> torch.Tensor:
    """Return (many, V) posteriors of independent full races with clean token 0, by torch's own exponentials."""
    size = process.vocabulary.size
    generator = torch.Generator().manual_seed(5)
    dense = torch.empty(many, size, dtype=torch.float64).exponential_(generator=generator)
    dense[:, 0] *= level[0].exp()
    return process.weights(dense, level[:1].expand(many))


@pytest.mark.parametrize("t", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("number", [16, 100])
def test_the_truncation_error_is_the_weight_of_the_rest(number: int, t: float) -> None:
    """Against full races: the clean entry's and the largest winner's mean weight agree, and Σw² misses Σ_rest w².

    With the identity as the table Σw² is the squared length of the embedding; the rest's mean keeps (Σ_rest w)²/V of
    its Σ_rest w².
    """
    size = 300
    process = build("logit", size, embedding="top_k", top_k=number)
    assert isinstance(process, LogitProcess)
    clean = torch.zeros(MANY, dtype=torch.int64)
    noisy = states(process, t, clean)
    weights, found = race(process, noisy, number, clean)
    assert found.shape == (MANY, number)
    assert torch.allclose(weights.sum(1), torch.ones(MANY, dtype=torch.float64))
    dense = dense_weights(process, noisy.level, MANY)
    others = dense[:, 1:].sort(1, descending=True).values

    def agree(fast: torch.Tensor, full: torch.Tensor, less: float = 0.0) -> None:
        error = math.sqrt(float(fast.var() + full.var()) / MANY)
        assert float(fast.mean()) == pytest.approx(float(full.mean()) - less, abs=4.5 * error + 1e-9)

    agree(weights[:, 0], dense[:, 0])
    agree(weights[:, 1], others[:, 0])
    agree(weights[:, number], others[:, number - 1])
    agree(weights[:, -1], others[:, number:].sum(1))
    lost = others[:, number:].square().sum(1) - others[:, number:].sum(1).square() / size
    embedded = noisy.embed(torch.eye(size + 1, size, dtype=torch.float64))[:, 0]
    mean_share = weights[:, -1:] / size
    inner = torch.cat((weights[:, :1], weights[:, 1:-1]), 1)
    squared = inner.square().sum(1) + 2 * (inner * mean_share).sum(1) + size * mean_share.square().squeeze(1)
    assert torch.allclose(embedded.square().sum(1), squared, atol=1e-12)
    cross = 2 * (1.0 - others[:, number:].sum(1)) * others[:, number:].sum(1) / size
    agree(squared, dense.square().sum(1), float((lost - cross).mean()))


def test_winners_are_the_order_statistics_of_exponentials() -> None:
    """At t = 0 all weights are 1/V; at a small time ln w is linear in E, so the largest E has mean H_{V−1}."""
    size, number = 30, 5
    process = build("logit", size, embedding="top_k", top_k=number)
    assert isinstance(process, LogitProcess)
    clean = torch.zeros(MANY, dtype=torch.int64)
    weights, _ = race(process, states(process, 0.0, clean), number, clean)
    assert torch.allclose(weights[:, :-1], torch.full_like(weights[:, :-1], 1 / size))
    assert torch.allclose(weights[:, -1], torch.full((MANY,), (size - 1 - number) / size, dtype=torch.float64))
    # E_(1) − E_(2) of N exponentials is Exp(1), and E_(1) has mean H_N: read off weights just after the start.
    noisy = states(process, 1e-4, clean)
    weights, _ = race(process, noisy, number, clean)
    slope = float(size * -torch.expm1(-noisy.level[0]))
    first, second = (weights[:, place].log() / slope for place in (1, 2))
    own = weights[:, 0].log() / slope
    harmonic = sum(1 / k for k in range(1, size))
    # In units of ΣE/V, which is 1 on average.
    assert float((first - own).mean() * size) == pytest.approx(harmonic - 1.0, rel=0.05)
    assert float((first - second).mean() * size) == pytest.approx(1.0, rel=0.06)


def test_without_a_rest_there_is_nothing_to_leave_out() -> None:
    process = build("logit", 5, embedding="top_k", top_k=4)
    assert isinstance(process, LogitProcess)
    with pytest.raises(AssertionError, match="leave no rest"):
        embed_top_k(process, states(process, 0.5, torch.arange(3)), torch.eye(6, dtype=torch.float64))

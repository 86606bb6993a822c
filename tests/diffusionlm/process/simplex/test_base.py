"""What every process on the simplex has in common: names of tokens do not matter, noise comes in any tiling, ends."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.process.simplex.base import FlowProcess
from diffusionlm.rng import Draws
from tests.diffusionlm.process.simplex.points import SIMPLEX, build, draws, levels, points, states, times

V = 7
TOKENS = torch.arange(40) % V


def spread(process: FlowProcess, many: int, seed: int = 0) -> torch.Tensor:
    """Return (many, V) float64 posteriors, some of them nearly certain."""
    size = process.vocabulary.size
    generator = torch.Generator().manual_seed(seed)
    return (4.0 * torch.randn(many, size, generator=generator, dtype=torch.float64)).softmax(1)


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_renaming_the_tokens_renames_the_answers(name: str, t: float) -> None:
    """New token j is old token order[j]: noise, state, evidence, weights, embedding and step come with it."""
    process, level = build(name, V), levels(build(name, V), t, 40)
    order = torch.randperm(V, generator=torch.Generator().manual_seed(3))
    columns = torch.cat((order, torch.arange(V, process.entries)))  # a mask entry keeps its name
    renamed = order.argsort()[TOKENS]
    noise = -torch.rand(40, process.entries, generator=torch.Generator().manual_seed(4), dtype=torch.float64).log()
    old = process.noisy(noise.clone(), TOKENS, level)
    new = process.noisy(noise[:, columns].contiguous(), renamed, level)
    assert torch.allclose(new, old[:, columns], atol=1e-12)
    assert torch.allclose(process.evidence(new.clone(), level), process.evidence(old.clone(), level)[:, order])
    weights = process.weights(old.clone(), level)
    assert torch.allclose(process.weights(new.clone(), level), weights[:, columns], atol=1e-12)
    table = torch.randn(process.entries, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    site, renamed_table = TOKENS[:, None], table[columns]
    noisy = site >= 0
    one = process.shown(old[:, None], times(t, 40), site, noisy).embed(table)
    two = process.shown(new[:, None], times(t, 40), renamed[:, None], noisy).embed(renamed_table)
    assert torch.allclose(one, two, atol=1e-12)
    if isinstance(process, FlowProcess):
        p, later = spread(process, 40), levels(process, min(1.0, t + 0.2), 40)
        step = process.advance(old.clone(), p, level, later)
        assert torch.allclose(process.advance(new.clone(), p[:, order], level, later), step[:, columns], atol=1e-12)


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 3, 300])
def test_the_ends_of_time_and_of_the_vocabulary_are_finite(name: str, dtype: torch.dtype, size: int) -> None:
    process, x = build(name, size), torch.arange(300) % size
    assert process.entries == size + (name == "logit_mask")
    for t in (0.0, 1e-300, 1e-9, 0.5, 1.0 - 1e-9, 1.0):
        at, level = points(process, t, x, dtype=dtype), levels(process, t, 300)
        assert level.dtype == torch.float64
        assert at.dtype == dtype
        assert at.shape == (300, process.entries)
        assert bool((at >= 0).all())
        evidence, weights = process.evidence(at.clone(), level), process.weights(at.clone(), level)
        assert evidence.dtype == weights.dtype == dtype
        assert evidence.shape == (300, size)
        for value in (at, evidence, weights):
            assert bool(value.isfinite().all()), t
        if t == 0.0:
            assert torch.allclose(evidence.softmax(1), torch.full_like(evidence, 1 / size), atol=1e-6), "noise is mute"
        if isinstance(process, FlowProcess):
            for u in {t, 1.0}:
                moved = process.advance(at.clone(), spread(process, 300).to(dtype), level, levels(process, u, 300))
                assert moved.dtype == dtype
                assert bool(moved.isfinite().all())
                assert bool(process.evidence(moved, levels(process, u, 300)).isfinite().all())


@pytest.mark.parametrize("name", SIMPLEX)
def test_the_clock_starts_at_noise_and_rises(name: str) -> None:
    process, t = build(name, V), torch.linspace(0, 1, 33, dtype=torch.float64)
    level = process.level(t)
    assert float(level[0]) == (1.0 if name == "dirichlet" else 0.0)
    assert bool((level.diff() > 0).all()) or name == "one_shot"
    assert torch.equal(process.schedule.kappa(t), t)


@pytest.mark.parametrize("name", SIMPLEX)
def test_corrupting(name: str) -> None:
    """Only editable positions are noisy, each counts once, and no token of the text is noise for certain."""
    process, x = build(name, V), TOKENS.view(8, 5)
    editable = x > 1
    site = torch.arange(40).view(8, 5)
    numbers = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site))
    t = torch.rand(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = process.corrupt(x, t, editable, torch.ones_like(x), numbers)
    assert torch.equal(out.editable, editable)
    assert torch.equal(out.noised, editable)
    assert torch.equal(out.weight, editable.double())
    assert out.noise is None
    assert torch.equal(out.t, t if name != "one_shot" else torch.zeros_like(t))
    assert not bool(process.is_noise(x).any())
    assert not isinstance(out.x_t, torch.Tensor)
    assert out.x_t.shape == (8, 5)


@pytest.mark.parametrize("name", SIMPLEX)
def test_a_samplers_coordinates_embed_as_the_state_that_they_came_from(name: str) -> None:
    process = build(name, V)
    state = states(process, 0.6, TOKENS)
    table = torch.randn(V + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coordinates = process.dense(state, torch.float64)
    before = coordinates.clone()
    shown = process.shown(coordinates, times(0.6, 40), state.given, state.noisy)
    assert torch.allclose(shown.embed(table), state.embed(table), atol=1e-12)
    rows = torch.tensor([3, 0, 17])
    assert torch.allclose(shown.evidence(rows, torch.float64), state.evidence(rows, torch.float64))
    assert torch.equal(coordinates, before), "embedding and evidence leave a sampler's memory alone"


@pytest.mark.parametrize("name", SIMPLEX)
def test_the_start_and_its_display(name: str) -> None:
    """The start has one point a position; what is displayed of it is its likeliest token, given tokens stay."""
    process, x = build(name, V), TOKENS[:, None]
    start = process.start(draws(40))
    assert start.shape == (40, 1, process.entries)
    assert start.dtype == torch.float32
    assert process.start(draws(40), torch.float64).dtype == torch.float64
    editable = x > 2
    shown = process.source(x, editable, draws(40))
    assert torch.equal(shown[~editable], x[~editable])
    assert torch.equal(shown[editable], start[:, :, :V].argmax(-1)[editable])
    assert len(start[:, 0, :V].argmax(-1).unique()) == V

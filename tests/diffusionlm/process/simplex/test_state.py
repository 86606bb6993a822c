"""A state of a batch: the same noise in any tiling, exact gradients, and never a (B, T, V) tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffusionlm.process.simplex import mixing, state
from diffusionlm.process.simplex.state import CHUNK_ELEMENTS, chunk_sites, slice_sites
from diffusionlm.rng import Draws, entry_uniforms
from tests.diffusionlm.process.simplex.points import SIMPLEX, build, states

V = 6
TOKENS = torch.arange(50) % V
TABLE = torch.randn(V + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def tilings() -> list[list[slice | torch.Tensor]]:
    """Return the 50 sites one by one, in uneven tiles, and by index in two halves."""
    sites = torch.arange(50)
    return [
        [slice(i, i + 1) for i in range(50)],
        [slice(0, 7), slice(7, 41), slice(41, 50)],
        [sites[:25], sites[25:]],
    ]


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiling_does_not_change_the_noise(name: str, dtype: torch.dtype) -> None:
    """The uniforms bit for bit; what is made of them to rounding, which may depend on a place in a register."""
    noisy = states(build(name, V), 0.4, TOKENS)
    assert noisy.keys is not None
    uniforms = entry_uniforms(noisy.keys, noisy.process.entries, dtype)
    whole, order = noisy.coordinates(slice(0, 50), dtype), torch.arange(49, -1, -1)
    close = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 0.0}
    assert torch.allclose(noisy.coordinates(order, dtype), whole[order], **close)
    for tiles in tilings():
        parts = [entry_uniforms(noisy.keys[tile], noisy.process.entries, dtype) for tile in tiles]
        assert torch.equal(torch.cat(parts), uniforms)
        assert torch.allclose(torch.cat([noisy.coordinates(tile, dtype) for tile in tiles]), whole, **close)


@pytest.mark.parametrize("name", SIMPLEX)
def test_the_size_of_the_tiles_does_not_change_what_is_embedded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy, rows = states(build(name, V), 0.4, TOKENS), torch.tensor([4, 49, 0, 7, 8, 9])
    found = []
    for sites in (1, 3, 50):
        for module in (mixing, state):
            monkeypatch.setattr(module, "slice_sites", lambda entries, sites=sites: sites)
        monkeypatch.setattr(mixing, "chunk_sites", lambda many, entries, sites=sites: sites + 1)
        found.append((noisy.embed(TABLE), noisy.evidence(rows, torch.float64)))
    for embedded, evidence in found[1:]:
        assert torch.allclose(embedded, found[0][0], atol=1e-13)
        assert torch.allclose(evidence, found[0][1], rtol=1e-13)


@pytest.mark.parametrize("name", SIMPLEX)
def test_rows_of_a_batch_alone_have_the_same_noise(name: str) -> None:
    process, x = build(name, V), TOKENS.view(10, 5)
    site = torch.arange(50).view(10, 5)
    t = torch.linspace(0, 1, 50, dtype=torch.float64).view(10, 5)

    def made(rows: slice) -> torch.Tensor:
        part = Draws(7, 3, site[rows], torch.zeros_like(site[rows]), torch.zeros_like(site[rows]))
        return process.dense(process.state_of(x[rows], t[rows], x[rows] >= 0, part, "test"))

    assert torch.equal(torch.cat((made(slice(0, 3)), made(slice(3, 10)))), made(slice(0, 10)))


@pytest.mark.parametrize("name", [*SIMPLEX, "top_k"])
def test_the_gradient_in_the_table_is_that_of_finite_differences(name: str) -> None:
    """The embedding is linear in the table, so a difference quotient is exact: checked entry by entry."""
    process = build("logit", V, embedding="top_k", top_k=2) if name == "top_k" else build(name, V)
    x = TOKENS[:12].view(4, 3)
    site = torch.arange(12).view(4, 3)
    numbers = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site))
    t = torch.linspace(0.1, 0.9, 12, dtype=torch.float64).view(4, 3)
    noisy = process.state_of(x, t, x > 1, numbers, "test")
    assert torch.autograd.gradcheck(noisy.embed, TABLE.clone().requires_grad_(), atol=1e-8)


class Sizes(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **({} if kwargs is None else kwargs))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel())
        return out


@pytest.mark.parametrize("name", ["logit", "logit_updated", "logit_mask", "one_shot", "top_k"])
def test_a_large_vocabulary_never_has_all_its_points_at_once(name: str) -> None:
    """Forward and backward of 120 sites at V = 50 257; a (B, T, V) tensor would be 6 million numbers."""
    size, many = 50_257, 120
    process = build("logit", size, embedding="top_k") if name == "top_k" else build(name, size)
    x = torch.arange(many) * 401 % size
    table = torch.randn(size + 1, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with Sizes() as sizes:
        embedded = states(process, 0.8, x).embed(table)
        embedded.square().sum().backward()
    assert 2 * size <= sizes.largest <= max(CHUNK_ELEMENTS, 2 * (size + 1)) < many * size
    assert table.grad is not None
    assert bool(table.grad.isfinite().all())
    assert bool(embedded.isfinite().all())
    if name == "top_k":
        assert sizes.largest == 2 * (size + 1), "nothing but the table is as long as the vocabulary"


@pytest.mark.parametrize("entries", [2, 257, 50_257, 10**7])
def test_tiles_are_bounded(entries: int) -> None:
    assert chunk_sites(10**6, entries) * entries <= max(CHUNK_ELEMENTS, 8 * entries)
    assert chunk_sites(10**6, entries) >= 8
    assert chunk_sites(3, 10) >= 3
    assert slice_sites(entries) >= 1
    assert slice_sites(entries) * entries <= max(1 << 17, entries)

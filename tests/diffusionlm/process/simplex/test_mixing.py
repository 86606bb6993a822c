"""Mixtures by chunks against one dense product, and weights that are made again for the backward pass."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.process.simplex import mixing
from diffusionlm.process.simplex.mixing import mix

ENTRIES, SITES, WIDTH = 7, 23, 4
DENSE = torch.rand(SITES, ENTRIES, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
TABLE = torch.randn(ENTRIES, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Made:
    """Weights by the slice, and which sites were asked for."""

    def __init__(self) -> None:
        self.sites: list[int] = []

    def __call__(self, sites: slice, dtype: torch.dtype) -> torch.Tensor:
        self.sites += range(*sites.indices(SITES))
        return DENSE[sites].to(dtype)


@pytest.mark.parametrize(("chunk", "cached"), [(1, 1), (5, 2), (8, 100), (100, 3)])
def test_the_chunks_make_the_dense_product(chunk: int, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "chunk_sites", lambda sites, entries: chunk)
    monkeypatch.setattr(mixing, "slice_sites", lambda entries: cached)
    made, table = Made(), TABLE.clone().requires_grad_()
    out = mix(table, made, SITES)
    assert torch.allclose(out, DENSE @ TABLE, atol=1e-14)
    assert made.sites == list(range(SITES)), "each site once"
    direction = torch.randn(SITES, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out.backward(direction)
    assert made.sites == 2 * list(range(SITES)), "and once more, to go back"
    assert table.grad is not None
    assert torch.allclose(table.grad, DENSE.t() @ direction, atol=1e-13)
    assert torch.allclose(mixing.reference(TABLE, Made(), SITES), DENSE @ TABLE)


def test_without_gradients_nothing_is_kept() -> None:
    made, table = Made(), TABLE.clone().requires_grad_()
    with torch.no_grad():
        out = mix(table, made, SITES)
    assert not out.requires_grad
    assert made.sites == list(range(SITES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_that_of_the_table(dtype: torch.dtype) -> None:
    assert mix(TABLE.to(dtype), Made(), SITES).dtype == dtype

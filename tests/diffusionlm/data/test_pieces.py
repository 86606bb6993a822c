"""Compiled rows are the reference's rows, for every packing, number of shards and token type."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.data.batch import Batch
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.store import TokenStore
from tests.diffusionlm.data.doubles import addressed_store


def in_shards(store: TokenStore, documents: list[int]) -> TokenStore:
    """Return the store with its array cut where the named documents begin."""
    return TokenStore(
        np.split(store.arrays[0].astype(np.uint16), store.starts[documents]),
        store.starts,
        store.lengths,
        store.sizes,
        store.hashes,
        eos_id=store.eos_id,
        tokenizer_fingerprint=store.tokenizer_fingerprint,
    )


def check_equal(one: Batch, other: Batch) -> None:
    for field in fields(Batch):
        mine, theirs = vars(one)[field.name], vars(other)[field.name]
        assert mine.dtype == theirs.dtype, field.name
        assert torch.equal(mine, theirs), field.name


@pytest.mark.parametrize("packing", ["packed", "one_per_row"])
@given(
    lengths=st.lists(st.integers(2, 40), min_size=3, max_size=12),
    width=st.integers(1, 50),
    cuts=st.sets(st.integers(1, 2)),
    cap=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_compiled_rows_are_the_references(
    packing: str, lengths: list[int], width: int, cuts: set[int], cap: int
) -> None:
    whole = addressed_store(lengths)
    store = in_shards(whole, sorted(cuts))
    compiled = RowLoader(store, width, packing, 3, cap, compiled=True)  # type: ignore[arg-type]
    reference = RowLoader(store, width, packing, 3, cap, compiled=False)  # type: ignore[arg-type]
    unsplit = RowLoader(whole, width, packing, 3, cap, compiled=False)  # type: ignore[arg-type]
    rows = np.arange(2 * compiled.rows_per_epoch + 1)
    check_equal(compiled.batch(rows), reference.batch(rows))
    check_equal(compiled.batch(rows), unsplit.batch(rows))
    rows = np.arange(compiled.rows_in_order)
    check_equal(compiled.in_order(rows), reference.in_order(rows))

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.data.batch import Batch
from diffusionlm.data.rows import RowLoader
from tests.diffusionlm.data.doubles import addressed_store

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=12)


def epoch_of(loader: RowLoader, epoch: int) -> Batch:
    first = epoch * loader.rows_per_epoch
    return loader.batch(np.arange(first, first + loader.rows_per_epoch))


def pieces(batch: Batch) -> Iterator[tuple[int, np.ndarray, int, int, np.ndarray]]:
    """Yield (row, tokens, document, window, positions) of every segment, left to right."""
    for row in range(len(batch)):
        segments = batch.segments[row].numpy()
        for segment in range(1, segments.max() + 1):
            here = segments == segment
            assert here.any(), f"row {row} skips segment {segment}"
            document, window = batch.document[row][here].unique(), batch.window[row][here].unique()
            assert len(document) == len(window) == 1
            yield row, batch.x_1[row][here].numpy(), int(document), int(window), batch.positions[row][here].numpy()


def check_rows(batch: Batch) -> None:
    """What holds for every row of either packing."""
    for tensor in (batch.x_1, batch.segments, batch.positions, batch.document, batch.window):
        assert tensor.dtype == torch.int64
    assert batch.frozen.dtype == torch.bool
    assert not batch.frozen.any()
    for segments in batch.segments.numpy():
        used = int((segments > 0).sum())
        assert (segments[used:] == 0).all(), "padding only at the right"
        assert (np.diff(segments[:used]) >= 0).all(), "segments count upwards"
        assert used == 0 or segments[0] == 1
    for _, tokens, _, _, positions in pieces(batch):
        assert np.array_equal(positions, np.arange(len(tokens))), "positions begin at 0 in every segment"


@given(lengths=LENGTHS, width=st.integers(1, 50), seed=st.integers(0, 99), epoch=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_a_packed_epoch_holds_every_token_once_up_to_the_tail(
    lengths: list[int], width: int, seed: int, epoch: int
) -> None:
    store = addressed_store(lengths)
    loader = RowLoader(store, width, "packed", seed)
    n = store.n_tokens
    assert loader.rows_per_epoch == max(1, n // width)
    batch = epoch_of(loader, epoch)
    check_rows(batch)
    tokens = batch.x_1[batch.segments > 0].numpy()
    assert len(tokens) == len(set(tokens.tolist())) == (loader.rows_per_epoch * width if n >= width else n)

    ends = store.starts + store.lengths
    windows: dict[int, list[tuple[int, int]]] = {}
    previous_row, previous_end = -1, -1
    for row, piece, document, window, _ in pieces(batch):
        assert np.array_equal(piece, np.arange(piece[0], piece[0] + len(piece))), "a piece is consecutive"
        assert store.starts[document] <= piece[0]
        assert piece[-1] < ends[document]
        if row == previous_row:
            assert previous_end in ends, "a segment inside a row ends where its document ends"
            assert piece[0] == store.starts[document], "the next begins where its document begins"
        previous_row, previous_end = row, int(piece[-1]) + 1
        windows.setdefault(document, []).append((int(piece[0]), window))
    for found in windows.values():
        numbers = [window for _, window in sorted(found)]
        assert all(a < b for a, b in pairwise(numbers)), "windows of a document count upwards"
        assert numbers[0] >= 0


def test_nothing_is_left_out_for_ever() -> None:
    store = addressed_store([7, 20, 3, 3, 26])  # 59 tokens: 3 rows of 16 leave 11 out
    loader = RowLoader(store, 16, "packed", seed=1)
    seen: set[int] = set()
    left_out = set()
    for epoch in range(30):
        batch = epoch_of(loader, epoch)
        tokens = set(batch.x_1[batch.segments > 0].tolist())
        left_out.add(frozenset(range(59)) - tokens)
        seen |= tokens
    assert seen == set(range(59))
    assert all(len(tail) == 11 for tail in left_out)
    assert len(left_out) > 5, "other tokens are left out in other epochs"


def test_packed_rows_by_hand() -> None:
    """Unshuffled, documents of 3, 5 and 2 tokens in rows of 4: aaab bbbb cc.."""
    batch = RowLoader(addressed_store([3, 5, 2]), 4, "packed").in_order(np.arange(3))
    assert batch.x_1.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 10]]  # 10 is EOS, under padding
    assert batch.segments.tolist() == [[1, 1, 1, 2], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 0], [0, 1, 2, 3], [0, 1, 0, 0]]
    assert batch.document.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1], [2, 2, 0, 0]]
    assert batch.window.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert batch.editable.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]


def test_window_rows_by_hand() -> None:
    """Documents of 3, 9 and 4 tokens in rows of 4, two EOS at most: aaaE bbbb bbbb bEE. cccc."""
    loader = RowLoader(addressed_store([3, 9, 4]), 4, "one_per_row", eos_padding_cap=2)
    assert loader.rows_per_epoch == loader.rows_in_order == 5
    shuffled = epoch_of(loader, 0)
    batch = shuffled.rows(0, 5)
    order = sorted(range(5), key=lambda row: int(batch.x_1[row, 0]))
    assert batch.x_1[order].tolist() == [[0, 1, 2, 16], [3, 4, 5, 6], [7, 8, 9, 10], [11, 16, 16, 16], [12, 13, 14, 15]]
    assert batch.segments[order].tolist() == [[1] * 4, [1] * 4, [1] * 4, [1, 1, 1, 0], [1] * 4]
    assert batch.positions[order].tolist() == [[0, 1, 2, 3]] * 3 + [[0, 1, 2, 0], [0, 1, 2, 3]]
    assert batch.document[order].tolist() == [[0] * 4, [1] * 4, [1] * 4, [1, 1, 1, 0], [2] * 4]
    assert batch.window[order].tolist() == [[0] * 4, [0] * 4, [1] * 4, [2, 2, 2, 0], [0] * 4]


@given(lengths=LENGTHS, width=st.integers(1, 50), cap=st.integers(0, 20), epoch=st.integers(0, 2))
@settings(max_examples=80, deadline=None)
def test_one_per_row_holds_every_token_once(lengths: list[int], width: int, cap: int, epoch: int) -> None:
    store = addressed_store(lengths)
    loader = RowLoader(store, width, "one_per_row", seed=epoch, eos_padding_cap=cap)
    batch = epoch_of(loader, epoch)
    check_rows(batch)
    scored = batch.x_1[batch.segments > 0].numpy()
    assert sorted(scored[scored < store.n_tokens].tolist()) == list(range(store.n_tokens))
    for _, tokens, document, window, _ in pieces(batch):
        begin = store.starts[document] + window * width
        length = min(width, int(store.lengths[document]) - window * width)
        assert tokens[:length].tolist() == list(range(begin, begin + length))
        assert (tokens[length:] == store.eos_id).all()
        assert len(tokens) - length == min(width - length, cap)


@given(lengths=LENGTHS, width=st.integers(1, 50), packing=st.sampled_from(["packed", "one_per_row"]))
@settings(max_examples=60, deadline=None)
def test_in_order_holds_every_token_of_every_document_exactly_once(
    lengths: list[int], width: int, packing: str
) -> None:
    store = addressed_store(lengths)
    loader = RowLoader(store, width, packing, eos_padding_cap=5)
    batch = loader.in_order(np.arange(loader.rows_in_order))
    check_rows(batch)
    assert batch.x_1[batch.segments > 0].tolist() == list(range(store.n_tokens))
    assert (batch.segments[:-1] > 0).all() or packing == "one_per_row"


def test_in_order_outside_its_rows_is_a_fault() -> None:
    loader = RowLoader(addressed_store([5]), 4)
    with pytest.raises(AssertionError, match="must lie in"):
        loader.in_order(np.array([2]))


@given(
    lengths=LENGTHS,
    width=st.integers(1, 30),
    packing=st.sampled_from(["packed", "one_per_row"]),
    rows=st.lists(st.integers(0, 200), min_size=1, max_size=20),
)
@settings(max_examples=80, deadline=None)
def test_a_row_does_not_depend_on_the_batch_it_is_asked_in(
    lengths: list[int], width: int, packing: str, rows: list[int]
) -> None:
    store = addressed_store(lengths)
    together = RowLoader(store, width, packing, 3, 4).batch(np.array(rows))
    for place, row in enumerate(rows):
        alone = RowLoader(store, width, packing, 3, 4).batch(np.array([row]))
        for name, tensor in vars(alone).items():
            assert torch.equal(tensor[0], vars(together)[name][place]), name


def test_orders_differ_between_epochs_and_seeds_and_repeat_for_the_same() -> None:
    store = addressed_store([10] * 50)
    loader = RowLoader(store, 16, "packed", seed=5)
    first, second = epoch_of(loader, 0).x_1, epoch_of(loader, 1).x_1
    assert not torch.equal(first, second)
    assert not torch.equal(first, epoch_of(RowLoader(store, 16, "packed", seed=6), 0).x_1)
    assert torch.equal(first, epoch_of(RowLoader(store, 16, "packed", seed=5), 0).x_1)


@pytest.mark.parametrize("width", [5, 12, 13, 100])
def test_a_corpus_of_one_row_or_less_is_not_cut(width: int) -> None:
    """Documents of 5 and 7 tokens: where one row holds them all, each is one whole segment in every epoch."""
    loader = RowLoader(addressed_store([5, 7]), width, "packed")
    if width < 12:
        assert loader.rows_per_epoch == 2
        return
    assert loader.rows_per_epoch == 1
    for epoch in range(5):
        found = [(document, len(tokens), window) for _, tokens, document, window, _ in pieces(epoch_of(loader, epoch))]
        assert sorted(found) == [(0, 5, 0), (1, 7, 0)]


def test_one_document_of_exactly_one_row() -> None:
    for packing in ("packed", "one_per_row"):
        loader = RowLoader(addressed_store([8]), 8, packing, eos_padding_cap=3)
        batch = epoch_of(loader, 4)
        assert batch.x_1.tolist() == [list(range(8))]
        assert batch.segments.tolist() == [[1] * 8]


def test_documents_of_exactly_one_row_lose_nothing() -> None:
    loader = RowLoader(addressed_store([8] * 5), 8, "packed", seed=2)
    batch = epoch_of(loader, 1)
    assert sorted(batch.x_1.reshape(-1).tolist()) == list(range(40))


def test_cursor_and_epoch() -> None:
    loader = RowLoader(addressed_store([10] * 10), 10)
    assert loader.first_cursor == {"row": 0}
    assert loader.epoch({"row": 25}) == 2.5


@pytest.mark.slow
@pytest.mark.parametrize(("width", "rows"), [(64, 128), (256, 16), (1024, 16)])
def test_rows_are_made_faster_than_any_step_uses_them(width: int, rows: int) -> None:
    """Of documents of a web page's size, on one thread; a GPU of today trains on under a million tokens a second."""
    loader = RowLoader(addressed_store([700] * 5000), width, "packed")
    steps = loader.steps(loader.first_cursor, rows, 0, rows)
    next(steps)
    began, tokens = time.thread_time(), 0
    while time.thread_time() - began < 1.0:
        tokens += next(steps)[0].x_1.numel()
    assert tokens / (time.thread_time() - began) > 10e6

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.data.stream import stream
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, texts

EOS = 256


def loader(
    lengths: list[int], width: int = 8, packing: str = "packed", shuffle: int = 0, seed: int = 0, cap: int = 0
) -> StreamLoader:
    documents = ListDocuments(texts(lengths), streaming=True)
    return StreamLoader(documents, ByteTokenizer(), width, packing, seed, cap, shuffle)


def rows(one: StreamLoader, number: int) -> Batch:
    return next(one.steps(one.first_cursor, number, 0, number))[0]


def test_packed_rows_are_the_documents_end_to_end_over_epochs() -> None:
    lengths = [5, 20, 1, 9]
    batch = rows(loader(lengths), 12)
    line = [token for text in texts(lengths) for token in (*text, EOS)]
    assert batch.x_1.reshape(-1).tolist() == list(islice(line * 3, 96))
    # 5+1, 20+1, 1+1, 9+1 tokens: pieces 6 | 2, 8, 8, 3 | 2 | 3, 7 | ...
    assert batch.segments[0].tolist() == [1] * 6 + [2] * 2
    assert batch.document[:4].tolist() == [[0] * 6 + [1] * 2, [1] * 8, [1] * 8, [1] * 3 + [2] * 2 + [3] * 3]
    assert batch.window[:4].tolist() == [[0] * 8, [1] * 8, [2] * 8, [3] * 3 + [0] * 5]
    assert batch.positions[3].tolist() == [0, 1, 2, 0, 1, 0, 1, 2]


def test_one_per_row_windows_with_capped_eos() -> None:
    batch = rows(loader([2, 12], packing="one_per_row", cap=3), 3)
    first, second = texts([2, 12])
    assert batch.x_1.tolist() == [
        [*first, EOS, EOS, EOS, EOS, EOS, EOS],
        [*second[:8]],
        [*second[8:], EOS, EOS, EOS, EOS],
    ]
    assert batch.segments.tolist() == [[1] * 6 + [0] * 2, [1] * 8, [1] * 8]
    assert batch.window.tolist() == [[0] * 8, [0] * 8, [1] * 8]


@pytest.mark.parametrize("packing", ["packed", "one_per_row"])
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    width=st.integers(1, 20),
    shuffle=st.integers(0, 5),
    done=st.integers(0, 6),
)
@settings(max_examples=40, deadline=None)
def test_resuming_from_any_cursor_equals_going_on(
    packing: str, lengths: list[int], width: int, shuffle: int, done: int
) -> None:
    def open_loader() -> StreamLoader:
        return loader(lengths, width, packing, shuffle, seed=4, cap=2)

    unbroken = stream(open_loader(), None, 3, 2, prefetch=0)
    for _ in range(done):
        next(unbroken)
    resumed = stream(open_loader(), unbroken.cursor, 3, 2, prefetch=0)
    for _ in range(3):
        one, two = concatenate(next(unbroken)), concatenate(next(resumed))
        for name, tensor in vars(one).items():
            assert torch.equal(tensor, vars(two)[name]), name
        assert unbroken.cursor == resumed.cursor


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_put_together_are_the_step_of_one_process(world: int) -> None:
    def open_stream(rank: int, world: int):
        return stream(loader([5, 20, 1, 9, 33], shuffle=3), None, 6, 2, rank=rank, world=world, prefetch=1)

    whole, parts = open_stream(0, 1), [open_stream(rank, world) for rank in range(world)]
    for _ in range(5):
        one = concatenate(next(whole))
        two = concatenate([batch for part in parts for batch in next(part)])
        for name, tensor in vars(one).items():
            assert torch.equal(tensor, vars(two)[name]), name
    for each in (whole, *parts):
        each.close()


@pytest.mark.parametrize("shuffle", [2, 5, 100])
def test_an_epoch_holds_every_document_once_in_another_order(shuffle: int) -> None:
    lengths = list(range(1, 12))
    one = loader(lengths, width=12, packing="one_per_row", shuffle=shuffle, seed=2)
    first = rows(one, 11)
    epochs = rows(one, 22).document[:, 0]
    assert sorted(epochs[:11].tolist()) == sorted(epochs[11:].tolist()) == list(range(11))
    assert epochs[:11].tolist() != list(range(11))
    assert epochs[:11].tolist() != epochs[11:].tolist()
    for row, document in zip(first.x_1, first.document[:, 0].tolist()):
        text = texts(lengths)[document]
        assert row[: len(text)].tolist() == list(text), "the number belongs to the text, whatever the order"


def test_an_empty_stream_is_an_error_not_an_endless_loop() -> None:
    one = stream(loader([]), None, 2, 2, prefetch=1)
    with pytest.raises(DataError, match="the corpus is empty"):
        next(one)


def test_epoch() -> None:
    one = stream(loader([5]), None, 3, 3, prefetch=0)
    next(one)
    assert one.cursor == {"epoch": 3, "document": 1, "token": 0}  # 24 tokens are four times the one document
    assert loader([5]).epoch(one.cursor) == 3.0

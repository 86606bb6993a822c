from __future__ import annotations

import numpy as np
import pytest

from diffusionlm.data.store import TokenStore, store_in_memory
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, WideTokenizer, store_of, texts


def test_counts_and_documents() -> None:
    documents = texts([3, 10, 1])
    store = store_in_memory(ListDocuments([documents[0], b"", *documents[1:]]), ByteTokenizer())
    assert (store.n_documents, store.n_tokens, store.n_bytes) == (3, 17, 14)
    for index, document in enumerate(documents):
        assert store.document(index).tolist() == [*document, 256]
    assert store.eos_id == 256


def test_no_documents() -> None:
    with pytest.raises(DataError, match="the corpus is empty"):
        store_in_memory(ListDocuments([]), ByteTokenizer())


def test_several_arrays_are_one_line() -> None:
    whole = store_of([5, 9, 2, 30])
    cut = TokenStore(
        np.split(whole.arrays[0], [14]),
        whole.starts,
        whole.lengths,
        whole.sizes,
        whole.hashes,
        eos_id=256,
        tokenizer_fingerprint=whole.tokenizer_fingerprint,
    )
    runs = np.array([14, 0, 40, 5, 16, 45]), np.array([2, 5, 3, 9, 30, 1])
    assert np.array_equal(cut.gather(*runs), whole.gather(*runs))
    assert cut.gather(*runs).dtype == whole.gather(*runs).dtype == np.int64
    line = whole.arrays[0]
    assert whole.gather(*runs).tolist() == [*line[14:16], *line[:5], *line[40:43], *line[5:14], *line[16:46], line[45]]
    for index in range(4):
        assert np.array_equal(cut.document(index), whole.document(index))
    assert cut.fingerprint == whole.fingerprint


def test_select_keeps_documents_and_counts() -> None:
    store = store_of([5, 9, 2, 30])
    chosen = store.select(np.array([3, 1]))
    assert (chosen.n_documents, chosen.n_tokens, chosen.n_bytes) == (2, 39, 37)
    assert np.array_equal(chosen.document(0), store.document(3))
    assert np.array_equal(chosen.document(1), store.document(1))
    assert chosen.fingerprint != store.fingerprint
    assert store.select(store.lengths > 5).n_documents == 2
    assert store.select(slice(None)).fingerprint == store.fingerprint


def test_wide_vocabulary() -> None:
    store = store_in_memory(ListDocuments([b"ab"]), WideTokenizer(70_000))
    assert store.arrays[0].dtype == np.uint32
    assert store.gather(np.array([0]), np.array([3])).tolist() == [97, 98, 69_999]


def test_another_tokenizer_is_refused() -> None:
    store = store_of([4])
    store.check_tokenizer(ByteTokenizer(), "x")
    with pytest.raises(
        DataError, match=r"^shards 's' was made by another tokenizer .*; use the tokenizer it was made with"
    ):
        store.check_tokenizer(WideTokenizer(), "shards 's'")

"""Statistics against counts made the slow way, and rows against those that the loader makes."""

from collections import Counter

import numpy as np
import pytest

from diffusionlm.data import statistics
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.statistics import Rows, measure
from diffusionlm.data.store import store_in_memory
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, store_of

DOCUMENTS = [b"one", b"two two", b"one", "schön".encode(), b"bad \xff", "ö".encode()[:1], "ö".encode()[1:], b"x" * 40]
BYTES = ByteTokenizer()


@pytest.mark.parametrize("at_once", [1, 10, 1 << 20])
def test_counts_are_those_of_the_documents(at_once, monkeypatch):
    monkeypatch.setattr(statistics, "_TOKENS_AT_ONCE", at_once)
    told = []
    found = measure(store_in_memory(ListDocuments(DOCUMENTS), BYTES), BYTES, 16, 2, told.append)
    tokens = Counter(token for document in DOCUMENTS for token in [*document, BYTES.eos_id])
    assert (found.n_documents, found.n_bytes) == (8, sum(map(len, DOCUMENTS)))
    assert found.n_tokens == tokens.total() == found.counts.sum()
    assert {id: count for id, count in enumerate(found.counts.tolist()) if count} == tokens
    assert (found.copies, found.not_utf8) == (1, 3)  # the two halves of ö are no text, though together they are
    assert found.unused == BYTES.vocab_size - len(tokens)
    assert sum(told) == 8
    assert found.most_frequent(2) == sorted(tokens.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
    quantiles = found.length_quantiles()
    assert (quantiles["min"], quantiles["max"], quantiles["mean"]) == (2, 41, found.n_tokens / 8)


def test_without_a_tokenizer_there_are_ids_alone():
    found = measure(store_in_memory(ListDocuments(DOCUMENTS), BYTES), None, 16, 2)
    assert (found.not_utf8, found.vocab_size, found.unused) == (None, None, None)
    assert len(found.counts) == BYTES.eos_id + 1
    assert found.record()["tokens"] == found.n_tokens


@pytest.mark.parametrize("lengths", [[3], [16], [17], [5, 90, 2, 16, 33], [2] * 40])
@pytest.mark.parametrize("cap", [0, 3])
def test_rows_are_those_that_the_loader_makes(lengths, cap):
    store, width = store_of(lengths), 16
    rows = Rows.of(store.lengths, width, cap)
    packed = RowLoader(store, width, "packed", 0, cap)
    batch = packed.batch(np.arange(packed.rows_per_epoch))
    assert rows.packed == packed.rows_per_epoch
    assert rows.packed_padding == pytest.approx(float((batch.segments == 0).float().mean()))
    assert rows.packed_left_out == store.n_tokens - int((batch.segments > 0).sum())
    alone = RowLoader(store, width, "one_per_row", 0, cap)
    batch = alone.batch(np.arange(alone.rows_per_epoch))
    assert rows.windows == alone.rows_per_epoch
    assert rows.windows_padding == pytest.approx(float((batch.segments == 0).float().mean()))
    assert rows.windows_of_longest == int(batch.window.max()) + 1
    assert rows.in_one == sum(length <= width for length in lengths)

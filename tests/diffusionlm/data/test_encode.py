from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from diffusionlm.data.encode import content_fingerprint, encode_document, encode_documents, token_dtype
from diffusionlm.data.split import document_hash
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import WideTokenizer, texts


def test_every_document_ends_with_eos_and_special_text_stays_text() -> None:
    tokenizer = ByteTokenizer()
    tokens = encode_document(b"a<|endoftext|>", tokenizer)
    assert tokens.tolist() == [*b"a<|endoftext|>", tokenizer.eos_id]
    assert tokens.dtype == np.uint16


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "<u2"), (65536, "<u2"), (65537, "<u4"), (151936, "<u4")])
def test_dtype_is_the_smallest_that_holds_every_id(vocab_size: int, dtype: str) -> None:
    assert token_dtype(vocab_size) == np.dtype(dtype)
    assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1


def test_a_vocabulary_past_65535_keeps_its_ids() -> None:
    tokenizer = WideTokenizer(70_000)
    assert encode_document(b"ab", tokenizer).tolist() == [97, 98, 69_999]


def test_tables_describe_the_documents() -> None:
    documents = texts([3, 1, 2000, 7])
    (part,) = encode_documents(documents, ByteTokenizer())
    assert part.lengths.tolist() == [4, 2, 2001, 8]
    assert part.sizes.tolist() == [3, 1, 2000, 7]
    assert part.hashes.tolist() == [document_hash(d) for d in documents]
    assert len(part.tokens) == part.lengths.sum()


def test_bytes_that_are_not_utf8_survive() -> None:
    tokenizer = ByteTokenizer()
    document = bytes(range(256))
    assert tokenizer.decode_bytes(encode_document(document, tokenizer)[:-1].tolist()) == document


def test_two_workers_give_the_same_tokens() -> None:
    documents = texts([300_000] * 9 + [5] * 50)  # several batches, so that workers could finish out of order
    alone = list(encode_documents(documents, ByteTokenizer(), workers=1))
    together = list(encode_documents(documents, ByteTokenizer(), workers=2))
    assert len(alone) == len(together) > 1
    for one, two in zip(alone, together):
        assert np.array_equal(one.tokens, two.tokens)
        assert np.array_equal(one.hashes, two.hashes)


def test_closing_early_ends_the_workers() -> None:
    batches = encode_documents(iter(texts([1_100_000] * 20)), ByteTokenizer(), workers=2)
    next(batches)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()


def test_fingerprint_depends_on_documents_order_and_tokenizer() -> None:
    hashes = np.array([1, 2], dtype=np.uint64)
    prints = {
        content_fingerprint("a", [hashes], len(hashes), 5),
        content_fingerprint("b", [hashes], len(hashes), 5),
        content_fingerprint("a", [hashes[::-1]], len(hashes), 5),
        content_fingerprint("a", [hashes], len(hashes), 6),
    }
    assert len(prints) == 4

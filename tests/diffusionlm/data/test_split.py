from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.data.split import LimitedDocuments, SplitDocuments, document_hash, side_of
from diffusionlm.errors import DataError
from tests.diffusionlm.data.doubles import ListDocuments

MANY = [b"document %d" % i for i in range(4000)]


def test_hash_is_the_beginning_of_sha256() -> None:
    assert document_hash(b"abc") == 0xBA7816BF8F01CFEA  # FIPS 180-4, the first test vector
    assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf8f01cfea")


def test_sides_are_disjoint_and_together_everything() -> None:
    corpus = ListDocuments(MANY)
    train = list(SplitDocuments(corpus, 0.05, "train"))
    validation = list(SplitDocuments(corpus, 0.05, "validation"))
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(MANY)
    assert train == [d for d in MANY if d in set(train)]  # the corpus's order
    assert 0.05 - 4 * 0.0035 < len(validation) / len(MANY) < 0.05 + 4 * 0.0035  # four standard errors


@given(document=st.binary(min_size=1), small=st.floats(0.0, 1.0), large=st.floats(0.0, 1.0))
def test_a_larger_share_only_adds_held_out_documents(document: bytes, small: float, large: float) -> None:
    small, large = min(small, large), max(small, large)
    if side_of(document, small) == "validation":
        assert side_of(document, large) == "validation"


def test_order_copies_and_company_do_not_matter() -> None:
    held_out = set(SplitDocuments(ListDocuments(MANY), 0.1, "validation"))
    shuffled = [*reversed(MANY[:1000]), *MANY[:10]]
    again = list(SplitDocuments(ListDocuments(shuffled), 0.1, "validation"))
    assert set(again) == held_out & set(MANY[:1000])
    assert side_of(b"document 3", 0.1) == side_of(bytes(bytearray(b"document 3")), 0.1)


def test_limit_takes_the_first_held_out_documents() -> None:
    corpus = ListDocuments(MANY, streaming=True)
    limited = SplitDocuments(corpus, 0.1, "validation", limit=7)
    assert list(limited) == list(SplitDocuments(corpus, 0.1, "validation"))[:7]
    assert not limited.streaming
    assert SplitDocuments(corpus, 0.1, "train").streaming
    assert list(LimitedDocuments(corpus, 3)) == MANY[:3]


def test_fingerprints_tell_sides_shares_and_limits_apart() -> None:
    corpus = ListDocuments(MANY)
    kinds = [
        SplitDocuments(corpus, 0.1, "train"),
        SplitDocuments(corpus, 0.1, "validation"),
        SplitDocuments(corpus, 0.2, "train"),
        SplitDocuments(corpus, 0.1, "validation", limit=3),
        LimitedDocuments(corpus, 3),
        corpus,
    ]
    assert len({documents.fingerprint for documents in kinds}) == len(kinds)
    assert SplitDocuments(corpus, 0.1, "train").fingerprint == kinds[0].fingerprint


def test_an_empty_side_says_what_to_do() -> None:
    alone = ListDocuments([next(d for d in MANY if side_of(d, 0.5) == "train")])
    with pytest.raises(
        DataError, match=r"^the validation side of .* validation_fraction = 0.5; raise it, cut the text"
    ):
        list(SplitDocuments(alone, 0.5, "validation"))
    held_out = ListDocuments([next(d for d in MANY if side_of(d, 0.5) == "validation")])
    with pytest.raises(DataError, match=r"^the train side of .*; lower it, .* validation_source$"):
        list(SplitDocuments(held_out, 0.5, "train"))


def test_a_side_expects_its_share_of_the_text() -> None:
    class Sized(ListDocuments):
        @property
        def expected_bytes(self) -> int:
            return 1000

    whole = Sized([b"a", b"b"])
    assert SplitDocuments(whole, 0.1, "validation").expected_bytes == 100
    assert SplitDocuments(whole, 0.1, "train").expected_bytes == 900
    assert SplitDocuments(whole, 0.1, "validation", limit=3).expected_bytes is None
    assert SplitDocuments(ListDocuments([b"a"]), 0.1, "train").expected_bytes is None

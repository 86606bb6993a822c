from __future__ import annotations

import pytest

from diffusionlm.data.documents import checked_utf8, text_to_bytes
from diffusionlm.errors import DataError
from tests.diffusionlm.data.doubles import ListDocuments

BAD = b"ab\xffcd"


def test_empty_documents_are_left_out_and_reading_repeats() -> None:
    documents = ListDocuments([b"a", b"", b"b", b""])
    assert list(documents) == [b"a", b"b"]
    assert list(documents) == [b"a", b"b"]
    assert documents.count is None
    assert documents.tokens() is None


@pytest.mark.parametrize("given", [[], [b""], [b"", b""]])
def test_no_text_at_all_is_one_line(given: list[bytes]) -> None:
    with pytest.raises(DataError, match=r"^the corpus is empty: the test's list holds no text; give a source"):
        list(ListDocuments(given))


def test_policies_for_bytes_that_are_not_utf8() -> None:
    assert checked_utf8(BAD, "lossless", "x") == BAD
    assert checked_utf8(BAD, "replace", "x") == "ab�cd".encode()
    assert checked_utf8(BAD, "skip", "x") == b""
    with pytest.raises(DataError, match=r"^file 'f' is not UTF-8 at byte 2; set invalid_utf8 to 'lossless'"):
        checked_utf8(BAD, "error", "file 'f'")
    for policy in ("lossless", "replace", "skip", "error"):
        assert checked_utf8("héé".encode(), policy, "x") == "héé".encode()


def test_strings_with_lone_surrogates() -> None:
    assert text_to_bytes("é", "error", "x") == "é".encode()
    assert text_to_bytes(BAD.decode("utf-8", "surrogateescape"), "lossless", "x") == BAD
    assert text_to_bytes("\ud800", "replace", "x").decode() == "���"
    with pytest.raises(DataError, match="not UTF-8"):
        text_to_bytes("\ud800", "error", "x")

from __future__ import annotations

import hashlib

import pytest

from diffusionlm.data.deduplicate import DigestSet, UniqueDocuments


def digest(number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16).digest()


def test_it_holds_what_pythons_set_holds() -> None:
    ours, theirs = DigestSet(), set()
    numbers = [n * n % 9973 for n in range(20_000)]
    for number in numbers:
        assert ours.add(digest(number)) == (number not in theirs)
        theirs.add(number)
    assert len(ours) == len(theirs) > 4000


def test_digests_that_fall_on_one_place() -> None:
    """The same first eight bytes: only the rest tells them apart, and the places run around the table's end."""
    for first in (bytes(8), b"\xff" * 8):
        ours = DigestSet()
        digests = [first + number.to_bytes(8, "little") for number in range(1, 1500)]
        assert all(ours.add(one) for one in digests)
        assert not any(ours.add(one) for one in digests)
        assert len(ours) == 1499


@pytest.mark.parametrize("count", [1_000, 30_000])
def test_memory_is_a_few_dozen_bytes_for_each(count: int) -> None:
    ours = DigestSet()
    for number in range(count):
        ours.add(digest(number))
    assert len(ours) == count
    assert 24 * count <= ours.nbytes <= 48 * count


def test_the_first_of_several_copies_stays() -> None:
    unique = UniqueDocuments([b"a", b"b", b"a", b"c", b"b", b"a", b"A"])
    assert list(unique) == [b"a", b"b", b"c", b"A"]
    assert (unique.dropped, len(unique.seen)) == (3, 4)

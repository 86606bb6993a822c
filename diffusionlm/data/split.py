"""The held-out part of a corpus, by the SHA-256 of each document's bytes.

A document is on the same side on every machine, in every order, in every file it is copied to, and whatever else the
corpus holds; two copies of one document can never sit on both sides, so memorising cannot look like learning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from diffusionlm.data.documents import Documents
from diffusionlm.errors import DataError

if TYPE_CHECKING:
    from diffusionlm.data.store import TokenStore

Side = Literal["train", "validation"]


def document_hash(document: bytes) -> int:
    """Return the first 64 bits of the document's SHA-256 as an unsigned integer."""
    return int.from_bytes(hashlib.sha256(document).digest()[:8], "big")


def threshold(fraction: float) -> int:
    """Return the bound below which a document's hash puts it on the held-out side."""
    assert 0.0 <= fraction <= 1.0, f"validation fraction {fraction} is outside [0, 1]"
    return int(fraction * 2.0**64)


def side_of(document: bytes, fraction: float) -> Side:
    """Return the side of a document when ``fraction`` of all documents is held out."""
    return "validation" if document_hash(document) < threshold(fraction) else "train"


class SplitDocuments(Documents):
    """The documents of one side of a corpus.

    Args:
        documents: The whole corpus.
        fraction: Expected share of documents that are held out.
        side: Which side this is.
        limit: Stop after this many documents; None reads all.
    """

    def __init__(self, documents: Documents, fraction: float, side: Side, limit: int | None = None) -> None:
        self.documents, self.fraction, self.side, self.limit = documents, fraction, side, limit
        self.streaming = documents.streaming and limit is None
        self.cacheable = documents.cacheable

    def read(self) -> Iterator[bytes]:
        """Yield the documents of this side, in the corpus's order."""
        bound, held_out, taken = threshold(self.fraction), self.side == "validation", 0
        for document in self.documents:
            if taken == self.limit:
                return
            if (document_hash(document) < bound) == held_out:
                taken += 1
                yield document

    def tokens(self) -> TokenStore | None:
        """Return this side of documents that are stored as tokens, by the hashes stored beside them."""
        store = self.documents.tokens()
        if store is None:
            return None
        chosen = ((store.hashes < threshold(self.fraction)) == (self.side == "validation")).nonzero()[0][: self.limit]
        if len(chosen) == 0:
            raise DataError(self.empty_message())
        return store.select(chosen)

    @property
    def fingerprint(self) -> str:
        """The corpus's fingerprint with the rule of the split."""
        text = f"{self.documents.fingerprint}/{self.fraction!r}/{self.side}/{self.limit}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def expected_bytes(self) -> int | None:
        """This side's share of the corpus; unknown where it is cut off at a number of documents."""
        whole = self.documents.expected_bytes
        if whole is None or self.limit is not None:
            return None
        return round(whole * (self.fraction if self.side == "validation" else 1.0 - self.fraction))

    def describe(self) -> str:
        """Name the corpus and the side."""
        return f"the {self.side} side of {self.documents.describe()}"

    def empty_message(self) -> str:
        """Say that the side is empty and what to do about it."""
        change = "lower" if self.side == "train" else "raise"
        return (
            f"{self.describe()} holds no document at validation_fraction = {self.fraction:g}; {change} it, cut the "
            "text into smaller documents (chunk_bytes, separator), or give a validation_source"
        )


class LimitedDocuments(Documents):
    """The first ``limit`` documents of a corpus."""

    def __init__(self, documents: Documents, limit: int) -> None:
        self.documents, self.limit = documents, limit
        self.cacheable = documents.cacheable

    def read(self) -> Iterator[bytes]:
        """Yield at most ``limit`` documents."""
        for taken, document in enumerate(self.documents):
            if taken == self.limit:
                return
            yield document

    def tokens(self) -> TokenStore | None:
        """Return the first documents of a corpus that is stored as tokens."""
        store = self.documents.tokens()
        return None if store is None else store.select(slice(self.limit))

    @property
    def fingerprint(self) -> str:
        """The corpus's fingerprint with the limit."""
        return hashlib.sha256(f"{self.documents.fingerprint}/first/{self.limit}".encode()).hexdigest()

    def describe(self) -> str:
        """Name the corpus."""
        return f"the first {self.limit} documents of {self.documents.describe()}"

"""What a corpus is: an iterable of documents, each the bytes of a UTF-8 text.

Everything that reads text (tokenizer training, tokenization, baselines, streaming) sees only this interface; where the
bytes come from is a source's business (``data/sources``), and which of them are held out is ``data/split.py``'s.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from diffusionlm.errors import DataError

if TYPE_CHECKING:
    from diffusionlm.data.store import TokenStore

BEGINNING = 4096
"""Bytes of a file that tell whether it is UTF-16."""

InvalidUTF8 = Literal["lossless", "replace", "skip", "error"]


class Documents(ABC):
    """An iterable of documents; iterating twice gives the same documents in the same order.

    Attributes:
        streaming: True when the documents are read over and over from a stream that is too long, or too far away, to be
            tokenized before training.
        cacheable: False when the fingerprint cannot tell whether the documents have changed, as with a remote stream.
    """

    streaming: bool = False
    cacheable: bool = True

    @abstractmethod
    def read(self) -> Iterator[bytes]:
        """Yield every document, empty ones included."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short string that names the documents; equal strings mean equal documents (the key of the cache)."""

    @abstractmethod
    def describe(self) -> str:
        """Return a few words that name the documents in a message, for example ``text file 'a.txt'``."""

    @property
    def count(self) -> int | None:
        """The number of documents where it is known without reading them, else None."""
        return None

    @property
    def expected_bytes(self) -> int | None:
        """About how many bytes of text there are where that is known without reading them, else None; for progress."""
        return None

    def tokens(self) -> TokenStore | None:
        """Return the documents as tokens where they are stored so, else None."""
        return None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the documents that hold at least one byte.

        Raises:
            DataError: There is no such document.
        """
        empty = True
        for document in self.read():
            if document:
                empty = False
                yield document
        if empty:
            raise DataError(self.empty_message())

    def empty_message(self) -> str:
        """Return the one-line message for documents that turn out to hold no text."""
        return f"the corpus is empty: {self.describe()} holds no text; give a source with at least one document"


def checked_utf8(document: bytes, policy: InvalidUTF8, where: str) -> bytes:
    """Apply the policy for bytes that are not UTF-8 to one document.

    Args:
        document: The raw bytes.
        policy: ``lossless`` keeps them (byte-level tokenizers round-trip any bytes), ``replace`` puts U+FFFD, ``skip``
            drops the document (returns ``b""``), ``error`` refuses.
        where: The place, for the message.

    Raises:
        DataError: The policy is ``error`` and the bytes are not UTF-8.
    """
    if policy == "lossless":
        return document
    try:
        document.decode("utf-8")
    except UnicodeDecodeError as error:
        if policy == "skip":
            return b""
        if policy == "replace":
            return document.decode("utf-8", errors="replace").encode("utf-8")
        raise DataError(
            f"{where} is not UTF-8 at byte {error.start}; set invalid_utf8 to 'lossless', 'replace' or 'skip'"
        ) from None
    return document


def refuse_utf16(beginning: bytes, where: str) -> None:
    """Refuse a file that is UTF-16: half of its bytes are zeros, and kept they would be learned without a word.

    Args:
        beginning: The first bytes of a file, a few thousand of them.
        where: The file, for the message.

    Raises:
        DataError: It begins with the byte-order mark of UTF-16, and a zero byte follows.
    """
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and 0 in beginning:
        raise DataError(f"{where} is UTF-16, and text must be UTF-8; convert it, with iconv -f UTF-16 -t UTF-8")


def text_to_bytes(text: str, policy: InvalidUTF8, where: str) -> bytes:
    """Encode a string whose lone surrogates may stand for undecodable bytes, under the same policy.

    Raises:
        DataError: The policy is ``error`` and the string has no UTF-8 form.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            raw = text.encode("utf-8", errors="surrogateescape")
        except UnicodeEncodeError:
            raw = text.encode("utf-8", errors="surrogatepass")
    return checked_utf8(raw, policy, where)

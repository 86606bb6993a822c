"""Small stand-ins: a fixed list of documents, a tokenizer with a wide vocabulary, random stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from diffusionlm.data.documents import Documents
from diffusionlm.data.store import TokenStore, store_in_memory
from diffusionlm.tokenizer import ByteTokenizer


class ListDocuments(Documents):
    """Documents that are given."""

    def __init__(self, documents: Sequence[bytes], streaming: bool = False) -> None:
        self.documents, self.streaming = list(documents), streaming
        self.times_read = 0

    def read(self) -> Iterator[bytes]:
        self.times_read += 1
        yield from self.documents

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"\0".join(self.documents)).hexdigest()

    def describe(self) -> str:
        return "the test's list"


class WideTokenizer(ByteTokenizer):
    """A byte tokenizer whose vocabulary is padded past 65536 ids, EOS being the last."""

    def __init__(self, vocab_size: int = 70_000) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.specials = {"<|endoftext|>": vocab_size - 1}

    def _content(self) -> dict[str, object]:
        return {"name": "wide", "vocab_size": self.vocab_size}


def texts(lengths: Sequence[int]) -> list[bytes]:
    """Return documents of the given numbers of bytes, all different where they have room to be."""
    rng = np.random.default_rng(0)
    return [rng.integers(97, 123, size=n, dtype=np.uint8).tobytes() for n in lengths]


def store_of(token_lengths: Sequence[int]) -> TokenStore:
    """Return a store of documents with the given numbers of tokens, EOS included."""
    return store_in_memory(ListDocuments(texts([n - 1 for n in token_lengths])), ByteTokenizer())


def addressed_store(token_lengths: Sequence[int]) -> TokenStore:
    """Return a store whose tokens are their own addresses, so that a batch tells where each of its tokens came from."""
    lengths = np.array(token_lengths, dtype=np.int64)
    n = int(lengths.sum())
    return TokenStore(
        [np.arange(n, dtype=np.uint32)],
        np.cumsum(lengths) - lengths,
        lengths,
        lengths - 1,
        np.arange(len(lengths), dtype=np.uint64),
        eos_id=n,
        tokenizer_fingerprint="addresses",
    )

"""Tokenized documents with random access, in memory or mapped from shards.

A store is one or several token arrays, seen as one line of addresses, and a table of documents on that line. A subset
of the documents (one side of a split) is the same arrays with a shorter table: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from diffusionlm.data.documents import Documents
from diffusionlm.data.encode import content_fingerprint, encode_documents
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import Tokenizer


class TokenStore:
    """Documents as tokens, each ending with EOS.

    Args:
        arrays: Token arrays, uint16 or uint32, end to end.
        starts: (D,) int64, the address of each document's first token.
        lengths: (D,) int64, tokens of each document, EOS included.
        sizes: (D,) int64, UTF-8 bytes of each document.
        hashes: (D,) uint64, the first 64 bits of each document's SHA-256.
        eos_id: The token that ends every document.
        tokenizer_fingerprint: The tokenizer that made the tokens.

    Attributes:
        n_documents, n_tokens, n_bytes: Totals; EOS counts as a token and as no byte.
        fingerprint: Which documents in which order by which tokenizer; the same in memory, cache and shards.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        starts: np.ndarray,
        lengths: np.ndarray,
        sizes: np.ndarray,
        hashes: np.ndarray,
        *,
        eos_id: int,
        tokenizer_fingerprint: str,
    ) -> None:
        assert len(starts) == len(lengths) == len(sizes) == len(hashes), "the document table is ragged"
        self.arrays = [np.asarray(array) for array in arrays]  # a view: slicing np.memmap itself is slow
        self._bounds = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int64)
        self.starts, self.lengths, self.sizes, self.hashes = starts, lengths, sizes, hashes
        self.eos_id: int = eos_id
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.n_documents, self.n_tokens, self.n_bytes = len(lengths), int(lengths.sum()), int(sizes.sum())
        self.fingerprint = content_fingerprint(tokenizer_fingerprint, [hashes], len(hashes), self.n_tokens)

    def gather(self, addresses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return runs of tokens end to end, (sum of lengths,) int64; each run lies inside one document.

        Args:
            addresses: (P,) int64, where the runs begin.
            lengths: (P,) int64, their tokens.
        """
        if len(self.arrays) == 1:
            return gather_runs(self.arrays[0], addresses, lengths)
        tokens = np.empty(int(lengths.sum()), dtype=np.int64)
        places = np.cumsum(lengths) - lengths
        for array, runs, begins in self._by_array(addresses):
            tokens[run_indices(places[runs], lengths[runs])] = gather_runs(array, begins, lengths[runs])
        return tokens

    def place(self, addresses: np.ndarray, lengths: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Write runs of tokens where they belong, by compiled code; each run lies inside one document.

        Args:
            addresses, lengths: As for ``gather``.
            places: (P,) int64, where each run begins in ``out``.
            out: (n,) int64.
        """
        from diffusionlm.data.compiled import place_runs

        for array, runs, begins in self._by_array(addresses):
            place_runs(array, begins, lengths[runs], places[runs], out)

    def _by_array(self, addresses: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | slice, np.ndarray]]:
        """Yield each array that holds one of the runs, which runs those are, and where they begin in the array."""
        if len(self.arrays) == 1:
            yield self.arrays[0], slice(None), addresses
            return
        shards = np.searchsorted(self._bounds, addresses, side="right") - 1
        order = np.argsort(shards, kind="stable")
        found, counts = np.unique(shards, return_counts=True)
        for shard, runs in zip(found.tolist(), np.split(order, np.cumsum(counts)[:-1])):
            yield self.arrays[shard], runs, addresses[runs] - self._bounds[shard]

    def document(self, index: int) -> np.ndarray:
        """Return the tokens of one document, EOS included; a view where the arrays allow it."""
        start = int(self.starts[index])
        shard = int(np.searchsorted(self._bounds, start, side="right")) - 1
        begin = start - int(self._bounds[shard])
        return self.arrays[shard][begin : begin + int(self.lengths[index])]

    def select(self, documents: np.ndarray | slice) -> TokenStore:
        """Return the store of some of the documents: a boolean mask, indices or a slice."""
        return TokenStore(
            self.arrays,
            self.starts[documents],
            self.lengths[documents],
            self.sizes[documents],
            self.hashes[documents],
            eos_id=self.eos_id,
            tokenizer_fingerprint=self.tokenizer_fingerprint,
        )

    def check_tokenizer(self, tokenizer: Tokenizer, where: str) -> None:
        """Refuse a tokenizer that did not make these tokens.

        Raises:
            DataError: The fingerprints differ.
        """
        if tokenizer.fingerprint() != self.tokenizer_fingerprint:
            raise DataError(
                f"{where} was made by another tokenizer ({self.tokenizer_fingerprint[:12]}, this one is "
                f"{tokenizer.fingerprint()[:12]}); use the tokenizer it was made with, or make the shards again"
            )


def gather_runs(array: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return runs of one array end to end, as int64: run i has ``lengths[i]`` elements from ``begins[i]`` on."""
    return array.take(run_indices(begins, lengths)).astype(np.int64)


def run_indices(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices of runs end to end, (sum of lengths,) int64."""
    places = np.cumsum(lengths) - lengths
    return np.repeat(begins - places, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def join_stores(stores: Sequence[TokenStore]) -> TokenStore:
    """Return the documents of several stores of one tokenizer, end to end; nothing but the tables is copied."""
    first = stores[0]
    assert all(store.tokenizer_fingerprint == first.tokenizer_fingerprint for store in stores), "tokenizers differ"
    bases = np.cumsum([0, *(sum(map(len, store.arrays)) for store in stores)], dtype=np.int64)
    return TokenStore(
        [array for store in stores for array in store.arrays],
        np.concatenate([store.starts + base for store, base in zip(stores, bases)]),
        np.concatenate([store.lengths for store in stores]),
        np.concatenate([store.sizes for store in stores]),
        np.concatenate([store.hashes for store in stores]),
        eos_id=first.eos_id,
        tokenizer_fingerprint=first.tokenizer_fingerprint,
    )


def store_in_memory(documents: Documents, tokenizer: Tokenizer, workers: int = 1) -> TokenStore:
    """Tokenize documents into a store in memory.

    Raises:
        DataError: There are no documents.
    """
    parts = list(encode_documents(documents, tokenizer, workers))
    lengths = np.concatenate([part.lengths for part in parts])
    return TokenStore(
        [np.concatenate([part.tokens for part in parts])],
        np.cumsum(lengths) - lengths,
        lengths,
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        eos_id=tokenizer.eos_id,
        tokenizer_fingerprint=tokenizer.fingerprint(),
    )

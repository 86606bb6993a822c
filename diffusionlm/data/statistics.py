"""What a token store holds, in numbers: lengths, bytes per token, rows and padding, copies, how often tokens occur.

The table of documents is in memory anyway; the tokens are read a chunk at a time, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusionlm.data.store import TokenStore
from diffusionlm.tokenizer import Tokenizer

QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
_TOKENS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Rows:
    """How documents fill rows of T tokens.

    Attributes:
        context_length: T.
        packed: Rows of an epoch where documents stand end to end.
        packed_left_out: Tokens that do not fill a row and wait for another epoch.
        packed_padding: Share of an epoch's positions that are padding; only a text of less than a row has any.
        windows: Rows of an epoch with one window of one document in each.
        windows_of_longest: Windows of the longest document.
        in_one: Documents that fit into one window.
        windows_padding: Share of those rows' positions that are padding.
    """

    context_length: int
    packed: int
    packed_left_out: int
    packed_padding: float
    windows: int
    windows_of_longest: int
    in_one: int
    windows_padding: float

    @classmethod
    def of(cls, lengths: np.ndarray, context_length: int, eos_padding_cap: int) -> Rows:
        """Count the rows of documents of ``lengths`` (D,) tokens, as ``RowLoader`` makes them."""
        tokens = int(lengths.sum())
        windows = -(-lengths // context_length)
        room = windows * context_length - lengths
        padding = room - np.minimum(room, eos_padding_cap)
        return cls(
            context_length=context_length,
            packed=max(1, tokens // context_length),
            packed_left_out=tokens % context_length if tokens > context_length else 0,
            packed_padding=max(0.0, 1.0 - tokens / context_length),
            windows=int(windows.sum()),
            windows_of_longest=int(windows.max()),
            in_one=int((windows == 1).sum()),
            windows_padding=float(padding.sum() / (windows.sum() * context_length)),
        )


@dataclass(frozen=True)
class StoreStatistics:
    """What a store holds.

    Attributes:
        n_bytes, n_tokens: Totals; the EOS of a document counts as a token and as no byte.
        lengths: (D,) int64, tokens of each document, EOS included.
        copies: Documents with the bytes of an earlier one.
        not_utf8: Documents that are not UTF-8; None where no tokenizer turns tokens into bytes.
        counts: (K,) int64, how often each token occurs; up to the largest that does where K is not known.
        vocab_size: K, or None.
        rows: How they fill rows.
    """

    n_bytes: int
    n_tokens: int
    lengths: np.ndarray
    copies: int
    not_utf8: int | None
    counts: np.ndarray
    vocab_size: int | None
    rows: Rows

    @property
    def n_documents(self) -> int:
        """D."""
        return len(self.lengths)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a token stands for on average."""
        return self.n_bytes / self.n_tokens

    @property
    def unused(self) -> int | None:
        """Tokens of the vocabulary that never occur; None where K is not known."""
        return None if self.vocab_size is None else int((self.counts == 0).sum())

    def length_quantiles(self) -> dict[str, float]:
        """Return the quantiles of the documents' lengths, and the mean."""
        values = np.quantile(self.lengths, list(QUANTILES.values()))
        return {**{name: float(value) for name, value in zip(QUANTILES, values)}, "mean": float(self.lengths.mean())}

    def most_frequent(self, number: int) -> list[tuple[int, int]]:
        """Return (id, count) of the most frequent tokens that occur, the smaller id first among equals."""
        order = np.argsort(-self.counts, kind="stable")[:number]
        return [(int(id), int(self.counts[id])) for id in order if self.counts[id]]

    def record(self) -> dict[str, Any]:
        """Return everything but the two arrays as a JSON object."""
        return {
            "documents": self.n_documents,
            "bytes": self.n_bytes,
            "tokens": self.n_tokens,
            "bytes_per_token": self.bytes_per_token,
            "document_tokens": self.length_quantiles(),
            "copies": self.copies,
            "not_utf8": self.not_utf8,
            "vocab_size": self.vocab_size,
            "unused_tokens": self.unused,
            "rows": vars(self.rows),
        }


def measure(
    store: TokenStore,
    tokenizer: Tokenizer | None,
    context_length: int,
    eos_padding_cap: int,
    on_documents: Callable[[int], None] | None = None,
) -> StoreStatistics:
    """Read every token of a store once and return its statistics.

    Args:
        store: The documents.
        tokenizer: What made the tokens, if it is at hand.
        context_length: T.
        eos_padding_cap: As for ``RowLoader``.
        on_documents: Called with a number of documents that have been read since the last call.
    """
    counts = np.zeros(0 if tokenizer is None else tokenizer.vocab_size, dtype=np.int64)
    not_utf8 = None if tokenizer is None else 0
    for chunk in _chunks(store.lengths):
        tokens = store.gather(store.starts[chunk], store.lengths[chunk])
        more = np.bincount(tokens, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
        if tokenizer is not None and not_utf8 is not None:
            not_utf8 += _not_utf8(tokens, store.lengths[chunk], tokenizer)
        if on_documents is not None:
            on_documents(chunk.stop - chunk.start)
    return StoreStatistics(
        n_bytes=store.n_bytes,
        n_tokens=store.n_tokens,
        lengths=store.lengths,
        copies=store.n_documents - len(np.unique(store.hashes)),
        not_utf8=not_utf8,
        counts=counts,
        vocab_size=None if tokenizer is None else tokenizer.vocab_size,
        rows=Rows.of(store.lengths, context_length, eos_padding_cap),
    )


def _chunks(lengths: np.ndarray) -> Iterator[slice]:
    """Yield consecutive documents, about ``_TOKENS_AT_ONCE`` tokens at a time and at least one document."""
    ends, begin = np.cumsum(lengths), 0
    while begin < len(lengths):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _TOKENS_AT_ONCE, side="right")))
        yield slice(begin, end)
        begin = end


def _not_utf8(tokens: np.ndarray, lengths: np.ndarray, tokenizer: Tokenizer) -> int:
    """Return how many documents are not UTF-8, of documents end to end, each with its EOS."""
    data = tokenizer.decode_bytes(tokens.tolist(), skip_special=True)
    if data.isascii():
        return 0
    bad = 0
    for part in np.split(tokens, np.cumsum(lengths)[:-1]):
        try:
            tokenizer.decode_bytes(part.tolist(), skip_special=True).decode("utf-8")
        except UnicodeDecodeError:
            bad += 1
    return bad

"""An n-gram model of bytes that judges samples: how many bits a sample's bytes cost a model of the training text.

    p_n(b | c) = (N(c b) + U(c)·p_{n−1}(b | c')) / (N(c) + U(c))

N counts, U(c) is how many different bytes follow c, and c' is c without its first byte: interpolated Witten–Bell
smoothing (Witten and Bell 1991, https://doi.org/10.1109/18.87000). It needs no download and is the same for every
method. Low bits alone are no quality: a sample that repeats one frequent phrase is cheap. They are only ever shown
beside a measure of diversity and beside the bits of real held-out text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diffusionlm.errors import DataError

LONGEST = 7
"""Bytes of a gram that fit a 64-bit key together with its order's padding."""


@dataclass(frozen=True)
class _Order:
    """Counts of one order.

    Attributes:
        grams, counts: Sorted keys of the n bytes and how often each occurs.
        contexts, totals, kinds: Sorted keys of the n − 1 bytes before, how often each occurs, and how many different
            bytes follow it.
    """

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray


class ByteJudge:
    """Interpolated n-gram model of bytes.

    Args:
        documents: The training text.
        order: n, at most 7.
        limit: Bytes that are read at most.

    Raises:
        DataError: The text is empty.
    """

    def __init__(self, documents: Iterable[bytes], order: int = 5, limit: int = 1 << 23) -> None:
        assert 1 <= order <= LONGEST, f"order {order} of at most {LONGEST}"
        text = _joined(documents, limit)
        if not text.size:
            raise DataError("the training text holds no bytes, so nothing can judge samples; give one with some text")
        self.order, self.bytes = order, int(text.size)
        self.orders = [_count(text, n) for n in range(1, order + 1)]

    def bits(self, text: bytes) -> np.ndarray:
        """Return −log2 p of every byte, (N,) float64; the first ones have as much context as there is."""
        symbols = np.frombuffer(text, dtype=np.uint8).astype(np.uint64)
        p = np.full(symbols.size, 1.0 / 256)
        for n, order in enumerate(self.orders, 1):
            if symbols.size < n:
                break
            grams = _keys(symbols, n)
            count = _find(order.grams, order.counts, grams)
            total = _find(order.contexts, order.totals, grams >> np.uint64(8))
            kinds = _find(order.contexts, order.kinds, grams >> np.uint64(8))
            known = total > 0
            lower = p[n - 1 :]
            p[n - 1 :] = np.where(known, (count + kinds * lower) / np.maximum(total + kinds, 1), lower)
        return -np.log2(p)


def judged_bits_per_byte(judge: ByteJudge, texts: Sequence[bytes]) -> float | None:
    """Return the bits per byte of texts taken together, each on its own; None where they hold no bytes."""
    size = sum(len(text) for text in texts)
    return sum(float(judge.bits(text).sum()) for text in texts) / size if size else None


def _joined(documents: Iterable[bytes], limit: int) -> np.ndarray:
    """Return (N,) uint64 bytes of the documents, end to end, up to a limit."""
    parts, size = [], 0
    for document in documents:
        parts.append(document[: limit - size])
        size += len(parts[-1])
        if size >= limit:
            break
    return np.frombuffer(b"".join(parts), dtype=np.uint8).astype(np.uint64)


def _keys(symbols: np.ndarray, n: int) -> np.ndarray:
    """Return (N − n + 1,) uint64, the n bytes that end at each place as one number, the last byte lowest."""
    keys = np.zeros(symbols.size - n + 1, dtype=np.uint64)
    for place in range(n):
        keys = (keys << np.uint64(8)) | symbols[place : place + keys.size]
    return keys


def _count(text: np.ndarray, n: int) -> _Order:
    keys = _keys(text, n) if text.size >= n else np.zeros(0, dtype=np.uint64)
    grams, counts = np.unique(keys, return_counts=True)
    contexts, place = np.unique(grams >> np.uint64(8), return_inverse=True)
    totals = np.bincount(place, weights=counts, minlength=len(contexts))
    return _Order(grams, counts.astype(np.float64), contexts, totals, np.bincount(place, minlength=len(contexts)))


def _find(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key, (N,) float64; 0 for keys that are not there."""
    if not keys.size:
        return np.zeros(wanted.size)
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[place] == wanted, values[place], 0.0).astype(np.float64)

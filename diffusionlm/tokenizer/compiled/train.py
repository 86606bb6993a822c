"""Train a vocabulary on any number of threads: count the words, then learn the merges."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np

from diffusionlm.tokenizer.compiled.count import Counter
from diffusionlm.tokenizer.compiled.learn import BYTES, lay_out, learn
from diffusionlm.tokenizer.compiled.memory import padded

BATCH = 1 << 20
"""Bytes that one thread counts at a time."""


def learn_merges(
    pieces: Iterable[bytes], n_merges: int, pattern: int, threads: int
) -> list[tuple[bytes, bytes]] | None:
    """Return the first ``n_merges`` merges of the words in some texts, fewer if no pair is left; None without any word.

    Args:
        pieces: Texts; no word spans two of them. Memory is bounded by their distinct words and a few batches.
        n_merges: How many to learn.
        pattern: See ``scan.word_end``.
        threads: That count.
    """
    counter = count_words(pieces, pattern, threads)
    text, lengths, counts = counter.words()
    if not len(lengths):
        return None
    tokens = [bytes([byte]) for byte in range(BYTES)]
    merges = []
    for left, right in learn(*lay_out(text, lengths, counts), n_merges).tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges


def count_words(pieces: Iterable[bytes], pattern: int, threads: int) -> Counter:
    """Return the words of some texts, counted on several threads."""
    counters: SimpleQueue[Counter] = SimpleQueue()
    for _ in range(threads):
        counters.put(Counter())

    def work(batch: list[bytes]) -> None:
        counter = counters.get()
        ends = np.cumsum(np.fromiter(map(len, batch), dtype=np.int64, count=len(batch)))
        counter.add(padded(b"".join(batch)), ends, pattern)
        counters.put(counter)

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in _batches(pieces):
            waiting.append(pool.submit(work, batch))
            if len(waiting) > 2 * threads:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    whole = counters.get()
    for _ in range(threads - 1):
        whole.absorb(counters.get())
    return whole


def _batches(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

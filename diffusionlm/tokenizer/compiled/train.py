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
from diffusionlm.tokenizer.training import Words

BATCH = 1 << 20
"""Bytes that one thread counts at a time."""


def learn_merges(words: Words, n_merges: int) -> list[tuple[bytes, bytes]] | None:
    """Return the first ``n_merges`` merges of counted words, fewer if no pair is left; None without any word."""
    if not len(words.lengths):
        return None
    tokens = [bytes([byte]) for byte in range(BYTES)]
    merges = []
    for left, right in learn(*lay_out(*words), n_merges).tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges


class ParallelCounter:
    """The words of all pieces so far, counted on several threads, each into a table of its own.

    Args:
        pattern: See ``scan.word_end``.
        threads: That count.
    """

    def __init__(self, pattern: int, threads: int) -> None:
        self.pattern, self.threads = pattern, threads
        self._counters: SimpleQueue[Counter] = SimpleQueue()
        for _ in range(threads):
            self._counters.put(Counter())

    def add(self, pieces: Iterable[bytes]) -> None:
        """Count the words of pieces; none spans two of them, and a few batches of them are held at a time."""
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for batch in _batches(pieces):
                waiting.append(pool.submit(self._count, batch))
                if len(waiting) > 2 * self.threads:
                    waiting.popleft().result()
            for future in waiting:
                future.result()

    def _count(self, batch: list[bytes]) -> None:
        counter = self._counters.get()
        ends = np.cumsum(np.fromiter(map(len, batch), dtype=np.int64, count=len(batch)))
        counter.add(padded(b"".join(batch)), ends, self.pattern)
        self._counters.put(counter)

    def absorb(self, words: Words) -> None:
        """Add words that were counted elsewhere."""
        counter = self._counters.get()
        counter.absorb(*words)
        self._counters.put(counter)

    def gathered(self) -> Counter:
        """Return all words in one table; the others begin anew, empty, so that the next time costs what is new."""
        whole, *others = sorted((self._counters.get() for _ in range(self.threads)), key=lambda one: -one.used[0])
        for other in others:
            whole.absorb(*other.words())
            self._counters.put(Counter())
        self._counters.put(whole)
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

"""Apply a vocabulary's merges to one word: the most urgent pair first, the leftmost of equals first.

A short word is searched from end to end for every merge; a long one keeps its pairs in a heap and its symbols in a
linked list, n log n steps in all. Both change an array of ids in place. ``ranks`` maps a pair to rank · 2³² + product.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.pairs import ABSENT, pair_value

LINEAR = 48
"""Longest word, in bytes, whose pairs are searched one by one."""
NEVER = np.int64(1) << 62
_LOW32 = 0xFFFFFFFF


@compiled()
def merge_word(ids, n: int, ranks) -> int:  # noqa: ANN001
    """Merge ids[:n] (uint32) in place and return how many are left."""
    return _merge_short(ids, n, ranks) if n <= LINEAR else _merge_long(ids, n, ranks)


@compiled()
def _merge_short(ids, n: int, ranks) -> int:  # noqa: ANN001
    urgency = np.empty(LINEAR, dtype=np.int64)  # of the pair (i, i + 1)
    for i in range(n - 1):
        value = pair_value(ranks, ids[i], ids[i + 1])
        urgency[i] = NEVER if value == ABSENT else value
    while n > 1:
        best, place = NEVER, 0
        for i in range(n - 1):
            if urgency[i] < best:
                best, place = urgency[i], i
        if best == NEVER:
            break
        ids[place] = best & _LOW32
        for i in range(place + 1, n - 1):
            ids[i] = ids[i + 1]
            urgency[i - 1] = urgency[i]
        n -= 1
        for i in range(max(place - 1, 0), min(place + 1, n - 1)):
            value = pair_value(ranks, ids[i], ids[i + 1])
            urgency[i] = NEVER if value == ABSENT else value
    return n


@compiled(inline="always")
def _push(heap, size: int, key: int) -> int:  # noqa: ANN001
    while size > 0:
        above = (size - 1) >> 1
        if heap[above] <= key:
            break
        heap[size] = heap[above]
        size = above
    heap[size] = key
    return 0


@compiled()
def _sink(heap, size: int) -> None:  # noqa: ANN001
    """Put the last of ``size`` + 1 entries in the place of the first and restore the order of the other ``size``."""
    key, hole = heap[size], 0
    while True:
        below = 2 * hole + 1
        if below >= size:
            break
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= key:
            break
        heap[hole] = heap[below]
        hole = below
    heap[hole] = key


@compiled()
def _merge_long(ids, n: int, ranks) -> int:  # noqa: ANN001
    gone = np.uint32(_LOW32)
    after, before = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    heap, size = np.empty(3 * n, dtype=np.int64), 0  # rank · 2³² + place; every merge adds two at most
    for i in range(n):
        after[i], before[i] = i + 1, i - 1
        if i + 1 < n:
            value = pair_value(ranks, ids[i], ids[i + 1])
            if value != ABSENT:
                _push(heap, size, (value >> 32 << 32) | i)
                size += 1
    while size > 0:
        top = heap[0]
        size -= 1
        _sink(heap, size)
        i = top & _LOW32
        j = after[i]
        if ids[i] == gone or j >= n:
            continue
        value = pair_value(ranks, ids[i], ids[j])
        if value == ABSENT or value >> 32 != top >> 32:
            continue  # the pair has changed since
        ids[i], ids[j] = value & _LOW32, gone
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
        for left in (before[i], i):
            right = after[left] if left >= 0 else n
            if right < n:
                value = pair_value(ranks, ids[left], ids[right])
                if value != ABSENT:
                    _push(heap, size, (value >> 32 << 32) | left)
                    size += 1
    left = 0
    for i in range(n):
        if ids[i] != gone:
            ids[left] = ids[i]
            left += 1
    return left

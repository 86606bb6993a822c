"""Encode text: cut a word, look it up, and only when it is new apply the merges.

The words of real text repeat, so most of them cost one look-up (``words``). What a look-up finds is the word's only id,
or where its ids lie in a pool. The memory is bounded: a full table is emptied, so that it follows the text.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np
from numba import njit

from diffusionlm.tokenizer.compiled.classes import SPACE
from diffusionlm.tokenizer.compiled.memory import load8
from diffusionlm.tokenizer.compiled.merge import merge_word
from diffusionlm.tokenizer.compiled.scan import word_end
from diffusionlm.tokenizer.compiled.words import HIGH, LENGTH, LOW, SHORT, VALUE, find, keep_bytes, new_table, word_key

SLOTS = 1 << 16
MOST_WORDS = SLOTS * 5 // 8
REMEMBERED = 256
"""Longest word, in bytes, that is remembered; a longer one seldom comes twice."""
LOOKAHEAD = 8
"""Bytes behind a word that its end may depend on: two characters."""
ARENA = 1 << 21
POOL = 1 << 20
_COUNT_BITS = np.uint64(16)
_COUNT_MASK = np.uint64(0xFFFF)
WORDS, BYTES_USED, POOL_USED = 0, 1, 2


class Memory:
    """The words that one thread has met: a table, the bytes of long words, and the ids of words of several tokens."""

    def __init__(self) -> None:
        self.table = new_table(SLOTS)
        self.arena = np.zeros(ARENA + REMEMBERED, dtype=np.uint8)
        self.pool = np.empty(POOL + REMEMBERED, dtype=np.uint32)
        self.used = np.zeros(3, dtype=np.int64)


@njit(cache=True, nogil=True)
def _word_ids(at, length, low, high, byte_ids, ranks, given, out):  # noqa: ANN001, ANN202
    """Write the ids of a word that is not remembered, and return how many they are."""
    words, arena = given
    slot = find(words, arena.ctypes.data, at, length, low, high)
    if words[slot, LENGTH] != 0:
        out[0] = words[slot, VALUE]
        return 1
    for k in range(length):
        out[k] = byte_ids[load8(at + k)]
    return merge_word(out, length, ranks)


@njit(cache=True, nogil=True)
def encode(text, n, certain, pattern, pages, classes, byte_ids, ranks, given, table, arena, pool, used, out):  # noqa: ANN001, ANN201
    """Write the ids of the words of text[0 … n) that end by ``certain`` to ``out``.

    Args:
        text: Address of the UTF-8 bytes, padded.
        n: Their number.
        certain: Where to stop: n, or less where the text goes on and would change what is behind (see ``certain_end``).
        pattern, pages, classes: See ``scan.word_end``.
        byte_ids: (256,) uint32, the id of each byte.
        ranks: Pairs to rank · 2³² + product.
        given: Words whose id is not for the merges to say: a table and the bytes of the long ones; see ``words``.
        table, arena, pool, used: A ``Memory``.
        out: uint32, at least n long.

    Returns:
        How many ids were written, and of how many bytes they are.
    """
    i, written, arena_address = 0, 0, arena.ctypes.data
    while i < n:
        end = word_end(text, i, n, pattern, pages, classes)
        if end > certain:
            break
        length, at = end - i, text + i
        i = end
        if length == 1:
            out[np.uint64(written)] = byte_ids[np.uint64(load8(at))]
            written += 1
            continue
        if length > REMEMBERED:
            low, high = word_key(at, length)
            into = out[written : written + length]
            written += _word_ids(at, length, low, high, byte_ids, ranks, given, into)
            continue
        low, high = word_key(at, length)
        slot = find(table, arena_address, at, length, low, high)
        if table[slot, LENGTH] != 0:
            value = table[slot, VALUE]
            count = value & _COUNT_MASK
            if count == 1:
                out[written] = value >> _COUNT_BITS
                written += 1
            else:
                first = np.int64(value >> _COUNT_BITS)
                for k in range(np.int64(count)):
                    out[written + k] = pool[first + k]
                written += np.int64(count)
            continue
        into = out[written : written + length]
        count = _word_ids(at, length, low, high, byte_ids, ranks, given, into)
        if used[WORDS] >= MOST_WORDS or used[BYTES_USED] >= ARENA or used[POOL_USED] >= POOL:
            table[:] = 0
            used[:] = 0
            slot = find(table, arena_address, at, length, low, high)
        _remember(table, arena, pool, used, slot, low, high, at, length, out, written, count)
        written += count
    return written, i


@njit(cache=True, nogil=True)
def _remember(table, arena, pool, used, slot, low, high, at, length, out, written, count):  # noqa: ANN001, ANN202
    table[slot, LOW], table[slot, HIGH], table[slot, LENGTH] = low, high, np.uint64(length)
    if length > SHORT:
        table[slot, HIGH] = np.uint64(used[BYTES_USED])
        keep_bytes(arena, used[BYTES_USED], at, length)
        used[BYTES_USED] += length
    payload = np.uint64(out[written])
    if count != 1:
        payload = np.uint64(used[POOL_USED])
        for k in range(count):
            pool[used[POOL_USED] + k] = out[written + k]
        used[POOL_USED] += count
    table[slot, VALUE] = payload << _COUNT_BITS | np.uint64(count)
    used[WORDS] += 1


@njit(cache=True, nogil=True)
def encode_documents(text, ends, pattern, pages, classes, byte_ids, ranks, given, table, arena, pool, used, out, sizes):  # noqa: ANN001, ANN201
    """Write the ids of documents that lie end to end to ``out``, and the number of each to ``sizes``; return their sum.

    Args:
        ends: (D,) int64, where each document ends; no word spans two of them.
        sizes: (D,) int64, filled.
        The others are those of ``encode``.
    """
    begin, total = 0, 0
    for document in range(len(ends)):
        n = ends[document] - begin
        written, _ = encode(
            text + begin, n, n, pattern, pages, classes, byte_ids, ranks, given,
            table, arena, pool, used, out[total:],
        )  # fmt: skip
        sizes[document] = written
        total += written
        begin = ends[document]
    return total


@njit(cache=True, nogil=True)
def certain_end(text, n, pages, classes):  # noqa: ANN001, ANN201
    """Return a place such that a word of text[0 … n) that ends there or before is a word however the text goes on.

    A run of white space at the end may grow, and what a word is depends on a few characters behind it.
    """
    while n > 0 and load8(text + n - 1) < 0x80 and classes[np.uint64(load8(text + n - 1))] >= SPACE:
        n -= 1
    return max(0, n - LOOKAHEAD)


@njit(cache=True, nogil=True)
def cut_place(text, begin, n, pages, classes):  # noqa: ANN001, ANN201
    """Return the first place in [begin, n) at which a text can be cut into two that are encoded apart; n if none.

    It lies between a letter or digit and a space or line end: no pattern has a word that goes on there, or looks back.
    """
    for i in range(max(begin, 1), n):
        byte = load8(text + i)
        if byte == 0x20 or byte == 0x0A:
            before = load8(text + i - 1)
            if before < 0x80 and 1 <= classes[np.uint64(before)] <= 2:
                return i
    return n

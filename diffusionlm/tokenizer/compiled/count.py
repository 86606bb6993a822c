"""Count the words of a text: the first half of training a vocabulary.

Each thread counts into a table of its own; the words of all of them are then added up. What comes out is the distinct
words, end to end in one array, and how often each occurs.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.classes import class_table
from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.memory import BLOCK, PADDING, padded
from diffusionlm.tokenizer.compiled.scan import cut_words
from diffusionlm.tokenizer.compiled.words import (
    HIGH,
    LENGTH,
    LOW,
    SHORT,
    VALUE,
    find,
    grown,
    keep_bytes,
    new_table,
    word_key,
)

FIRST_SLOTS, FIRST_ARENA = 1 << 15, 1 << 18
CUT = 2048
"""Words that are cut before they are counted."""


@compiled()
def count(text, ends, pattern, pages, classes, table, arena, used, cuts):  # noqa: ANN001, ANN201
    """Count the words of documents that lie end to end; return the table and the arena, which may have grown.

    Args:
        text: Address of the UTF-8 bytes, padded.
        ends: (D,) int64, where each document ends; no word spans two of them.
        pattern, pages, classes: See ``scan.word_end``.
        table: Words so far; its values are counts.
        arena: (bytes,) uint8, the long words; ``PADDING`` bytes of it stay free.
        used: (2,) int64: words, and bytes of the arena in use; updated.
        cuts: Room for where the next words end, int64.
    """
    i = 0
    for n in ends:
        while i < n:
            for word in range(np.uint64(cut_words(text, i, n, pattern, pages, classes, cuts))):
                length, at = cuts[word] - i, text + i
                i = cuts[word]
                table, arena = _add(table, arena, used, at, length, np.uint64(1))
    return table, arena


@compiled(inline="always")
def _add(table, arena, used, at, length, times):  # noqa: ANN001, ANN202
    """Count the word at an address so many times more."""
    low, high = word_key(at, length)
    slot = find(table, arena.ctypes.data, at, length, low, high)
    if table[slot, LENGTH] != 0:
        table[slot, VALUE] += times
        return table, arena
    table[slot, LOW], table[slot, HIGH], table[slot, LENGTH], table[slot, VALUE] = low, high, np.uint64(length), times
    if length > SHORT:
        while used[1] + length + PADDING > len(arena):
            arena = np.concatenate((arena, np.zeros(len(arena), dtype=np.uint8)))
        table[slot, HIGH] = np.uint64(used[1])
        keep_bytes(arena, used[1], at, length)
        used[1] += length
    used[0] += 1
    if used[0] * 2 > len(table):
        table = grown(table)
    return table, arena


@compiled()
def absorb(text, lengths, counts, table, arena, used):  # noqa: ANN001, ANN201
    """Add the words of another table, as ``distinct`` gives them (text: the address of their padded bytes)."""
    place = 0
    for word in range(len(lengths)):
        table, arena = _add(table, arena, used, text + place, lengths[word], np.uint64(counts[word]))
        place += lengths[word]
    return table, arena


@compiled()
def distinct(table, arena):  # noqa: ANN001, ANN201
    """Return (bytes (S,) uint8, lengths (W,), counts (W,) int64) of the words in a table, in the table's order."""
    words, size = 0, 0
    for slot in range(len(table)):
        if table[slot, LENGTH] != 0:
            words += 1
            size += np.int64(table[slot, LENGTH])
    text, lengths = np.empty(size, dtype=np.uint8), np.empty(words, dtype=np.int64)
    counts = np.empty(words, dtype=np.int64)
    word, place = 0, 0
    for slot in range(len(table)):
        length = np.int64(table[slot, LENGTH])
        if length == 0:
            continue
        if length > SHORT:
            begin = np.int64(table[slot, HIGH])
            text[place : place + length] = arena[begin : begin + length]
        else:
            for k in range(length):
                part = table[slot, LOW] if k < 8 else table[slot, HIGH]
                text[place + k] = np.uint8((part >> np.uint64(8 * (k & 7))) & np.uint64(255))
        lengths[word], counts[word] = length, np.int64(table[slot, VALUE])
        word, place = word + 1, place + length
    return text, lengths, counts


class Counter:
    """The words that one thread has counted."""

    def __init__(self) -> None:
        self.table = new_table(FIRST_SLOTS)
        self.arena = np.zeros(FIRST_ARENA, dtype=np.uint8)
        self.used = np.zeros(2, dtype=np.int64)
        self.cuts = np.empty(CUT + BLOCK, dtype=np.int64)

    def add(self, text: np.ndarray, ends: np.ndarray, pattern: int) -> None:
        """Count the words of documents in a padded buffer; they end at ``ends`` (D,) int64."""
        pages, classes = class_table()
        self.table, self.arena = count(
            text.ctypes.data, ends, pattern, pages, classes, self.table, self.arena, self.used, self.cuts
        )

    def absorb(self, text: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> None:
        """Add what another one has counted, as ``words`` gives it."""
        text = padded(text)
        self.table, self.arena = absorb(text.ctypes.data, lengths, counts, self.table, self.arena, self.used)

    def words(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bytes (S,), lengths (W,) and counts (W,)."""
        return distinct(self.table, self.arena)

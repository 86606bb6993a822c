"""Words as keys: a hash table from the bytes of a word to a number, in flat arrays.

A word of up to sixteen bytes is its own key, two 64-bit numbers read in two loads; a longer one is known by a hash, its
length and its bytes, which lie in an arena. A table is four columns of one uint64 array, so that a look-up touches one
cache line:

    low, high       the word's bytes; of a long word a 64-bit hash and its place in the arena
    length          in bytes; 0 = an empty slot
    value           the caller's
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.memory import load8, load64

LOW, HIGH, LENGTH, VALUE = 0, 1, 2, 3
SHORT = 16

_M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT, _FOLD = np.uint64(32), np.uint64(47)
_FIRST_BYTES = np.array([(1 << 8 * k) - 1 for k in range(9)] + [(1 << 64) - 1] * 8, dtype=np.uint64)
_LAST_BYTES = np.array([0] * 9 + [(1 << 8 * k) - 1 for k in range(1, 9)], dtype=np.uint64)
"""What to keep of the first and the second eight bytes of a word of k ≤ SHORT bytes: a load each, and no branch."""


def new_table(slots: int) -> np.ndarray:
    """Return an empty table; ``slots`` is a power of two."""
    return np.zeros((slots, 4), dtype=np.uint64)


@compiled(inline="always")
def word_key(text: int, length: int) -> tuple[np.uint64, np.uint64]:
    """Return (low, high) of the word at an address; high of a long word is 0 until its place is known."""
    if length <= SHORT:
        size = np.uint64(length)
        return load64(text) & _FIRST_BYTES[size], load64(text + 8) & _LAST_BYTES[size]
    low = np.uint64(length)
    for i in range(0, length - 8, 8):
        low = _mixed(low, load64(text + i))
    return _mixed(low, load64(text + length - 8)), np.uint64(0)


@compiled(inline="always")
def _mixed(low: np.uint64, high: np.uint64) -> np.uint64:
    h = (low ^ (high * _M2)) * _M1
    h ^= h >> _SHIFT
    return h * _M2


@compiled(inline="always")
def _first_slot(low: np.uint64, high: np.uint64) -> np.uint64:
    """Return where a key would like to lie, to be taken modulo the slots: the upper bits of a product are the mixed."""
    h = (low * _M1) ^ (high * _M2)
    return h ^ (h >> _FOLD)


@compiled()
def _same(one: int, other: int, length: int) -> bool:
    for i in range(0, length - 8, 8):
        if load64(one + i) != load64(other + i):
            return False
    return load64(one + length - 8) == load64(other + length - 8)


@compiled(inline="always")
def find(table, arena: int, text: int, length: int, low: np.uint64, high: np.uint64) -> np.uint64:  # noqa: ANN001
    """Return the slot of a word, or where it would go (its length there is 0).

    Args:
        table: (slots, 4) uint64, never full.
        arena: Address of the bytes of the long words.
        text, length: The word.
        low, high: Its ``word_key``.
    """
    mask = np.uint64(len(table) - 1)
    size = np.uint64(length)
    slot = _first_slot(low, high) & mask
    if length <= SHORT:
        while ((table[slot, LOW] ^ low) | (table[slot, HIGH] ^ high) | (table[slot, LENGTH] ^ size)) != 0:
            if table[slot, LENGTH] == 0:
                break
            slot = (slot + np.uint64(1)) & mask
        return slot
    while table[slot, LENGTH] != 0:
        alike = table[slot, LOW] == low and table[slot, LENGTH] == size
        if alike and _same(arena + np.int64(table[slot, HIGH]), text, length):
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled()
def keep_bytes(arena, used: int, text: int, length: int) -> None:  # noqa: ANN001
    """Copy a word into the arena (uint8) at ``used``."""
    for i in range(length):
        arena[used + i] = load8(text + i)


@compiled()
def grown(table):  # noqa: ANN001, ANN201
    """Return a table of twice the slots with the same words; places in it are new, values are not."""
    larger = np.zeros((2 * len(table), 4), dtype=np.uint64)
    mask = np.uint64(len(larger) - 1)
    for old in range(len(table)):
        if table[old, LENGTH] == 0:
            continue
        high = table[old, HIGH] if table[old, LENGTH] <= SHORT else np.uint64(0)
        slot = _first_slot(table[old, LOW], high) & mask
        while larger[slot, LENGTH] != 0:
            slot = (slot + np.uint64(1)) & mask
        for column in range(4):
            larger[slot, column] = table[old, column]
    return larger

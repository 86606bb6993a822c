"""Pairs of symbols as keys: a hash table from (left, right) to a 64-bit value, two columns of one array."""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.jit import compiled

_M1 = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
"""The key of an empty slot; no pair of symbols has it."""
ABSENT = -1


def new_pairs(slots: int) -> np.ndarray:
    """Return an empty table (slots, 2) uint64; ``slots`` is a power of two."""
    table = np.zeros((slots, 2), dtype=np.uint64)
    table[:, 0] = EMPTY
    return table


@compiled(inline="always")
def pair_key(left: int, right: int) -> np.uint64:
    """Return the pair as one number."""
    return np.uint64(left) << _SHIFT | np.uint64(right)


@compiled(inline="always")
def pair_slot(table, key: np.uint64) -> int:  # noqa: ANN001
    """Return the slot of a pair, or the empty one where it would go; the table is never full."""
    mask = np.uint64(len(table) - 1)
    h = key * _M1
    slot = (h ^ (h >> _SHIFT)) & mask
    while table[slot, 0] != key and table[slot, 0] != EMPTY:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@compiled(inline="always")
def pair_value(table, left: int, right: int) -> int:  # noqa: ANN001
    """Return the value of a pair, or ``ABSENT``."""
    slot = pair_slot(table, pair_key(left, right))
    return ABSENT if table[slot, 0] == EMPTY else np.int64(table[slot, 1])


@compiled()
def filled(table, left, right, values):  # noqa: ANN001, ANN201
    """Put pairs (N,) with their values (N,) into a table that has room, and return it."""
    for i in range(len(left)):
        key = pair_key(left[i], right[i])
        slot = pair_slot(table, key)
        table[slot, 0] = key
        table[slot, 1] = np.uint64(values[i])
    return table

"""Learn the merges of a byte-level BPE from counted words: the algorithm of ``tokenizer/train.py``, in flat arrays.

All distinct words lie in one array of symbols, one entry a byte, APART between words; a symbol of several bytes keeps
its id at its first and last byte and APART inside, so that a pair's neighbours are found by arithmetic. A pair gains
places only while the younger of its symbols is made, all of them in one merge: they are gathered, sorted by pair, and
stay where they are. Pairs whose count is below a falling bar stay out of the heap until the bar reaches them, so that
the heap holds the few that matter.

Ties go to the lexicographically greatest pair of byte strings; ``tokens`` holds the first eight bytes of each token,
most significant first, which decides most of them in one comparison.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.pairs import EMPTY, new_pairs, pair_key, pair_slot

APART = -1
BYTES = 256
LEFT, RIGHT, COUNT, FIRST, PLACES = 0, 1, 2, 3, 4
"""Columns of the pair store: the two symbols, how often they stand side by side, and where their places lie."""


def lay_out(text: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (symbols, weights), int32 and int64: the words with APART before, between and after them.

    Args:
        text: (S,) uint8, the words end to end.
        lengths, counts: (W,) int64.
    """
    size = len(text) + len(lengths) + 1
    symbols, weights = np.full(size, APART, dtype=np.int32), np.zeros(size, dtype=np.int64)
    word = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(text)) + word + 1
    symbols[places], weights[places] = text, counts[word]
    return symbols, weights


def learn(symbols: np.ndarray, weights: np.ndarray, n_merges: int) -> np.ndarray:
    """Return (M, 2) int32: the merges as pairs of symbols, M ≤ ``n_merges``; merge i makes symbol 256 + i.

    Args:
        symbols, weights: From ``lay_out``; the symbols are changed.
        n_merges: How many to learn, if there are so many.
    """
    slots = 1 << 16
    table, pair = new_pairs(slots), np.zeros((slots // 2, 5), dtype=np.int64)
    return _learn(symbols, weights, n_merges, table, pair)


@compiled()
def _learn(symbols, weights, n_merges, table, pair):  # noqa: ANN001, ANN202
    head, length, start, text = _byte_tokens(n_merges)
    size = np.zeros(1, dtype=np.int64)
    table, pair, arena = _first_pairs(symbols, weights, table, pair, size)
    used = len(arena)
    merges = np.empty((n_merges, 2), dtype=np.int32)
    heap, keys = np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int64)
    waiting, bar, learned = 0, np.int64(1) << 62, 0
    while learned < n_merges:
        if waiting == 0:
            if bar == 1:
                break
            bar, heap, keys, waiting = _lower(bar, pair, size[0], heap, keys, head, length, start, text)
            continue
        best = heap[0]
        count = pair[best, COUNT]
        if count != keys[0]:
            if count >= bar:
                keys[0] = count
            else:
                waiting -= 1
                heap[0], keys[0] = heap[waiting], keys[waiting]
            _sift_down(heap, keys, waiting, 0, pair, head, length, start, text)
            continue
        waiting -= 1
        heap[0], keys[0] = heap[waiting], keys[waiting]
        _sift_down(heap, keys, waiting, 0, pair, head, length, start, text)
        left, right, new = pair[best, LEFT], pair[best, RIGHT], BYTES + learned
        merges[learned, 0], merges[learned, 1] = left, right
        learned += 1
        text = _join(left, right, new, head, length, start, text)
        born = size[0]
        table, pair = _room(table, pair, born + 2 * pair[best, PLACES] + 2)
        arena, used = _merge(best, new, symbols, weights, length, table, pair, size, arena, used)
        for one in range(born, size[0]):
            if pair[one, COUNT] >= bar:
                if waiting == len(heap):
                    heap, keys = _doubled(heap), _doubled(keys)
                heap[waiting], keys[waiting] = one, pair[one, COUNT]
                _sift_up(heap, keys, waiting, pair, head, length, start, text)
                waiting += 1
    return merges[:learned]


@compiled()
def _byte_tokens(n_merges):  # noqa: ANN001, ANN202
    """Return head, length, start (256 + n_merges,) and text of the 256 bytes as tokens."""
    most = BYTES + n_merges
    head, text = np.zeros(most, dtype=np.uint64), np.empty(1 << 16, dtype=np.uint8)
    length, start = np.ones(most, dtype=np.int64), np.zeros(most, dtype=np.int64)
    for byte in range(BYTES):
        head[byte], start[byte], text[byte] = np.uint64(byte) << np.uint64(56), byte, byte
    return head, length, start, text


@compiled()
def _join(left, right, new, head, length, start, text):  # noqa: ANN001, ANN202
    """Write down the bytes of a new token, and return the text of all tokens, which may have grown."""
    place, size = start[new - 1] + length[new - 1], length[left] + length[right]
    while place + size > len(text):
        text = _doubled(text)
    for k in range(length[left]):
        text[place + k] = text[start[left] + k]
    for k in range(length[right]):
        text[place + length[left] + k] = text[start[right] + k]
    start[new], length[new] = place, size
    first = np.uint64(0)
    for k in range(min(size, 8)):
        first |= np.uint64(text[place + k]) << np.uint64(56 - 8 * k)
    head[new] = first
    return text


@compiled()
def _doubled(array):  # noqa: ANN001, ANN202
    larger = np.empty(2 * len(array), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@compiled()
def _room(table, pair, number):  # noqa: ANN001, ANN202
    """Return the pair table and store with room for ``number`` pairs; the table stays at most half full."""
    slots = len(table)
    if 2 * number <= slots:
        return table, pair
    while 2 * number > slots:
        slots *= 2
    wider = np.empty((slots, 2), dtype=np.uint64)
    for slot in range(slots):
        wider[slot, 0] = EMPTY
    for slot in range(len(table)):
        if table[slot, 0] != EMPTY:
            place = pair_slot(wider, table[slot, 0])
            wider[place, 0], wider[place, 1] = table[slot, 0], table[slot, 1]
    longer = np.empty((slots // 2, 5), dtype=np.int64)
    longer[: len(pair)] = pair
    return wider, longer


@compiled(inline="always")
def _index(left, right, table, pair, size):  # noqa: ANN001, ANN202
    """Return the place of a pair in the store, which has room; a new one has no count and no places."""
    key = pair_key(left, right)
    slot = pair_slot(table, key)
    if table[slot, 0] == EMPTY:
        one = size[0]
        table[slot, 0], table[slot, 1] = key, np.uint64(one)
        pair[one, LEFT], pair[one, RIGHT] = left, right
        pair[one, COUNT], pair[one, FIRST], pair[one, PLACES] = 0, 0, 0
        size[0] = one + 1
        return one
    return np.int64(table[slot, 1])


@compiled()
def _first_pairs(symbols, weights, table, pair, size):  # noqa: ANN001, ANN202
    """Find every pair of bytes: its count, and its places, one pair after the other in the arena."""
    number = len(symbols)
    which = np.full(number, -1, dtype=np.int32)
    for place in range(number - 1):
        left, right = symbols[place], symbols[place + 1]
        if left == APART or right == APART:
            continue
        table, pair = _room(table, pair, size[0] + 1)
        one = _index(left, right, table, pair, size)
        pair[one, COUNT] += weights[place]
        pair[one, PLACES] += 1
        which[place] = one
    total = 0
    for one in range(size[0]):
        pair[one, FIRST] = total
        total += pair[one, PLACES]
    arena, filled = np.empty(total, dtype=np.int32), np.zeros(size[0], dtype=np.int64)
    for place in range(number):
        one = which[place]
        if one >= 0:
            arena[pair[one, FIRST] + filled[one]] = place
            filled[one] += 1
    return table, pair, arena


@compiled()
def _merge(best, new, symbols, weights, length, table, pair, size, arena, used):  # noqa: ANN001, ANN202
    """Replace a pair by a new symbol everywhere, correct the counts beside it, and lay down the places of new pairs.

    The places of the pair ascend, so that overlapping pairs, "aaa", are merged from the left.
    """
    left, right = pair[best, LEFT], pair[best, RIGHT]
    first, number = pair[best, FIRST], pair[best, PLACES]
    left_length, right_length = length[left], length[right]
    born, gathered = size[0], 0
    which, where = np.empty(2 * number, dtype=np.int64), np.empty(2 * number, dtype=np.int32)
    for k in range(first, first + number):
        place = arena[k]
        middle = place + left_length
        if symbols[place] != left or symbols[middle] != right:
            continue
        weight, end = weights[place], middle + right_length
        before, after = symbols[place - 1], symbols[end]
        symbols[middle - 1] = symbols[middle] = APART
        symbols[place] = symbols[end - 1] = new
        if before != APART:
            pair[_index(before, left, table, pair, size), COUNT] -= weight
            one = _index(before, new, table, pair, size)
            pair[one, COUNT] += weight
            pair[one, PLACES] += 1
            which[gathered], where[gathered] = one, place - length[before]
            gathered += 1
        if after != APART:
            pair[_index(right, after, table, pair, size), COUNT] -= weight
            one = _index(new, after, table, pair, size)
            pair[one, COUNT] += weight
            pair[one, PLACES] += 1
            which[gathered], where[gathered] = one, place
            gathered += 1
    pair[best, COUNT], pair[best, PLACES] = 0, 0
    while used + gathered > len(arena):
        arena = _doubled(arena)
    for one in range(born, size[0]):
        pair[one, FIRST] = used
        used += pair[one, PLACES]
        pair[one, PLACES] = 0
    for k in range(gathered):
        one = which[k]
        arena[pair[one, FIRST] + pair[one, PLACES]] = where[k]
        pair[one, PLACES] += 1
    return arena, used


@compiled()
def _lower(bar, pair, number, heap, keys, head, length, start, text):  # noqa: ANN001, ANN202
    """Lower the bar until some pair reaches it, and put those that do into the empty heap."""
    most = 0
    for one in range(number):
        most = max(most, pair[one, COUNT])
    bar = max(1, min(bar - 1, most) // 2)
    waiting = 0
    for one in range(number):
        if pair[one, COUNT] >= bar:
            if waiting == len(heap):
                heap, keys = _doubled(heap), _doubled(keys)
            heap[waiting], keys[waiting] = one, pair[one, COUNT]
            _sift_up(heap, keys, waiting, pair, head, length, start, text)
            waiting += 1
    return bar, heap, keys, waiting


@compiled()
def _greater(one, other, head, length, start, text):  # noqa: ANN001, ANN202
    """Return whether token ``one`` is lexicographically greater than token ``other``."""
    if head[one] != head[other]:
        return head[one] > head[other]
    for k in range(8, min(length[one], length[other])):
        mine, theirs = text[start[one] + k], text[start[other] + k]
        if mine != theirs:
            return mine > theirs
    return length[one] > length[other]


@compiled()
def _ahead(one, key, other, other_key, pair, head, length, start, text):  # noqa: ANN001, ANN202
    """Return whether pair ``one`` is merged before ``other``: the higher count, then the greater byte strings."""
    if key != other_key:
        return key > other_key
    if pair[one, LEFT] != pair[other, LEFT]:
        return _greater(pair[one, LEFT], pair[other, LEFT], head, length, start, text)
    return _greater(pair[one, RIGHT], pair[other, RIGHT], head, length, start, text)


@compiled()
def _sift_up(heap, keys, place, pair, head, length, start, text):  # noqa: ANN001, ANN202
    one, key = heap[place], keys[place]
    while place > 0:
        above = (place - 1) >> 1
        if not _ahead(one, key, heap[above], keys[above], pair, head, length, start, text):
            break
        heap[place], keys[place] = heap[above], keys[above]
        place = above
    heap[place], keys[place] = one, key


@compiled()
def _sift_down(heap, keys, size, place, pair, head, length, start, text):  # noqa: ANN001, ANN202
    one, key = heap[place], keys[place]
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _ahead(
            heap[below + 1], keys[below + 1], heap[below], keys[below], pair, head, length, start, text
        ):
            below += 1
        if not _ahead(heap[below], keys[below], one, key, pair, head, length, start, text):
            break
        heap[place], keys[place] = heap[below], keys[below]
        place = below
    heap[place], keys[place] = one, key

"""Encode text: cut a word, look it up, and only when it is new apply the merges.

The words of real text repeat, so most of them cost one look-up (``words``). What a look-up finds is the word's only id,
or where its ids lie in a pool. The memory is bounded: a full table is emptied, so that it follows the text.

Two tuples go through the functions below: a *vocabulary*, (pages, classes, byte_ids, ranks, given), and the arrays of a
``Memory``:

    pages, classes  see ``scan.word_end``
    byte_ids        (256,) uint32, the id of each byte
    ranks           pairs to rank · 2³² + product, see ``pairs``
    given           words whose id is not for the merges to say: a table and the bytes of the long ones; see ``words``
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.classes import SPACE
from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.memory import BLOCK, load8
from diffusionlm.tokenizer.compiled.merge import merge_word
from diffusionlm.tokenizer.compiled.scan import cut_words
from diffusionlm.tokenizer.compiled.words import HIGH, LENGTH, LOW, SHORT, VALUE, find, keep_bytes, new_table, word_key

SLOTS = 1 << 18
"""Of the table: 8 MiB, and room for all distinct words of tens of megabytes of text."""
REMEMBERED = 256
"""Longest word, in bytes, that is remembered; a longer one seldom comes twice."""
LOOKAHEAD = 8
"""Bytes behind a word that its end may depend on: two characters."""
ARENA = 1 << 21
POOL = 1 << 20
CUT = 2048
"""Words that are cut before they are looked up: what fits in a processor's nearest memory."""
_COUNT_BITS = np.uint64(16)
_COUNT_MASK = np.uint64(0xFFFF)
WORDS, BYTES_USED, POOL_USED = 0, 1, 2


class Memory:
    """What one thread works with.

    Args:
        slots: Of the table; it is emptied when five eighths are taken.

    Attributes:
        arrays: The words that it has met: a table, the bytes of long words, the ids of words of several tokens, and how
            much of the three is used; and room for where the next words end.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.arrays = (
            new_table(slots),
            np.zeros(ARENA + REMEMBERED, dtype=np.uint8),
            np.empty(POOL + REMEMBERED, dtype=np.uint32),
            np.zeros(3, dtype=np.int64),
            np.empty(CUT + BLOCK, dtype=np.int64),
        )


@compiled()
def encode(text, n, certain, pattern, vocabulary, memory, out):  # noqa: ANN001, ANN201
    """Write the ids of the words of text[0 … n) that end by ``certain`` to ``out``.

    Args:
        text: Address of the UTF-8 bytes, padded.
        n: Their number.
        certain: Where to stop: n, or less where the text goes on and would change what is behind (see ``certain_end``).
        pattern: See ``scan.word_end``.
        vocabulary: See above.
        memory: The arrays of a ``Memory``.
        out: uint32, at least n long.

    Returns:
        How many ids were written, and of how many bytes they are.
    """
    pages, classes = vocabulary[0], vocabulary[1]
    table, arena, pool, _, ends = memory
    i, written, arena_address = 0, np.uint64(0), arena.ctypes.data
    while i < n:
        for word in range(np.uint64(cut_words(text, i, n, pattern, pages, classes, ends))):
            end = ends[word]
            if end > certain:
                return np.int64(written), i
            low, high = word_key(text + i, end - i)
            slot = find(table, arena_address, text + i, end - i, low, high)
            value = table[slot, VALUE]
            count = value & _COUNT_MASK
            if count == 1:
                out[written] = value >> _COUNT_BITS
            elif count == 0:
                into = out[written : written + np.uint64(end - i)]
                count = np.uint64(_new_word(text + i, end - i, low, high, vocabulary, memory, into))
            else:
                first = value >> _COUNT_BITS
                for k in range(count):
                    out[written + k] = pool[first + k]
            written += count
            i = end
    return np.int64(written), i


@compiled()
def _new_word(at, length, low, high, vocabulary, memory, into):  # noqa: ANN001, ANN202
    """Write the ids of a word that is not in the table, remember it unless it is very long, and return their number."""
    _, _, byte_ids, ranks, given = vocabulary
    count = _word_ids(at, length, low, high, byte_ids, ranks, given, into)
    if length <= REMEMBERED:
        table, arena, pool, used, _ = memory
        if 8 * used[WORDS] >= 5 * len(table) or used[BYTES_USED] >= ARENA or used[POOL_USED] >= POOL:
            table[:] = 0
            used[:] = 0
        slot = find(table, arena.ctypes.data, at, length, low, high)
        _remember(table, arena, pool, used, slot, low, high, at, length, into, count)
    return count


@compiled()
def _word_ids(at, length, low, high, byte_ids, ranks, given, out):  # noqa: ANN001, ANN202
    """Write what a word is by the vocabulary, and return how many ids it has."""
    words, arena = given
    slot = find(words, arena.ctypes.data, at, length, low, high)
    if words[slot, LENGTH] != 0:
        out[0] = words[slot, VALUE]
        return 1
    for k in range(length):
        out[k] = byte_ids[load8(at + k)]
    return merge_word(out, length, ranks)


@compiled()
def _remember(table, arena, pool, used, slot, low, high, at, length, ids, count):  # noqa: ANN001, ANN202
    table[slot, LOW], table[slot, HIGH], table[slot, LENGTH] = low, high, np.uint64(length)
    if length > SHORT:
        table[slot, HIGH] = np.uint64(used[BYTES_USED])
        keep_bytes(arena, used[BYTES_USED], at, length)
        used[BYTES_USED] += length
    payload = np.uint64(ids[0])
    if count != 1:
        payload = np.uint64(used[POOL_USED])
        for k in range(count):
            pool[used[POOL_USED] + k] = ids[k]
        used[POOL_USED] += count
    table[slot, VALUE] = payload << _COUNT_BITS | np.uint64(count)
    used[WORDS] += 1


@compiled()
def encode_documents(text, ends, pattern, vocabulary, memory, out, sizes):  # noqa: ANN001, ANN201
    """Write the ids of documents that lie end to end to ``out``, and the number of each to ``sizes``; return their sum.

    Args:
        ends: (D,) int64, where each document ends; no word spans two of them.
        sizes: (D,) int64, filled.
        The others are those of ``encode``.
    """
    begin, total = 0, 0
    for document in range(len(ends)):
        n = ends[document] - begin
        written, _ = encode(text + begin, n, n, pattern, vocabulary, memory, out[total:])
        sizes[document] = written
        total += written
        begin = ends[document]
    return total


@compiled()
def certain_end(text, n, pages, classes):  # noqa: ANN001, ANN201
    """Return a place such that a word of text[0 … n) that ends there or before is a word however the text goes on.

    A run of white space at the end may grow, and what a word is depends on a few characters behind it.
    """
    while n > 0 and load8(text + n - 1) < 0x80 and classes[np.uint64(load8(text + n - 1))] >= SPACE:
        n -= 1
    return max(0, n - LOOKAHEAD)


@compiled()
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

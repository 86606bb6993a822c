"""A trained vocabulary, compiled: whole texts, batches on several threads, and streams.

The functions below release the interpreter lock, so that threads encode side by side, each with a ``Memory`` of its
own. Everything here is identical to the reference in ``tokenizer/bpe.py``, to the byte; what it adds is speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from queue import SimpleQueue

import numpy as np

from diffusionlm.tokenizer.compiled import cores
from diffusionlm.tokenizer.compiled.classes import class_table
from diffusionlm.tokenizer.compiled.encode import Memory, certain_end, cut_place, encode, encode_documents
from diffusionlm.tokenizer.compiled.memory import PADDING, padded
from diffusionlm.tokenizer.compiled.pairs import filled, new_pairs
from diffusionlm.tokenizer.compiled.words import new_table

PIECE = 1 << 20
"""Bytes that one thread encodes at a time."""
PATTERN_CODES = {"gpt2": 0, "gpt4": 3, "qwen": 1}
"""The names of ``pretokenize.PATTERNS`` as the scanner knows them."""


class Engine:
    """Encodes UTF-8 bytes.

    Args:
        byte_ids: The ids of the 256 bytes.
        merges: (M, 3) int64: left id, right id and product, the most urgent first.
        pattern: See ``scan.word_end``.
        threads: Of a batch; None = one for each core.
        given: Words and their ids, whatever the merges make of them.
    """

    def __init__(
        self,
        byte_ids: Sequence[int],
        merges: np.ndarray,
        pattern: int,
        threads: int | None = None,
        given: Mapping[bytes, int] | None = None,
    ) -> None:
        self.byte_ids = np.asarray(byte_ids, dtype=np.uint32)
        slots = 1 << max(4, int(2 * len(merges)).bit_length())
        values = np.arange(len(merges), dtype=np.int64) << 32 | merges[:, 2]
        self.ranks = filled(new_pairs(slots), merges[:, 0], merges[:, 1], values)
        self.pattern = pattern
        self.pages, self.classes = class_table()
        self.vocabulary = (self.pages, self.classes, self.byte_ids, self.ranks, _word_table(given or {}))
        self.numbers = _numbers([*byte_ids, *merges[:, 2].tolist(), *(given or {}).values()])
        self.threads = threads or cores()
        self._idle: SimpleQueue[Memory] = SimpleQueue()

    @classmethod
    def of(
        cls,
        byte_ids: Sequence[int],
        ranks: Mapping[tuple[int, int], int],
        products: Sequence[int],
        pattern: str,
        given: Mapping[bytes, int],
    ) -> Engine:
        """Return the engine of a tokenizer: ranks of pairs in ascending order, and what each rank makes."""
        left = np.fromiter((pair[0] for pair in ranks), dtype=np.int64, count=len(ranks))
        right = np.fromiter((pair[1] for pair in ranks), dtype=np.int64, count=len(ranks))
        merges = np.stack((left, right, np.asarray(products, dtype=np.int64)), 1)
        return cls(byte_ids, merges, PATTERN_CODES[pattern], given=given)

    def encode(self, data: bytes) -> np.ndarray:
        """Return the ids of a text, uint32 (N,)."""
        text = padded(data)
        ids, _ = self._encode(text, 0, len(data), len(data))
        return ids

    def encode_list(self, data: bytes) -> list[int]:
        """Return the ids of a text as Python ints."""
        return self.as_list(self.encode(data))

    def as_list(self, ids: np.ndarray) -> list[int]:
        """Return ids as Python ints, every one made once and shared: twice as quick as ``tolist``, which makes each."""
        return self.numbers.take(ids).tolist()

    def encode_split(self, data: bytes) -> np.ndarray:
        """Return the ids of a long text, worked out on several threads."""
        text, n = padded(data), len(data)
        places = [0]
        while places[-1] < n:
            places.append(cut_place(text.ctypes.data, min(places[-1] + PIECE, n), n, self.pages, self.classes))
        spans = list(pairwise(places))

        def one(span: tuple[int, int]) -> np.ndarray:
            size = span[1] - span[0]
            return self._encode(text, span[0], size, size)[0]

        with ThreadPoolExecutor(self.threads) as pool:
            return np.concatenate([np.empty(0, dtype=np.uint32), *pool.map(one, spans)])

    def encode_batch(self, texts: Sequence[bytes]) -> list[list[int]]:
        """Return the ids of each text, worked out on several threads."""
        groups: list[list[bytes]] = [[]]
        size = 0
        for text in texts:
            if size >= PIECE // 4:
                groups.append([])
                size = 0
            groups[-1].append(text)
            size += len(text)

        def one(group: list[bytes]) -> list[list[int]]:
            # Lists are made under the interpreter's lock, while the other threads encode.
            ids, sizes = self.encode_many(group)
            places = [0, *np.cumsum(sizes).tolist()]
            return [self.as_list(ids[begin:end]) for begin, end in pairwise(places)]

        with ThreadPoolExecutor(self.threads) as pool:
            return list(chain.from_iterable(pool.map(one, groups)))

    def encode_many(self, documents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids (N,) uint32, sizes (D,) int64) of documents, end to end, on one thread."""
        text = padded(b"".join(documents))
        ends = np.cumsum(np.fromiter(map(len, documents), dtype=np.int64, count=len(documents)))
        out, sizes = np.empty(len(text) - PADDING, dtype=np.uint32), np.empty(len(documents), dtype=np.int64)
        memory = self._memory()
        n = encode_documents(text.ctypes.data, ends, self.pattern, self.vocabulary, memory.arrays, out, sizes)
        self._idle.put(memory)
        return out[:n].copy(), sizes

    def stream(self) -> Stream:
        """Return an encoder of one text that arrives in pieces."""
        return Stream(self)

    def _encode(self, text: np.ndarray, begin: int, n: int, certain: int) -> tuple[np.ndarray, int]:
        """Return the ids of n bytes from ``begin`` of a padded text up to ``certain``, and how many bytes they are."""
        memory, out = self._memory(), np.empty(n, dtype=np.uint32)
        written, read = encode(text.ctypes.data + begin, n, certain, self.pattern, self.vocabulary, memory.arrays, out)
        self._idle.put(memory)
        return out[:written].copy(), int(read)

    def _memory(self) -> Memory:
        return Memory() if self._idle.empty() else self._idle.get()


def _numbers(ids: Sequence[int]) -> np.ndarray:
    """Return the Python ints 0 … the greatest id, an array of objects."""
    return np.array(range(1 + max(ids)), dtype=object)


def _word_table(words: Mapping[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of words and their ids, and the bytes of the long ones."""
    if not words:
        return new_table(1), np.zeros(PADDING, dtype=np.uint8)
    from diffusionlm.tokenizer.compiled.count import Counter, absorb  # compiled for nothing without such words

    made, text = Counter(), padded(b"".join(words))
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    ids = np.fromiter(words.values(), dtype=np.int64, count=len(words))
    return absorb(text.ctypes.data, lengths, ids, made.table, made.arena, made.used)


class Stream:
    """The ids of one text that arrives in pieces, equal to those of the whole.

    What is kept is the last unfinished word: memory is bounded by the longest word and the largest piece.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[bytes] = []
        self._size = self._wait = 0

    def feed(self, data: bytes, *, final: bool) -> bytes:
        """Add whole characters; return the ids that are certain (all that are left if ``final``), native uint32s."""
        self._kept.append(data)
        self._size += len(data)
        # An unfinished word is looked at again only when the text has doubled: a long one in many pieces stays linear.
        if self._size < self._wait and not final:
            return b""
        whole = b"".join(self._kept)
        text, n, engine = padded(whole), len(whole), self._engine
        certain = n if final else certain_end(text.ctypes.data, n, engine.pages, engine.classes)
        ids, read = engine._encode(text, 0, n, certain)
        rest = whole[read:]
        self._kept, self._size, self._wait = [rest], len(rest), 2 * len(rest)
        return ids.tobytes()

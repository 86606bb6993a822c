"""Count the words of a corpus that arrives part by part: in plain Python while it is small, then compiled.

Memory is bounded by the distinct words and a few megabytes of text, with the compiler or without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from diffusionlm.tokenizer.base import Text, special_pattern
from diffusionlm.tokenizer.compiled import WORTHWHILE, cores, worthwhile
from diffusionlm.tokenizer.lossless import text_blocks, to_bytes, to_text
from diffusionlm.tokenizer.pretokenize import Pattern, WordStream
from diffusionlm.tokenizer.training import Words

if TYPE_CHECKING:
    from diffusionlm.tokenizer.compiled.train import ParallelCounter


class WordCounter:
    """The words of all pieces so far.

    Args:
        pattern: How text is cut into words.
        compiled: Use the compiled path always, never, or where it is worth it.

    Attributes:
        small: The counts while they are kept in plain Python.
        large: The compiled counter from when it is worth it; ``small`` is empty then.
    """

    def __init__(self, pattern: Pattern, compiled: bool | None = None) -> None:
        self.pattern: Pattern = pattern
        self.compiled = compiled
        self.small: Counter[bytes] = Counter()
        self.large: ParallelCounter | None = None
        self._size = 0

    def add(self, pieces: Iterable[bytes]) -> None:
        """Count the words of pieces; none spans two of them."""
        rest = iter(pieces)
        while self.large is None:
            block = list(_block(rest, WORTHWHILE))
            self._size += sum(map(len, block))
            if worthwhile(self._size, self.compiled):
                self._grow()
                rest = chain(block, rest)
            elif not block:
                return
            else:
                self.small.update(count_words(block, self.pattern))
        self.large.add(rest)

    def words(self) -> Words:
        """Return the words and their counts."""
        if self.large is not None:
            return Words(*self.large.gathered().words())
        import numpy as np

        sizes = np.fromiter(map(len, self.small), dtype=np.int64, count=len(self.small))
        counts = np.fromiter(self.small.values(), dtype=np.int64, count=len(self.small))
        return Words(np.frombuffer(b"".join(self.small), dtype=np.uint8), sizes, counts)

    def restore(self, words: Words) -> None:
        """Add words that were counted before."""
        self._size += int((words.lengths * words.counts).sum())
        if worthwhile(self._size, self.compiled):
            self._grow()
        if self.large is not None:
            self.large.absorb(words)
            return
        place, text = 0, words.text.tobytes()
        for length, count in zip(words.lengths.tolist(), words.counts.tolist(), strict=True):
            self.small[text[place : place + length]] += count
            place += length

    def _grow(self) -> None:
        """Go over to the compiled counter."""
        if self.large is not None:
            return
        from diffusionlm.tokenizer.compiled.engine import PATTERN_CODES
        from diffusionlm.tokenizer.compiled.train import ParallelCounter

        before = self.words()
        self.large = ParallelCounter(PATTERN_CODES[self.pattern], cores())
        if self.small:
            self.large.absorb(before)
            self.small = Counter()


def _block(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the next pieces until they are ``size`` bytes together."""
    while size > 0 and (piece := next(pieces, None)) is not None:
        yield piece
        size -= len(piece)


def count_words(texts: Iterable[Text], pattern: Pattern = "gpt2") -> Counter[bytes]:
    """Return how often each word occurs in ``texts``; memory is bounded by the distinct words and one text."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = WordStream(pattern)
        for block in text_blocks([text]):
            counts.update(words.feed(block))
        counts.update(words.feed("", final=True))
    by_bytes: Counter[bytes] = Counter()
    for word, count in counts.items():  # strings with surrogates may differ and still be the same bytes
        by_bytes[to_bytes(word)] += count
    return by_bytes


def plain_pieces(texts: Iterable[Text], special_tokens: Sequence[str]) -> Iterator[bytes]:
    """Yield the texts as bytes, cut where the name of a special token stands."""
    names = [to_bytes(name) for name in special_tokens]
    specials = special_pattern(special_tokens) if special_tokens else None
    for text in texts:
        data = to_bytes(text) if isinstance(text, str) else bytes(text)
        if specials is not None and any(name in data for name in names):
            yield from (to_bytes(piece or "") for piece in specials.split(to_text(data)))
        else:
            yield data


def first_bytes(texts: Iterable[Text], limit: int) -> Iterator[bytes]:
    """Yield the first ``limit`` bytes of the texts; the last one is cut at a character."""
    for text in texts:
        data = to_bytes(text) if isinstance(text, str) else bytes(text)
        yield data if len(data) <= limit else data[: _character_start(data, limit)]
        limit -= len(data)
        if limit <= 0:
            return


def _character_start(data: bytes, place: int) -> int:
    """Return where the UTF-8 character around ``place`` begins; ``place`` itself in bytes that are not UTF-8."""
    starts = (i for i in range(place, max(place - 4, -1), -1) if data[i] & 0xC0 != 0x80)  # not a continuation byte
    return next(starts, place)

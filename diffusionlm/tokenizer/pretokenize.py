"""Cut text into words, the units that no merge crosses: GPT-2's pattern, whole texts and streams.

A word is a contraction ('s, 't, 're, ...), a run of letters, of digits or of other signs, each with at most one space
before it, or a run of white space, which leaves its last character to what follows. The words of a text, joined, are
the text: every character is in exactly one of the pattern's classes (lone surrogates count as signs).

What is a letter or a digit is Unicode's to say, in the version that the installed ``regex`` knows: on characters that a
newer Unicode has added, two releases of any implementation of this pattern may cut differently. Either cut is lossless.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), the released encoder.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

LOOKAHEAD = 2
"""Characters after a word that its end may depend on: "'" is a word of its own unless "re", "ve" or "ll" follows."""


@cache
def _pattern() -> regex.Pattern[str]:
    import regex

    return regex.compile(GPT2_PATTERN)


def split_words(text: str) -> list[str]:
    """Return the words of ``text`` in order; joined they are ``text``. Example: "it's  ok" → it, 's, " ", " ok"."""
    return _pattern().findall(text)


class WordStream:
    """The words of a text that arrives in pieces, equal to ``split_words`` of the whole.

    A word is handed out when ``LOOKAHEAD`` characters behind it are known, so that no further text can change it. What
    is kept is the last unfinished word: memory is bounded by the longest word and the largest piece.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._kept = 0
        self._wait = 0

    def feed(self, text: str, *, final: bool = False) -> list[str]:
        """Add ``text``; return the words that are now certain, or with ``final`` all that are left."""
        self._pieces.append(text)
        self._kept += len(text)
        # An unfinished word is scanned again only when the text has doubled: a long word in many pieces stays linear.
        if self._kept < self._wait and not final:
            return []
        text = "".join(self._pieces)
        words = split_words(text)
        position = len(text)
        while words and not final and position > len(text) - LOOKAHEAD:
            position -= len(words.pop())
        rest = text[position:]
        self._pieces, self._kept, self._wait = [rest], len(rest), 2 * len(rest)
        return words

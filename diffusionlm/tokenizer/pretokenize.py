"""Cut text into words, the units that no merge crosses: whole texts and streams.

Three patterns are known by name: ``gpt2``; ``gpt4``, which also keeps a sign with the letters after it, line ends with
the signs before them, and at most three digits together (Llama 3's, too); and ``qwen``, the same with single digits.
``gpt4`` is the pattern's first release: later ones of ``tiktoken`` keep white space together at a text's very end.

In GPT-2's a word is a contraction ('s, 't, 're, ...), a run of letters, of digits or of other signs, each with at most
one space before it, or a run of white space, which leaves its last character to what follows. The words of a text,
joined, are the text: every character is in exactly one of the pattern's classes (lone surrogates count as signs).

What is a letter or a digit is Unicode's to say, in the version that the installed ``regex`` knows: on characters that a
newer Unicode has added, two releases of any implementation of this pattern may cut differently. Either cut is lossless.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), the released encoder.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import regex

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

_GPT4_LIKE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt2": GPT2_PATTERN,
    "gpt4": _GPT4_LIKE.replace("DIGITS", "3"),
    "qwen": _GPT4_LIKE.replace("{1,DIGITS}", ""),
}
Pattern = Literal["gpt2", "gpt4", "qwen"]

LOOKAHEAD = 2
"""Characters after a word that its end may depend on: "'" is a word of its own unless "re", "ve" or "ll" follows."""


@cache
def _compiled(pattern: Pattern) -> regex.Pattern[str]:
    import regex

    return regex.compile(PATTERNS[pattern])


def split_words(text: str, pattern: Pattern = "gpt2") -> list[str]:
    """Return the words of ``text`` in order; joined they are ``text``. Example: "it's  ok" → it, 's, " ", " ok"."""
    return _compiled(pattern).findall(text)


class WordStream:
    """The words of a text that arrives in pieces, equal to ``split_words`` of the whole.

    A word is handed out when ``LOOKAHEAD`` characters behind it are known, so that no further text can change it; a run
    of white space at the end may still grow, and is kept. Memory is bounded by the longest word and the largest piece.
    """

    def __init__(self, pattern: Pattern = "gpt2") -> None:
        self._pattern: Pattern = pattern
        self._pieces: list[str] = []
        self._kept = 0
        self._wait = 0

    def rest(self) -> str:
        """Return what is kept and forget it."""
        text = "".join(self._pieces)
        self._pieces, self._kept, self._wait = [], 0, 0
        return text

    def feed(self, text: str, *, final: bool = False) -> list[str]:
        """Add ``text``; return the words that are now certain, or with ``final`` all that are left."""
        self._pieces.append(text)
        self._kept += len(text)
        # An unfinished word is scanned again only when the text has doubled: a long word in many pieces stays linear.
        if self._kept < self._wait and not final:
            return []
        text = "".join(self._pieces)
        words = split_words(text, self._pattern)
        position, certain = len(text), len(text.rstrip()) - LOOKAHEAD
        while words and not final and position > certain:
            position -= len(words.pop())
        rest = text[position:]
        self._pieces, self._kept, self._wait = [rest], len(rest), 2 * len(rest)
        return words

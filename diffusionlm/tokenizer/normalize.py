"""Unicode's canonical composition (NFC), which some vocabularies expect: whole texts and streams.

The marks and their order are those of the Unicode version of the running Python. The ``tokenizers`` package carries an
older one: where a text stacks marks that are newer than it, their order and with it the ids may differ.

Composition looks back, so a stream is cut only before a character that joins nothing in front of it.

https://www.unicode.org/reports/tr15/
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Literal

from diffusionlm.tokenizer.lossless import to_bytes, to_text

Normalizer = Literal["nfc"]

_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
"""Hangul's vowels and final consonants: their compositions are a rule, not entries of the table."""


def nfc(data: bytes) -> bytes:
    """Return a text's UTF-8 bytes composed; bytes that are not UTF-8 stay as they are."""
    return data if data.isascii() else to_bytes(unicodedata.normalize("NFC", to_text(data)))


class NFCStream:
    """The composed text of one that arrives in pieces, equal to that of the whole."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def feed(self, text: str, *, final: bool) -> str:
        """Add ``text``; return what no further text can change, or with ``final`` all that is left."""
        cut = len(text) if final else next((i for i in range(len(text) - 1, -1, -1) if _begins(text[i])), None)
        if cut is None:
            self._kept.append(text)
            return ""
        done = "".join([*self._kept, text[:cut]])
        self._kept = [text[cut:]]
        return unicodedata.normalize("NFC", done)


def _begins(character: str) -> bool:
    """Return whether a character neither composes with one before it nor changes places with one."""
    if character.isascii():
        return True
    first = unicodedata.normalize("NFD", character)[0]
    return unicodedata.combining(first) == 0 and first not in _seconds()


@cache
def _seconds() -> frozenset[str]:
    """Return the characters that are the second of a canonical pair."""
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(0x110000))
    table = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    return frozenset(table | set(map(chr, _JAMO)))

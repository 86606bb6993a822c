"""Text to bytes and back without losing a byte.

The tokenizers split *text* (the pre-tokenisation pattern speaks of letters and digits) but their tokens are *bytes*.
Bytes that are not UTF-8 travel as the lone surrogates U+DC80..U+DCFF, Python's ``surrogateescape``, so that any input
at all, a binary file included, comes back exactly.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

BLOCK = 1 << 20
"""Characters handled at a time: large enough to be fast, small enough that a block's word list stays in memory."""


def to_text(data: str | bytes) -> str:
    """Return ``data`` as text; bytes that are not UTF-8 become lone surrogates U+DC80..U+DCFF."""
    return data if isinstance(data, str) else bytes(data).decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the UTF-8 bytes of ``text``; the inverse of ``to_text``.

    Surrogates outside the escape range (U+D800..U+DC7F, U+DD00..U+DFFF; they never come from ``to_text``) become the
    three bytes that their code point would have, so that no string at all is refused.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b"".join(
            c.encode("utf-8", "surrogateescape" if "\udc80" <= c <= "\udcff" else "surrogatepass") for c in text
        )


def text_blocks(chunks: Iterable[str | bytes]) -> Iterator[str]:
    """Yield the text of a stream in pieces of at most ``BLOCK`` characters.

    A character whose UTF-8 bytes lie in two byte chunks is put together again. A stream should be all text or all
    bytes; where the two meet, an unfinished character ends as escaped bytes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks:
        text = decoder.decode(b"", True) + chunk if isinstance(chunk, str) else decoder.decode(bytes(chunk))
        for start in range(0, len(text), BLOCK):
            yield text[start : start + BLOCK]
    yield decoder.decode(b"", True)

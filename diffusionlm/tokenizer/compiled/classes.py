"""What each character is to a pre-tokenisation pattern: letter, number, white space, line end, or another sign.

The classes are read off the installed ``regex``, so that the compiled scanner and the reference agree on every code
point, whatever Unicode version that is. A table of pages of 256 code points: most pages are alike and shared.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import regex

OTHER, LETTER, NUMBER, SPACE, NEWLINE = 0, 1, 2, 3, 4
"""NEWLINE is \\r and \\n, which are white space too: a class ≥ SPACE is white space."""
PAGE = 256


@cache
def class_table() -> tuple[np.ndarray, np.ndarray]:
    """Return (pages, classes), uint16 and uint8: the class of code point c is classes[pages[c >> 8] · 256 + (c & 255)].

    Page 0, Latin-1, is the first, so that the class of an ASCII byte b is classes[b].
    """
    everything = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    flat = np.full(0x110000, OTHER, dtype=np.uint8)
    for pattern, kind in ((r"\p{L}+", LETTER), (r"\p{N}+", NUMBER), (r"\s+", SPACE), (r"[\r\n]+", NEWLINE)):
        for match in regex.finditer(pattern, everything):
            flat[match.start() : match.end()] = kind
    kept: dict[bytes, int] = {}
    pages = [kept.setdefault(page.tobytes(), len(kept)) for page in flat.reshape(-1, PAGE)]
    return np.array(pages, dtype=np.uint16), np.frombuffer(b"".join(kept), dtype=np.uint8)

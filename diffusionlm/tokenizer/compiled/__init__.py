"""The tokenizer's fast path, compiled by Numba: identical to the reference, to the byte.

Reading order: jit, memory, classes, scan (cutting words), words and pairs (hash tables), merge, encode, engine; decode;
count, learn, train. Nothing is imported before it is worth it (``worthwhile``): compiling or loading takes a second.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

WORTHWHILE = 1 << 20
"""Bytes of text from which the compiled path is used; the ids do not depend on it."""


@cache
def available() -> bool:
    """Return whether Numba is installed."""
    return find_spec("numba") is not None


def worthwhile(size: int, wanted: bool | None) -> bool:
    """Return whether to use the compiled path for so many bytes, given what the caller wants (None = decide)."""
    return (size >= WORTHWHILE and available()) if wanted is None else wanted


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

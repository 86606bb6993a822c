"""Ids to bytes: the tokens lie end to end in one buffer, and are copied sixteen bytes at a time."""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence

import numpy as np

from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.memory import PADDING, copy16, padded

OUTSIDE = -1


class Decoder:
    """Decodes the ids of a vocabulary.

    Args:
        tokens: The bytes of every id.
    """

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._lengths = np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens))
        self._places = np.cumsum(self._lengths) - self._lengths
        self._text = padded(b"".join(tokens))

    def decode(self, ids: Collection[int]) -> bytes | None:
        """Return the bytes of ``ids``, joined; None if one is outside the vocabulary or no integer."""
        packed = _packed(ids)
        size = OUTSIDE if packed is None else _size(packed, self._lengths)
        if size == OUTSIDE:
            return None
        out = np.empty(size + PADDING, dtype=np.uint8)
        _copy(packed, self._text.ctypes.data, self._places, self._lengths, out.ctypes.data)
        return out[:size].tobytes()


def _packed(ids: Collection[int]) -> np.ndarray | None:
    """Return ids as a uint32 array; None if one does not fit or is none."""
    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
        packed = ids.astype(np.uint32)
        return packed if np.array_equal(packed, ids) else None
    try:
        return np.frombuffer(array("I", ids), dtype=np.uint32)  # a third of the time of np.array
    except (OverflowError, TypeError):
        return None


@compiled()
def _size(ids, lengths):  # noqa: ANN001, ANN202
    size, known = 0, len(lengths)
    for id in ids:
        if id >= known:
            return OUTSIDE
        size += lengths[id]
    return size


@compiled()
def _copy(ids, text, places, lengths, out):  # noqa: ANN001, ANN202
    """Copy tokens to an address with ``PADDING`` behind: what is too much of one, the next one overwrites."""
    for id in ids:
        for k in range(0, lengths[id], 16):
            copy16(out + k, text + places[id] + k)
        out += lengths[id]

"""Reading bytes where they lie: eight at a time, from any address.

A word of text is compared and hashed as one or two 64-bit numbers. NumPy arrays cannot be read across their elements,
so these two functions take an address; the caller keeps the buffer alive and padded (``padded``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

PADDING = 16
"""Readable bytes behind the end of a buffer: what the last loads may touch."""


@intrinsic
def load8(typing_context: Any, address: Any) -> Any:
    """Return the byte at an address, as int64."""
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(pointer), ir.IntType(64))

    return types.int64(types.int64), code


@intrinsic
def load64(typing_context: Any, address: Any) -> Any:
    """Return the eight bytes from an address on, little-endian, as uint64."""
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(types.int64), code


def padded(data: bytes | bytearray | memoryview) -> np.ndarray:
    """Return a copy of ``data`` as uint8 with ``PADDING`` zero bytes behind it; its length includes them."""
    size = len(data)
    buffer = np.empty(size + PADDING, dtype=np.uint8)
    buffer[:size] = np.frombuffer(data, dtype=np.uint8)
    buffer[size:] = 0
    return buffer

"""Reading bytes where they lie: one, eight or sixty-four at a time, from any address.

A word of text is compared and hashed as one or two 64-bit numbers, and classified sixty-four bytes at a time. NumPy
arrays cannot be read across their elements, so these functions take an address; the caller keeps the buffer alive and
padded (``padded``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 64
"""Bytes that ``between`` reads."""
PADDING = BLOCK
"""Readable bytes behind the end of a buffer: what the last loads may touch."""
_FIRST = ir.Constant(ir.IntType(32), 0)
_SAME = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)


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


@intrinsic
def copy16(typing_context: Any, to: Any, address: Any) -> Any:
    """Copy sixteen bytes."""
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = [builder.inttoptr(place, ir.IntType(128).as_pointer()) for place in arguments]
        builder.store(builder.load(pointers[1], align=1), pointers[0], align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def between(typing_context: Any, address: Any, lowest: Any, highest: Any, flags: Any) -> Any:
    """Return which of the 64 bytes from an address on are, with ``flags`` set, in lowest … highest: byte k is bit k.

    In the machine's widest registers this is a few instructions, where a loop would take a branch for each byte.
    """
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        byte, block = ir.IntType(8), ir.VectorType(ir.IntType(8), BLOCK)

        def everywhere(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(block, ir.Undefined), builder.trunc(value, byte), _FIRST)
            return builder.shuffle_vector(one, ir.Constant(block, ir.Undefined), _SAME)

        least, most, flag = map(everywhere, arguments[1:])
        found = builder.load(builder.inttoptr(arguments[0], block.as_pointer()), align=1)
        found = builder.sub(builder.or_(found, flag), least)
        return builder.bitcast(builder.icmp_unsigned("<=", found, builder.sub(most, least)), ir.IntType(64))

    return types.uint64(types.int64, types.int64, types.int64, types.int64), code


@intrinsic
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """Return the place of the lowest bit that is set, as int64; 64 if none is."""
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@intrinsic
def bit_length(typing_context: Any, bits: Any) -> Any:
    """Return the place behind the highest bit that is set, as int64; 0 if none is."""
    del typing_context

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.uint64), code


def padded(data: bytes | bytearray | memoryview) -> np.ndarray:
    """Return a copy of ``data`` as uint8 with ``PADDING`` zero bytes behind it; its length includes them."""
    size = len(data)
    buffer = np.empty(size + PADDING, dtype=np.uint8)
    buffer[:size] = np.frombuffer(data, dtype=np.uint8)
    buffer[size:] = 0
    return buffer

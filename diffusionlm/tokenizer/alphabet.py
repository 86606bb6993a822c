"""The 256 printable characters that stand for bytes in GPT-2's ``vocab.json`` and ``merges.txt``.

Printable Latin-1 bytes stand for themselves; the other 68 (controls, space, DEL, 127-160, 173) are shown as U+0100,
U+0101, ... in byte order. None of the 256 is white space, which is what makes a space-separated merges file safe. The
order, printable bytes first, is also the order of the first 256 token ids.
"""

from __future__ import annotations

from functools import cache

SHIFTED = 0x100


@cache
def byte_order() -> bytes:
    """Return the 256 byte values in GPT-2's id order: byte_order()[i] is the byte that token i stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return bytes(printable + sorted(set(range(256)) - set(printable)))


@cache
def _characters() -> dict[int, str]:
    order = byte_order()
    printable = order.index(0)  # byte 0 is the first that is not printable
    return {byte: chr(byte if i < printable else SHIFTED + i - printable) for i, byte in enumerate(order)}


@cache
def _bytes() -> dict[str, int]:
    return {character: byte for byte, character in _characters().items()}


def show(token: bytes) -> str:
    """Return ``token`` as written in the files, one character for each byte. Example: show(b" a") == "Ġa"."""
    characters = _characters()
    return "".join([characters[byte] for byte in token])


def read(shown: str) -> bytes:
    """Return the bytes that ``shown`` stands for.

    Raises:
        KeyError: A character stands for no byte.
    """
    values = _bytes()
    return bytes([values[character] for character in shown])

"""Ids as callers give them, lists, arrays, tensors, generators: what is no sequence of integers is told in one line."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import index

from diffusionlm.errors import TokenizerError


def collected(ids: Iterable[int]) -> Collection[int]:
    """Return ids as something that can be gone through twice.

    Raises:
        TokenizerError: They are a text or a single number.
    """
    if isinstance(ids, str | bytes | bytearray):
        raise TokenizerError(f"ids must be a sequence of integers; got text ({type(ids).__name__}), which encode takes")
    try:
        given = ids if isinstance(ids, Collection) else list(ids)
        len(given)
    except TypeError:
        raise TokenizerError(
            f"ids must be a sequence of integers; got {_shown(ids)}; put a single id into a list"
        ) from None
    return given


def whole(id: object) -> int:
    """Return an id as a Python int.

    Raises:
        TokenizerError: It is no integer; truth values of NumPy and PyTorch are none.
    """
    try:
        return index(id)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TokenizerError(f"ids must be integers; got {_shown(id)}; give one row of what encode returns, as integers")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 40 else text[:39] + '…'} ({type(value).__name__})"

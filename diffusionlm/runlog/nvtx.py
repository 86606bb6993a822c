"""NVTX ranges: names for the parts of a step in a CUDA profiler's timeline.

Off, ``Nvtx.range`` hands out one and the same null object: no CUDA call, no allocation, no torch import.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from diffusionlm.lazy import torch


class Range(Protocol):
    """What a ``with`` statement needs."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _NullRange:
    """A range that marks nothing."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class _NvtxRange:
    """One named range on this thread's NVTX stack."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        torch.cuda.nvtx.range_push(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.cuda.nvtx.range_pop()


NULL_RANGE = _NullRange()


class Nvtx:
    """Hands out ranges: ``with nvtx.range("forward"): ...``.

    Args:
        wanted: Whether ranges were asked for; without CUDA they stay off.

    Attributes:
        on: Whether ranges are marked.
        note: Why they are off although wanted; None otherwise.
    """

    def __init__(self, wanted: bool) -> None:
        self.on = wanted and torch.cuda.is_available()
        self.note = "nvtx ranges need a CUDA device; none here, so none are marked" if wanted and not self.on else None

    def range(self, name: str) -> Range:
        """Return a context manager that marks what runs inside it."""
        return _NvtxRange(name) if self.on else NULL_RANGE

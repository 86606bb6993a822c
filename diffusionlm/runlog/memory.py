"""The CUDA allocator's history: which line allocated what, for https://pytorch.org/memory_viz.

    history = MemoryHistory(wanted=params.memory_history)
    history.start();  …train…;  history.dump(folder / "memory.pickle")

The snapshot is in torch's own format, for that page; nothing here ever reads one. Without CUDA there is no history, and
``note`` says so.
"""

from __future__ import annotations

from pathlib import Path

from diffusionlm.lazy import torch

MAX_ENTRIES = 100_000
"""Most events kept; older ones are dropped."""


class MemoryHistory:
    """Records allocations between ``start`` and ``stop``.

    Args:
        wanted: Whether a history was asked for; without CUDA it stays off.

    Attributes:
        on: Whether a history is recorded once started.
        note: Why it is off although wanted; None otherwise.
    """

    def __init__(self, wanted: bool) -> None:
        self.on = wanted and torch.cuda.is_available()
        self.note = "memory history needs a CUDA device; none here, so none is kept" if wanted and not self.on else None

    def start(self) -> None:
        """Begin to record, at most ``MAX_ENTRIES`` events."""
        if self.on:
            torch.cuda.memory._record_memory_history(max_entries=MAX_ENTRIES)

    def dump(self, path: Path) -> bool:
        """Write what has been recorded so far to ``path``; return whether there was anything to write."""
        if self.on:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.cuda.memory._dump_snapshot(str(path))
        return self.on

    def stop(self) -> None:
        """Stop recording and forget the history."""
        if self.on:
            torch.cuda.memory._record_memory_history(enabled=None)

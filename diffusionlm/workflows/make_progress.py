"""What a command says while it goes through a text: how far it is, how fast, how long it will take, and memory.

In a terminal it is one line that changes; elsewhere (a job's log) a line now and then.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.workflows.talk import plural, say

LOG_SECONDS = 30.0
"""Time between two lines where stderr is no terminal."""


class MakeProgress:
    """Shows how far one text is. Use as a context manager; called with the documents, tokens and bytes done so far.

    Args:
        side: What the text is called.
        begun_with: Bytes that an earlier run had done already, so that they do not count as speed.
        expected: Bytes of text there are, about; None where the source does not know.
        memory: Told to look at the workers.
    """

    def __init__(self, side: str, begun_with: int, expected: int | None, memory: PeakMemory) -> None:
        self.side, self.begun_with, self.expected, self.memory = side, begun_with, expected, memory
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(f"{side}: …", total=None)
        self._began = self._said = time.perf_counter()

    def __enter__(self) -> MakeProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, documents: int, tokens: int | None, size: int) -> None:
        """Show what has been done so far; None where no tokens are made."""
        self.memory.note()
        now = time.perf_counter()
        words = progress_words(self.side, documents, tokens, size, now - self._began, self.begun_with, self.expected)
        self._bar.update(self._task, description=words)
        if self._bar.disable and now - self._said >= LOG_SECONDS:
            say(words)
            self._said = now


def progress_words(
    side: str, documents: int, tokens: int | None, size: int, seconds: float, begun_with: int, expected: int | None
) -> str:
    """Return one line: what is done of how much, at what speed, and what time is left where that can be told.

    Args:
        side: What the text is called.
        documents, tokens, size: What is done; ``size`` in bytes of text, ``tokens`` None where none are made.
        seconds: Since this run began.
        begun_with: Bytes that were done before.
        expected: Bytes in all, about; None if unknown.
    """
    speed = (size - begun_with) / max(seconds, 1e-9)
    of = "" if expected is None else f" of about {max(expected, size) / 1e6:,.1f}"
    made = "" if tokens is None else f"{tokens:,} tokens, "
    line = f"{side}: {plural(documents, 'document')}, {made}{size / 1e6:,.1f}{of} MB, {speed / 1e6:.1f} MB/s"
    if expected is None or speed <= 0:
        return line
    return f"{line}, {_span(max(0.0, (expected - size) / speed))} left"


def _span(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

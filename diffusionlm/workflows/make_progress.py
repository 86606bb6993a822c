"""What a command says while it goes through a text: how far it is, how fast, how long it will take, and memory."""

from __future__ import annotations

import time

from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.workflows.changing_line import ChangingLine, clock
from diffusionlm.workflows.talk import plural


class MakeProgress(ChangingLine):
    """Shows how far one text is. Use as a context manager; called with the documents, tokens and bytes done so far.

    Args:
        side: What the text is called.
        begun_with: Bytes that an earlier run had done already, so that they do not count as speed.
        expected: Bytes of text there are, about; None where the source does not know.
        memory: Told to look at the workers.
    """

    def __init__(self, side: str, begun_with: int, expected: int | None, memory: PeakMemory) -> None:
        self.side, self.begun_with, self.expected, self.memory = side, begun_with, expected, memory
        self._began = time.perf_counter()
        super().__init__(f"{side}: …", self._began)

    def __call__(self, documents: int, tokens: int | None, size: int) -> None:
        """Show what has been done so far; None where no tokens are made."""
        self.memory.note()
        seconds = time.perf_counter() - self._began
        self.show(lambda: progress_words(self.side, documents, tokens, size, seconds, self.begun_with, self.expected))


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
    return f"{line}, {clock(max(0.0, (expected - size) / speed))} left"

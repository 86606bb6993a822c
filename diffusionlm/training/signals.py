"""Leaving on Ctrl-C or SIGTERM: finish the step, save, say how to go on.

The first signal only sets a flag that the loop reads between two steps; a second Ctrl-C interrupts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the run has been asked to stop, and by what.

    Attributes:
        signal_name: ``"SIGINT"`` or ``"SIGTERM"`` once one has come; else None.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second Ctrl-C raises KeyboardInterrupt."""
        if self.signal_name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Yield a request that SIGINT and SIGTERM set, and give both back their former meaning afterwards.

    Outside the main thread, where Python allows no handlers, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

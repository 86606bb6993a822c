"""Leaving on Ctrl-C, SIGTERM or SIGHUP (a lost terminal): finish the step, save, say how to go on.

The first signal only sets a flag that the loop reads between two steps; a second Ctrl-C interrupts at once. Outside the
loop each of them ends the command as Ctrl-C does, so that half-written files are removed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP has come, where no loop asks for it."""

    def __init__(self, number: int) -> None:
        self.signal_name = signal.Signals(number).name
        super().__init__(self.signal_name)


def raise_on_termination() -> None:
    """Let SIGTERM and SIGHUP raise ``Terminated`` in this process, unless they are ignored (as under nohup)."""
    own = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker, which has nothing to clean up: it ends as it would have
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, terminate)


class StopRequest:
    """Whether the run has been asked to stop, and by what.

    Attributes:
        signal_name: ``"SIGINT"``, ``"SIGTERM"`` or ``"SIGHUP"`` once one has come; else None.
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
    """Yield a request that the signals set, and give them back their former meaning afterwards.

    An ignored SIGHUP stays ignored: nohup asked for that. Outside the main thread, where Python allows no handlers, the
    request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    wanted = STOPPING if hung_up else STOPPING[:2]
    former = {number: signal.signal(number, request.receive) for number in wanted}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

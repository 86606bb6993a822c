"""How far long work is, in one line on stderr: in a terminal it changes in place; in a job's log it comes now and then.

with ChangingLine() as line:
    for part in work:
        line.show(lambda: f"{part} of {len(work)}")
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from diffusionlm.workflows.talk import plural, say

LOG_SECONDS, SCREEN_SECONDS = 30.0, 0.1
"""Time between two lines where stderr is no terminal, and between two changes of the line where it is."""


class ChangingLine:
    """Shows words about work that goes on. Use as a context manager.

    Args:
        first: What a terminal shows until there is more to say.
        since: When the work began, by ``time.perf_counter``; now, unless it began before this.
    """

    def __init__(self, first: str = "…", since: float | None = None) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(first, total=None)
        self._every = LOG_SECONDS if self._bar.disable else SCREEN_SECONDS
        self._shown = time.perf_counter() if since is None else since

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, words: Callable[[], str]) -> None:
        """Show what ``words`` returns, which is asked only when it is time for it."""
        now = time.perf_counter()
        if now - self._shown < self._every:
            return
        self._shown = now
        if self._bar.disable:
            say(words())
        else:
            self._bar.update(self._task, description=words())


@contextmanager
def counted(doing: str, total: int, noun: str) -> Iterator[Callable[[int], None]]:
    """Give a function to be called with the number of parts just done; shows how many of ``total`` are, and the time.

    Args:
        doing: What is done, as in "scoring".
        total: Parts in all.
        noun: What one part is.
    """
    began, done = time.perf_counter(), 0

    def words() -> str:
        left = (total - done) * (time.perf_counter() - began) / max(done, 1)
        return f"{doing}: {done:,} of {plural(total, noun)}, {clock(left)} left"

    def advance(parts: int) -> None:
        nonlocal done
        done += parts
        line.show(words)

    with ChangingLine(f"{doing} …") as line:
        yield advance


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

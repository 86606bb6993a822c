"""Steps of micro-batches for one rank, prepared ahead of their use by a background thread.

The rows of a step are one contiguous range of the global order; rank k of W takes the k-th of W equal parts, cut into
micro-batches. The stream's ``cursor`` belongs to the last step handed out, not to the last one prepared, so what is
saved in a checkpoint never counts a step that was prepared and not trained on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from queue import Empty, Full, Queue
from typing import Protocol

from diffusionlm.data.batch import Batch
from diffusionlm.errors import ConfigError, DataError

_POLL_SECONDS, _PATIENCE_SECONDS = 0.1, 5.0
_Item = tuple[list[Batch], dict[str, int]] | BaseException


class Loader(Protocol):
    """What a stream reads: ``RowLoader`` (random access) or ``StreamLoader`` (sequential)."""

    first_cursor: dict[str, int]

    def steps(
        self, cursor: Mapping[str, int], rows_per_step: int, first: int, count: int
    ) -> Iterator[tuple[Batch, dict[str, int]]]:
        """Yield rows ``first`` to ``first + count`` of each step from ``cursor`` on, with the cursor after the step."""
        ...


class StepStream:
    """An endless iterator of steps; each item is the list of this rank's micro-batches.

    Attributes:
        cursor: Where the run stands after the last step handed out; give it to ``stream`` to continue exactly there.
        waited_s: Seconds that the consumer has waited for data so far.
    """

    def __init__(
        self, steps: Iterator[tuple[Batch, dict[str, int]]], cursor: Mapping[str, int], micro_rows: int, prefetch: int
    ) -> None:
        self.cursor = dict(cursor)
        self.waited_s = 0.0
        self._steps, self._micro_rows = steps, micro_rows
        self._stop = threading.Event()
        self._queue: Queue[_Item] = Queue(maxsize=max(1, prefetch))
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        if prefetch > 0:
            self._thread = threading.Thread(target=self._produce, name="flowlm-data", daemon=True)
            self._thread.start()

    def __iter__(self) -> StepStream:
        return self

    def __next__(self) -> list[Batch]:
        """Return the next step's micro-batches.

        Raises:
            Exception: Whatever the loader raised, as it was raised.
        """
        if self._failure is not None:
            raise self._failure
        if self._stop.is_set():
            raise StopIteration
        begin = time.perf_counter()
        item = self._attempt() if self._thread is None else self._receive()
        self.waited_s += time.perf_counter() - begin
        if isinstance(item, BaseException):
            self._failure = item
            raise item
        batches, self.cursor = item
        return batches

    def close(self) -> None:
        """Stop the background thread and forget what it prepared; the cursor stays valid."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)  # a read that hangs must not keep the run from ending; it is a daemon

    def __enter__(self) -> StepStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _attempt(self) -> _Item:
        """Make the next step, or return what went wrong."""
        try:
            batch, cursor = next(self._steps)
        except BaseException as error:  # re-raised in the consumer, whatever it is
            return error
        return [batch.rows(i, i + self._micro_rows) for i in range(0, len(batch), self._micro_rows)], cursor

    def _receive(self) -> _Item:
        while True:
            try:
                return self._queue.get(timeout=1.0)
            except Empty:
                assert self._thread is not None
                assert self._thread.is_alive() or not self._queue.empty(), "the data thread ended without a word"

    def _produce(self) -> None:
        """Fill the queue until the stream is closed; an exception is the last thing put."""
        while not self._stop.is_set():
            item = self._attempt()
            self._put(item)
            if isinstance(item, BaseException):
                return

    def _put(self, item: _Item) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue


def stream(
    loader: Loader,
    cursor: Mapping[str, int] | None,
    rows_per_step: int,
    micro_rows: int,
    *,
    rank: int = 0,
    world: int = 1,
    prefetch: int = 2,
) -> StepStream:
    """Return the endless stream of one rank's steps.

    Args:
        loader: Where rows come from.
        cursor: Where to begin; None is the start of the run.
        rows_per_step: Rows of an optimizer step over all ranks and micro-batches.
        micro_rows: Rows of a micro-batch; the last one of a step may be smaller.
        rank, world: Which of how many equal parts of every step; the parts in rank order are the step of one process.
        prefetch: Steps prepared ahead by a background thread; 0 uses no thread.

    Raises:
        ConfigError: The rows of a step cannot be shared out equally.
        DataError: The cursor belongs to another kind of loader.
    """
    assert 0 <= rank < world, f"rank {rank} must lie in [0, {world})"
    if rows_per_step % world or rows_per_step < 1 or micro_rows < 1:
        raise ConfigError(
            f"a step of {rows_per_step} rows in micro-batches of {micro_rows} cannot be shared by {world} processes; "
            f"rows per step must be a positive multiple of {world}"
        )
    start = loader.first_cursor if cursor is None else dict(cursor)
    if start.keys() != loader.first_cursor.keys():
        raise DataError(
            f"the data cursor has {', '.join(start)} where this source has {', '.join(loader.first_cursor)}; a run "
            "continues only with the kind of source (streamed or not) it began with"
        )
    count = rows_per_step // world
    return StepStream(loader.steps(start, rows_per_step, rank * count, count), start, micro_rows, prefetch)

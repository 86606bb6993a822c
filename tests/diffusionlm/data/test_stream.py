from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.stream import stream
from diffusionlm.errors import ConfigError, DataError
from tests.diffusionlm.data.doubles import addressed_store

STORE = addressed_store([11, 30, 4, 4, 25, 9, 60, 2])


def loader() -> RowLoader:
    return RowLoader(STORE, 16, "packed", seed=3)


def equal(one: Batch, two: Batch) -> bool:
    return all(torch.equal(tensor, vars(two)[name]) for name, tensor in vars(one).items())


def steps(number: int, world: int = 1, micro_rows: int = 100, prefetch: int = 0) -> list[Batch]:
    """Return whole steps of 12 rows, put together from the ranks and their micro-batches."""
    streams = [
        stream(loader(), None, 12, micro_rows, rank=rank, world=world, prefetch=prefetch) for rank in range(world)
    ]
    found = [concatenate([part for one in streams for part in next(one)]) for _ in range(number)]
    for one in streams:
        one.close()
    return found


@pytest.mark.parametrize(("world", "micro_rows", "prefetch"), [(1, 5, 0), (2, 6, 0), (3, 1, 2), (4, 2, 1), (12, 1, 0)])
def test_ranks_and_micro_batches_put_together_are_the_step_of_one_process(
    world: int, micro_rows: int, prefetch: int
) -> None:
    for whole, parts in zip(steps(7), steps(7, world, micro_rows, prefetch)):
        assert equal(whole, parts)


def test_steps_are_the_global_order() -> None:
    for number, step in enumerate(steps(7)):
        assert equal(step, loader().batch(np.arange(12 * number, 12 * number + 12)))


def test_micro_batches_have_the_size_asked_for() -> None:
    with stream(loader(), None, 12, 5, prefetch=0) as one:
        assert [len(batch) for batch in next(one)] == [5, 5, 2]


@given(done=st.integers(0, 9), prefetch=st.integers(0, 3), rows=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_resuming_from_any_cursor_equals_going_on(done: int, prefetch: int, rows: int) -> None:
    with stream(loader(), None, rows, rows, prefetch=prefetch) as unbroken:
        for _ in range(done):
            next(unbroken)
        cursor = dict(unbroken.cursor)
        assert cursor == {"row": done * rows}, "the cursor counts what was handed out, not what was prepared"
        with stream(loader(), cursor, rows, rows, prefetch=prefetch) as resumed:
            for _ in range(4):
                assert equal(concatenate(next(unbroken)), concatenate(next(resumed)))
                assert unbroken.cursor == resumed.cursor


def test_a_step_may_hold_more_rows_than_an_epoch() -> None:
    small = RowLoader(addressed_store([20]), 16, "packed", seed=3)
    with stream(small, None, 5, 5, prefetch=1) as one:
        (batch,) = next(one)
        assert len(batch) == 5
        assert one.cursor == {"row": 5}


class Failing:
    """A loader that gives one step, then fails."""

    first_cursor = {"row": 0}

    def steps(
        self, cursor: Mapping[str, int], rows_per_step: int, first: int, count: int
    ) -> Iterator[tuple[Batch, dict[str, int]]]:
        yield loader().batch(np.arange(count)), {"row": rows_per_step}
        raise DataError("the disk went away")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_of_the_loader_reaches_the_consumer(prefetch: int) -> None:
    one = stream(Failing(), None, 4, 4, prefetch=prefetch)
    next(one)
    for _ in range(2):  # and stays
        with pytest.raises(DataError, match="the disk went away"):
            next(one)
    assert one.cursor == {"row": 4}
    one.close()


def data_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flowlm-data"]


def test_closing_ends_the_thread_even_when_its_queue_is_full() -> None:
    before = len(data_threads())
    one = stream(loader(), None, 2, 2, prefetch=1)
    next(one)
    time.sleep(0.05)  # the thread is now waiting for room
    assert len(data_threads()) == before + 1
    one.close()
    one.close()
    assert len(data_threads()) == before
    with pytest.raises(StopIteration):
        next(one)


class Slow(RowLoader):
    """A loader that needs a while for each step."""

    def batch(self, row_indices: np.ndarray) -> Batch:
        time.sleep(0.05)
        return super().batch(row_indices)


def test_waiting_is_measured_and_prefetching_hides_it() -> None:
    # Rows so long that a loader makes one step at a time.
    store = addressed_store([100_000] * 4)
    with stream(Slow(store, 1 << 18), None, 1, 1, prefetch=0) as one:
        for _ in range(3):
            next(one)
        assert one.waited_s >= 0.15
    with stream(Slow(store, 1 << 18), None, 1, 1, prefetch=3) as one:
        time.sleep(0.6)
        for _ in range(3):
            next(one)
        assert one.waited_s < 0.1


def test_rows_that_cannot_be_shared() -> None:
    with pytest.raises(
        ConfigError, match=r"a step of 10 rows .* by 4 processes; rows per step must be a positive multiple"
    ):
        stream(loader(), None, 10, 2, world=4)
    with pytest.raises(ConfigError, match="micro-batches of 0"):
        stream(loader(), None, 10, 0)


def test_a_cursor_of_another_kind_of_source() -> None:
    with pytest.raises(DataError, match="the data cursor has epoch, document, token where this source has row"):
        stream(loader(), {"epoch": 0, "document": 0, "token": 0}, 4, 4)

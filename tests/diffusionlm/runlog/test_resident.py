from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

import pytest

from diffusionlm.runlog.resident import PeakMemory, anonymous_mib, peak_mib, resident_mib

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc, on Linux")


def test_a_peak_stays_and_what_is_held_does_not() -> None:
    before = anonymous_mib()
    block = bytearray(b"x") * (200 << 20)
    assert anonymous_mib() > before + 190
    assert resident_mib() >= anonymous_mib()
    del block
    assert anonymous_mib() < before + 50
    assert peak_mib() > before + 190


def hold(pipe: Connection) -> None:
    block = bytearray(b"x") * (100 << 20)
    pipe.send(len(block))
    time.sleep(60)


def test_a_worker_counts_even_after_it_has_ended() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    memory = PeakMemory()
    worker = context.Process(target=hold, args=(theirs,), daemon=True)
    worker.start()
    ours.recv()
    memory.note()
    assert worker.pid is not None
    assert memory.mib > peak_mib() + 100
    worker.kill()
    worker.join()
    assert peak_mib(worker.pid) == 0.0
    assert memory.mib > peak_mib() + 100

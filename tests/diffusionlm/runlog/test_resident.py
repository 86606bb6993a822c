from __future__ import annotations

import mmap
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffusionlm.runlog import resident
from diffusionlm.runlog.resident import PeakMemory, anonymous_mib, peak_mib, resident_mib

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what a process holds now")


@LINUX
def test_a_peak_stays_and_what_is_held_does_not() -> None:
    before = anonymous_mib()
    # Pages of its own: a block from malloc may lie in memory that the process holds already.
    block = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    assert anonymous_mib() > before + 190
    assert resident_mib() >= anonymous_mib()
    block.close()
    assert anonymous_mib() < before + 50
    assert peak_mib() > before + 190


def hold(pipe: Connection) -> None:
    block = bytearray(b"x") * (100 << 20)
    pipe.send(len(block))
    time.sleep(60)


@LINUX
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


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_where_the_system_does_not_say_it_is_the_peak(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    """macOS has no /proc, and its getrusage counts in bytes where Linux counts in KiB."""
    usage = SimpleNamespace(ru_maxrss=300 * (1 << 20) // unit)
    monkeypatch.setattr(resident, "_status", lambda name, process=None: None)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resident.resource, "getrusage", lambda who: usage)
    assert peak_mib() == resident_mib() == anonymous_mib() == 300.0
    assert peak_mib(os.getpid()) == 300.0
    assert peak_mib(1) == 0.0, "of another process nothing is known"


def test_a_system_without_proc_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "Path", lambda *parts: Path("/no/such/folder", *parts[1:]))
    assert resident._status("VmRSS") is None

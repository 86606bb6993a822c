"""How much memory a process holds, as the system counts it; also the most that it and its workers ever held."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from pathlib import Path

MIB = 1 << 20


def peak_mib(process: int | None = None) -> float:
    """Return the most memory that a process (this one by default) has held, in MiB; 0 for another that has ended.

    Linux's getrusage hands a parent's peak on to the program that a child turns into; /proc does not.
    """
    status = _status("VmHWM", process)
    if status is not None or process not in (None, os.getpid()):
        return status or 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def resident_mib() -> float:
    """Return the memory that this process holds now (where the system does not say, its peak), in MiB."""
    now = _status("VmRSS")
    return peak_mib() if now is None else now


def anonymous_mib() -> float:
    """Return the memory that this process holds now without mapped files (all of it where the system does not say)."""
    own = _status("RssAnon")
    return resident_mib() if own is None else own


class PeakMemory:
    """The most memory that this process and the workers that it started have held.

    A worker's peak is gone once it has ended, so ``note`` is called while they live, as often as one likes.
    """

    def __init__(self) -> None:
        self._workers: dict[int, float] = {}

    def note(self) -> None:
        """Look at the workers that live."""
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                self._workers[worker.pid] = max(self._workers.get(worker.pid, 0.0), peak_mib(worker.pid))

    @property
    def mib(self) -> float:
        """This process's peak and its workers' peaks together, in MiB, as if all came at one time."""
        return peak_mib() + sum(self._workers.values())


def _status(name: str, process: int | None = None) -> float | None:
    path = Path("/proc", "self" if process is None else str(process), "status")
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)

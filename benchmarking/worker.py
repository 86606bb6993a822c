"""Contenders in processes of their own, run in turns.

Each contender lives in a fresh child process, so that memory is its own and no import, allocator setting or kernel
cache of one helps or harms another. The parent lets them work in turns (A B A B …), never two at a time, so that
whatever else the machine does falls on all alike, and neighbouring rounds can be compared pair by pair.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch

from diffusionlm.errors import FlowLMError
from diffusionlm.runlog.resident import MIB, peak_mib, resident_mib

Facts = dict[str, Any]


class Contender(ABC):
    """Something to be timed. It is built in its own process by a function that can be pickled by name."""

    device = torch.device("cpu")
    base_mb: float | None = None
    """MiB that its process held before it was built, if it knows better than who called it."""

    @abstractmethod
    def prepare(self, round_: int) -> None:
        """Make ready for round number ``round_``; not timed."""

    @abstractmethod
    def run(self) -> None:
        """Do the timed work of a round."""

    def facts(self) -> Facts:
        """Return what is worth knowing about it, as values that can be pickled; asked after the last round."""
        return {}


@dataclass(frozen=True)
class Measured:
    """What came of one contender.

    Attributes:
        seconds: Time of each timed round.
        facts: Its own.
        base_mb, peak_mb: MiB of its process before it was built, and at most; on CUDA, of the device (base 0).
        threads: CPU threads of torch in its process.
        device: Name of the GPU, or empty.
    """

    seconds: list[float]
    facts: Facts
    base_mb: float
    peak_mb: float
    threads: int
    device: str


class Worker:
    """A child process that holds one contender.

    Args:
        build: A function at the top of a module.
        arguments: What it is called with; picklable.
        threads: CPU threads of torch; 0 = its own choice.
    """

    def __init__(self, build: Callable[..., Contender], arguments: tuple[Any, ...], threads: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, arguments, threads), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def ready(self) -> None:
        """Wait until the contender is built.

        Raises:
            FlowLMError: Building it ended in one; so do all calls.
            RuntimeError: It failed in another way.
        """
        self._receive()

    def round(self, number: int) -> float:
        """Prepare and run one round; return its seconds."""
        self._pipe.send(number)
        return self._receive()

    def finish(self, seconds: list[float]) -> Measured:
        """Collect facts and memory, and end the process."""
        self._pipe.send(None)
        return Measured(seconds=seconds, **self._receive())

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a bench process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, FlowLMError):
            raise answer
        if isinstance(answer, _Failed):
            raise RuntimeError(f"a bench process failed:\n{answer.trace}")
        return answer


@dataclass(frozen=True)
class _Failed:
    trace: str


def in_turns(
    contenders: dict[str, tuple[Callable[..., Contender], tuple[Any, ...]]],
    *,
    warmup: int,
    repeats: int,
    threads: int = 0,
) -> dict[str, Measured]:
    """Time contenders in turns, each in its own process.

    Args:
        contenders: Name to the function that builds it and that function's arguments.
        warmup: Rounds of each before timing.
        repeats: Timed rounds of each.
        threads: CPU threads of torch in each; 0 = its own choice.
    """
    with ExitStack() as stack:
        workers = {}
        for name, (build, arguments) in contenders.items():
            workers[name] = stack.enter_context(Worker(build, arguments, threads))
            workers[name].ready()
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for number in range(warmup + repeats):
            for name, worker in workers.items():
                taken = worker.round(number)
                if number >= warmup:
                    seconds[name].append(taken)
        return {name: worker.finish(seconds[name]) for name, worker in workers.items()}


def _serve(pipe: Connection, build: Callable[..., Contender], arguments: tuple[Any, ...], threads: int) -> None:
    """Live as a child: build, then answer each number with the seconds of a round, and None with what is known."""
    try:
        if threads > 0:
            torch.set_num_threads(threads)
        base = resident_mib()
        contender = build(*arguments)
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            pipe.send(_timed(contender, number))
        cuda = contender.device.type == "cuda"
        # Asked before the facts, which may need memory of their own.
        peak = torch.cuda.max_memory_allocated(contender.device) / MIB if cuda else peak_mib()
        pipe.send(
            {
                "base_mb": 0.0 if cuda else base if contender.base_mb is None else contender.base_mb,
                "peak_mb": peak,
                "facts": contender.facts(),
                "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name(contender.device) if cuda else "",
            }
        )
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the parent is gone or going: nobody is left to tell
    except FlowLMError as error:
        pipe.send(error)
    except Exception:
        pipe.send(_Failed(traceback.format_exc()))


def _timed(contender: Contender, number: int) -> float:
    contender.prepare(number)
    gc.collect()
    _wait(contender.device)
    began = time.perf_counter()
    contender.run()
    _wait(contender.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

"""Samples that come out as each batch is finished, the same ones as if all were made at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from stat import S_ISREG
from typing import Protocol, TypeVar

from diffusionlm.errors import DataError
from diffusionlm.generation import SamplingParams
from diffusionlm.generation.trace import Trace
from diffusionlm.generation.watch import LiveCanvas
from diffusionlm.paths import user_path
from diffusionlm.workflows.opened import Opened
from diffusionlm.workflows.sampling_progress import SamplingProgress


class Traced(Protocol):
    """A finished sample."""

    @property
    def trace(self) -> Trace | None:
        """Every change that made it, if asked for."""
        ...


T = TypeVar("T", bound=Traced)


def batch_by_batch(
    make: Callable[..., Sequence[T]],
    opened: Opened,
    texts: Sequence[str],
    params: SamplingParams,
    watch: bool,
    trace: str | None = None,
) -> Iterator[tuple[int, str, T]]:
    """Yield (number of the sample, its text, the sample) in order.

    Args:
        make: ``generate`` or ``infill``.
        opened: The checkpoint.
        texts: Prompts, or texts with holes.
        params: How; its ``batch_size`` says how many canvases are made together.
        watch: Show the canvases while they fill.
        trace: A file for their traces, or None.

    Raises:
        DataError: The file cannot be written.
    """
    progress = SamplingProgress(len(texts) * params.samples, params)
    with _traces(trace) as write:
        for first, some, samples in _batches(texts, params.samples, params.batch_size):
            shown = LiveCanvas(opened.tokenizer) if watch else progress.batch(first, len(some) * samples)
            with shown as observe:
                made = make(
                    opened.model,
                    opened.tokenizer,
                    opened.process,
                    some,
                    params.model_copy(update={"samples": samples}),
                    first_sample=first,
                    trace=trace is not None,
                    observe=observe,
                )
            for index, one in enumerate(made):
                if trace is not None and one.trace is not None:
                    write(json.dumps(record) for record in one.trace.records(first + index, opened.tokenizer))
                yield first + index, some[index // samples], one


def _batches(texts: Sequence[str], samples: int, size: int) -> Iterator[tuple[int, Sequence[str], int]]:
    """Yield (number of the first sample, texts, samples of each): whole texts together, or one text in parts."""
    together = max(1, size // samples)
    for begin in range(0, len(texts), together):
        some, first = texts[begin : begin + together], begin * samples
        for done in range(0, samples, size):
            yield first + done, some, min(size, samples - done)


@contextmanager
def _traces(file: str | None) -> Iterator[Callable[[Iterator[str]], None]]:
    """Open the file of the traces before anything is sampled, and write lines to it.

    What it held is lost only when there is something to put in its place; a new file with nothing in it does not stay.
    """
    if file is None:
        yield lambda lines: None
        return
    if file in ("", "-"):
        raise DataError(f"a trace goes to a file, got {file!r}; give a name such as trace.jsonl")
    path = user_path(file)
    new, written = not path.exists(), False

    def write(lines: Iterator[str]) -> None:
        nonlocal written
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            if not written:
                _emptied(out)
            written = True
            while data:  # an unbuffered file may take a part
                data = data[out.write(data) :]
        except OSError as error:
            raise _not_written(file, error, "free some space, or give a file elsewhere") from None

    try:
        out = path.open("ab", buffering=0)
    except OSError as error:
        raise _not_written(file, error, "give a file in a folder that exists") from None
    try:
        with out:
            yield write
    finally:
        if new and not written:
            path.unlink(missing_ok=True)


def _emptied(out: FileIO) -> None:
    """Forget what a file held; a pipe or a device holds nothing."""
    if S_ISREG(os.fstat(out.fileno()).st_mode):
        out.truncate(0)


def _not_written(file: str, error: OSError, advice: str) -> DataError:
    return DataError(f"cannot write the trace to {file}: {error.strerror}; {advice}")

"""Samples that come out as each batch is finished, the same ones as if all were made at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

from diffusionlm.errors import DataError
from diffusionlm.generation import SamplingParams
from diffusionlm.generation.trace import Trace
from diffusionlm.generation.watch import LiveCanvas
from diffusionlm.workflows.opened import Opened


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
    watching = LiveCanvas(opened.tokenizer) if watch else nullcontext()
    with _traces(trace) as write:
        for first, some, samples in _batches(texts, params.samples, params.batch_size):
            with watching as observe:
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
    """Open the file of the traces, before anything is sampled, and write lines to it."""
    if file is None:
        yield lambda lines: None
        return
    try:
        out = Path(file).expanduser().open("w", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"cannot write the trace to {file}: {error.strerror}; give a file in a folder that exists"
        ) from None
    with out:
        yield lambda lines: out.writelines(f"{line}\n" for line in lines)

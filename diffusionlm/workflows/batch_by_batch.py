"""Samples that come out as each batch is finished, the same ones as if all were made at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TypeVar

from diffusionlm.generation import SamplingParams
from diffusionlm.generation.watch import LiveCanvas
from diffusionlm.workflows.opened import Opened

T = TypeVar("T")


def batch_by_batch(
    make: Callable[..., Sequence[T]], opened: Opened, texts: Sequence[str], params: SamplingParams, watch: bool
) -> Iterator[tuple[int, str, T]]:
    """Yield (number of the sample, its text, the sample) in order.

    Args:
        make: ``generate`` or ``infill``.
        opened: The checkpoint.
        texts: Prompts, or texts with holes.
        params: How; its ``batch_size`` says how many canvases are made together.
        watch: Show the canvases while they fill.
    """
    watching = LiveCanvas(opened.tokenizer) if watch else nullcontext()
    for first, some, samples in _batches(texts, params.samples, params.batch_size):
        how = params.model_copy(update={"samples": samples})
        with watching as observe:
            made = make(opened.model, opened.tokenizer, opened.process, some, how, first_sample=first, observe=observe)
        for index, one in enumerate(made):
            yield first + index, some[index // samples], one


def _batches(texts: Sequence[str], samples: int, size: int) -> Iterator[tuple[int, Sequence[str], int]]:
    """Yield (number of the first sample, texts, samples of each): whole texts together, or one text in parts."""
    together = max(1, size // samples)
    for begin in range(0, len(texts), together):
        some, first = texts[begin : begin + together], begin * samples
        for done in range(0, samples, size):
            yield first + done, some, min(size, samples - done)

"""What infer and infill say while they sample: how many samples are done, how far the next ones are, what time is left.

A sampling run of a second says nothing in a log; one of an hour says a line every half minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from diffusionlm.generation import SamplingParams
from diffusionlm.generation.loop import Frame, Observer
from diffusionlm.workflows.changing_line import ChangingLine, clock
from diffusionlm.workflows.talk import plural


class SamplingProgress:
    """How far all samples of a command are.

    Args:
        total: Samples in all.
        params: How they are made.
    """

    def __init__(self, total: int, params: SamplingParams) -> None:
        correction = params.self_correction
        self.total, self.steps = total, params.steps + (0 if correction is None else correction.rounds)
        self._began = self._said = time.perf_counter()

    @contextmanager
    def batch(self, done: int, size: int) -> Iterator[Observer]:
        """Give an observer for a batch of ``size`` samples, which begins when ``done`` are finished."""
        line = ChangingLine("sampling …", since=self._said)

        def words(frame: Frame) -> str:
            self._said = time.perf_counter()
            share = share_done(frame, self.steps)
            return sampling_words(done, size, self.total, frame.step + 1, share, self._said - self._began)

        with line:
            yield lambda frame: line.show(lambda: words(frame))


def share_done(frame: Frame, steps: int) -> float:
    """Return how far a batch is, in [0, 1]: by its steps or by its settled tokens, whichever says more.

    Many samplers need fewer steps than they may take; others settle no token before the last step.
    """
    holes = frame.canvas.editable
    settled = float((frame.settled & holes).sum()) / max(1, int(holes.sum()))
    return min(1.0, max(settled, (frame.step + 1) / steps))


def sampling_words(done: int, size: int, total: int, step: int, share: float, seconds: float) -> str:
    """Return one line.

    Args:
        done, size, total: Samples that are finished, in this batch, in all.
        step, share: Where this batch is.
        seconds: Since the first batch began.
    """
    of = f"{done:,} of {plural(total, 'sample')} done, the next {size:,}" if total > size else plural(total, "sample")
    line, ready = f"sampling: {of} at {share:.0%}, step {step:,}", done + share * size
    return f"{line}, {clock((total - ready) * seconds / ready)} left" if ready > 0 else line

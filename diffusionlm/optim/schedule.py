"""Learning-rate schedules: pure functions of the optimizer step.

Steps count from 0. Warm-up gives step s the share (s + 1) / warmup, so the first update is small but never nothing.
Decay starts from 1 and would reach its floor at step = total, one past the last update, so that the last update still
moves. Nothing divides by zero: a run that is all warm-up, or one step long, is defined.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from diffusionlm.params import Strict


def _whole_from_one(value: float) -> float:
    """Accept a share below 1 or a whole number of steps."""
    if value >= 1 and value != int(value):
        raise ValueError(f"{value} is neither a share of the run (below 1) nor a whole number of steps")
    return value


Span = Annotated[float, Field(ge=0), AfterValidator(_whole_from_one)]
"""A length of time: below 1 a share of the run, from 1 on a number of optimizer steps."""


def span_steps(span: float, total: int) -> int:
    """Return a span as a number of steps of a run of ``total`` steps (shares are rounded to the nearest step)."""
    return round(span * total) if span < 1 else int(span)


def warmup_share(step: int, warmup: int) -> float:
    """Return (step + 1) / warmup, at most 1; 1 when there is no warm-up."""
    return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0


class LRSchedule(ABC):
    """Base of the schedules: a multiplier of every group's learning rate."""

    Params: ClassVar[type[Strict]]

    def multiplier(self, step: int, total: int) -> float:
        """Return the factor for one update, in [0, 1].

        Args:
            step: The update, from 0. From ``total`` on the last value of the schedule holds.
            total: Number of updates of the run, at least 1.
        """
        assert total >= 1, f"a run has at least 1 step, got total {total}"
        assert step >= 0, f"steps count from 0, got {step}"
        return self._multiplier(step, total)

    @abstractmethod
    def _multiplier(self, step: int, total: int) -> float:
        """Return the factor; the arguments have been checked."""


class ConstantParams(Strict):
    """Warm-up, then the full learning rate to the end."""

    name: Literal["constant"] = "constant"
    warmup_steps: Span = 0
    """Linear warm-up: a number of steps, or below 1 a share of the run."""


class Constant(LRSchedule):
    """min(1, (s + 1) / warmup)."""

    Params = ConstantParams

    def __init__(self, params: ConstantParams) -> None:
        self.params = params

    def _multiplier(self, step: int, total: int) -> float:
        return warmup_share(step, span_steps(self.params.warmup_steps, total))


class CosineParams(Strict):
    """Warm-up, then half a cosine down to a floor (arXiv:1608.03983, one period)."""

    name: Literal["cosine"] = "cosine"
    warmup_steps: Span = 0.02
    """Linear warm-up: a number of steps, or below 1 a share of the run."""
    floor: float = Field(default=0.1, ge=0, le=1)
    """Where the cosine ends, as a share of the full learning rate."""


class Cosine(LRSchedule):
    """floor + (1 - floor)(1 + cos π(s - warmup)/(total - warmup)) / 2 after the warm-up (arXiv:1608.03983, eq. 5)."""

    Params = CosineParams

    def __init__(self, params: CosineParams) -> None:
        self.params = params

    def _multiplier(self, step: int, total: int) -> float:
        warmup = span_steps(self.params.warmup_steps, total)
        if step < warmup:
            return warmup_share(step, warmup)
        if step >= total:
            return self.params.floor
        progress = (step - warmup) / (total - warmup)  # warmup <= step < total, so the divisor is at least 1
        return self.params.floor + (1 - self.params.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class WSDParams(Strict):
    """Warm-up, a stable stretch at the full learning rate, then a decay (arXiv:2404.06395)."""

    name: Literal["wsd"] = "wsd"
    warmup_steps: Span = 0.02
    """Linear warm-up: a number of steps, or below 1 a share of the run."""
    decay_steps: Span = 0.2
    """Decay at the end: a number of steps, or below 1 a share of the run."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Where the decay ends, as a share of the full learning rate."""
    shape: Literal["linear", "sqrt", "cosine"] = "linear"
    """Shape of the decay over its progress u: 1 - u, 1 - √u, or (1 + cos πu) / 2."""


class WSD(LRSchedule):
    """Warmup–stable–decay (arXiv:2404.06395, eq. 1; decay shapes of arXiv:2405.18392).

    Where warm-up and decay overlap the smaller of the two holds.
    """

    Params = WSDParams

    def __init__(self, params: WSDParams) -> None:
        self.params = params

    def _multiplier(self, step: int, total: int) -> float:
        warmup, decay = (span_steps(span, total) for span in (self.params.warmup_steps, self.params.decay_steps))
        return min(warmup_share(step, warmup), self._decay(step - (total - decay), decay))

    def _decay(self, into: int, decay: int) -> float:
        """Return the factor ``into`` steps after the decay began, which lasts ``decay`` steps."""
        if decay == 0 or into <= 0:
            return 1.0
        u = min(1.0, into / decay)
        shapes = {"linear": 1 - u, "sqrt": 1 - math.sqrt(u), "cosine": 0.5 * (1 + math.cos(math.pi * u))}
        return self.params.floor + (1 - self.params.floor) * shapes[self.params.shape]

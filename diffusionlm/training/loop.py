"""The training loop: steps until the budget is used up, with validation, samples and checkpoints on their intervals.

What validates, samples and saves is injected: this module knows when, not how. All counters live in ``Progress``, which
is what a checkpoint stores, so a resumed loop continues as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.errors import FlowLMError
from diffusionlm.optim import LRSchedule
from diffusionlm.runlog import NormProbe, RunLog, fetch
from diffusionlm.training.budget import Used, expected_steps, progress
from diffusionlm.training.params import TrainingParams
from diffusionlm.training.signals import StopRequest
from diffusionlm.training.step import StepResult, TrainStep

SMOOTHING = 0.98
"""Share of the old value that the smoothed loss keeps at each step."""


class NonFiniteLossError(FlowLMError):
    """Training met a loss or gradient that is not finite and was told to stop, or met too many in a row."""


class Steps(Protocol):
    """A stream of steps; see ``diffusionlm.data.stream.StepStream``."""

    cursor: dict[str, int]
    waited_s: float

    def __next__(self) -> list[Batch]:
        """Return the micro-batches of the next step."""
        ...

    def __iter__(self) -> Iterator[list[Batch]]:
        """Return itself."""
        ...


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimizer steps done.
        tokens: Editable tokens trained on.
        seconds: Seconds of training, over all sessions of the run, validation and saving included.
        smoothed_loss: Exponential average of the loss; None before the first finite one.
        nonfinite: Steps whose gradient was not finite.
        nonfinite_in_a_row: The latest of them without a good one between.
        levels: Sums and counts of the loss by noise level since the last log; None = nothing yet.
        times: What the last search for the law of training times found; None = there was none.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    smoothed_loss: float | None = None
    nonfinite: int = 0
    nonfinite_in_a_row: int = 0
    levels: list[float] | None = None
    times: list[float] | None = None


@dataclass(frozen=True)
class Intervals:
    """Steps between two of each; 0 = never."""

    validate: int
    sample: int
    save: int
    log: int
    search: int = 0


@dataclass(frozen=True)
class Hooks:
    """What the loop calls at its intervals, each with the steps done so far.

    Attributes:
        validate, sample, save: The work; ``validate`` returns whether this step is worth a checkpoint of its own.
        search: Looks for the law of training times that varies least.
        loss_metrics: From a loss in the objective's units to further metrics (bits per byte, where it is a bound).
    """

    validate: Callable[[int], bool]
    sample: Callable[[int], None]
    save: Callable[[int], None]
    loss_metrics: Callable[[float], Mapping[str, float]] = field(default=lambda loss: {})
    search: Callable[[int], None] = field(default=lambda step: None)


@dataclass(frozen=True)
class Outcome:
    """How a loop ended.

    Attributes:
        reason: ``finished`` (the budget is used up) or the name of the signal that stopped it.
        step: Optimizer steps done.
    """

    reason: str
    step: int


class Loop:
    """The loop and its clock.

    Args:
        params: Budget and policy.
        step: One optimizer step.
        schedule: Learning-rate multiplier.
        stream: The data.
        progress: Where the run stands; updated in place.
        log: Where metrics go.
        intervals, hooks: When to do what.
        tokens_per_step: Most tokens of a step.
        probe: Layer norms for the logged steps, if wanted.
    """

    def __init__(
        self,
        params: TrainingParams,
        step: TrainStep,
        schedule: LRSchedule,
        stream: Steps,
        progress: Progress,
        log: RunLog,
        intervals: Intervals,
        hooks: Hooks,
        *,
        tokens_per_step: int,
        probe: NormProbe | None = None,
    ) -> None:
        self.params, self.step, self.schedule, self.stream = params, step, schedule, stream
        self.progress, self.log, self.intervals, self.hooks = progress, log, intervals, hooks
        self.tokens_per_step, self.probe = tokens_per_step, probe
        self._before = progress.seconds
        self._began = time.monotonic()
        self._mark = (self._began, progress.tokens, stream.waited_s)
        # The loss is averaged where it is computed and read only when it is logged or saved.
        self._smoothed: torch.Tensor | None = None
        if progress.levels is not None:
            step.levels.load_state(progress.levels)

    def run(self, stop: StopRequest) -> Outcome:
        """Train until the budget is used up or a stop is requested; the last step is always saved."""
        state, saved = self.progress, -1
        validated = state.step  # a run that is resumed at its end is not validated again
        self._began = time.monotonic()
        self._mark = (self._began, state.tokens, self.stream.waited_s)
        self.log.advance(state.step, self._total())
        while not self._used_up() and not stop:
            self._one_step()
            worth_saving = False
            paused = time.monotonic()
            if self._due(self.intervals.search) and not self._used_up():
                self.hooks.search(state.step)
            if self._due(self.intervals.validate) or (self.intervals.validate and self._used_up()):
                # Before the last save, so that the checkpoint knows whether it is the best one.
                worth_saving, validated = self.hooks.validate(state.step), state.step
            if self._due(self.intervals.sample):
                self.hooks.sample(state.step)
            if worth_saving or self._due(self.intervals.save):
                self.save()
                saved = state.step
            self._leave_out(time.monotonic() - paused)
        reason = "finished"
        if not self._used_up():
            assert stop.signal_name is not None, "the loop ends early only on a signal"
            reason = stop.signal_name
        elif self.intervals.validate and validated != state.step:
            self.hooks.validate(state.step)
            saved = -1
        if saved != state.step:
            self.save()
        return Outcome(reason, state.step)

    def save(self) -> None:
        """Bring ``progress`` up to date and save."""
        self._settle()
        self.hooks.save(self.progress.step)

    def _one_step(self) -> None:
        state = self.progress
        total = expected_steps(self.params, self._used(), self.tokens_per_step)
        multiplier = self.schedule.multiplier(state.step, total)
        # Step 1 is logged too: the first loss (ln K for a fresh model) is what people check first.
        logged = (state.step + 1) % self.intervals.log == 0 or state.step == 0
        result = self.step(next(self.stream), state.step, multiplier, self.probe if logged else None)
        state.step += 1
        state.tokens += result.tokens
        self._smooth(result)
        if result.applied:
            state.nonfinite_in_a_row = 0
        else:
            self._not_finite()
        self.log.advance(state.step, self._total())
        if logged:
            self._report(result, multiplier)

    def _smooth(self, result: StepResult) -> None:
        loss = result.loss.detach().double()
        if self._smoothed is None:
            start = self.progress.smoothed_loss
            self._smoothed = torch.full_like(loss, math.nan if start is None else start)
        moved = SMOOTHING * self._smoothed + (1.0 - SMOOTHING) * loss
        # The first finite loss begins the average; one that is not finite leaves it alone.
        moved = torch.where(torch.isfinite(self._smoothed), moved, loss)
        self._smoothed = torch.where(torch.isfinite(loss), moved, self._smoothed)

    def _report(self, result: StepResult, multiplier: float) -> None:
        state, now = self.progress, time.monotonic()
        assert self._smoothed is not None, "a step has been made"
        by_level = self.step.levels.means()
        values = fetch(
            {
                "loss": result.loss,
                "loss_smoothed": self._smoothed,
                "gradient_norm": result.gradient.norm,
                **result.norms,
                **by_level,
            }
        )
        self.step.levels.reset()
        levels = {name: values.pop(name) for name in by_level}
        began, tokens, waited = self._mark
        elapsed = max(now - began, 1e-9)
        metrics: dict[str, float | int] = {
            "loss": values.pop("loss"),
            "loss/smoothed": values["loss_smoothed"],
            **self.hooks.loss_metrics(values.pop("loss_smoothed")),
            **{name: loss for name, loss in levels.items() if not math.isnan(loss)},
            "time/tokens": state.tokens,
            "tokens_per_second": (state.tokens - tokens) / elapsed,
            "time/seconds": self._used().seconds,
            "time/data_wait_share": (self.stream.waited_s - waited) / elapsed,
            "gradient/norm": values.pop("gradient_norm"),
            **values,
        }
        if self.log.params.learning_rates:
            rates = self.step.optimizer.learning_rates(multiplier)
            metrics |= {f"learning_rate/{role}": rate for role, rate in rates.items()}
        if state.nonfinite:
            metrics["gradient/nonfinite_steps"] = state.nonfinite
        self.log.log(metrics, state.step)
        self._mark = (now, state.tokens, self.stream.waited_s)

    def _not_finite(self) -> None:
        state = self.progress
        state.nonfinite += 1
        state.nonfinite_in_a_row += 1
        self.log.say(f"step {state.step}: the gradient is not finite; the weights stay as they are")
        advice = "lower the learning rate, or resume from an earlier checkpoint"
        if self.params.nonfinite == "stop":
            raise NonFiniteLossError(f"the gradient of step {state.step} is not finite; {advice}")
        if state.nonfinite_in_a_row >= self.params.nonfinite_limit:
            raise NonFiniteLossError(
                f"{state.nonfinite_in_a_row} steps in a row had no finite gradient, up to step {state.step}; {advice}"
            )

    def _due(self, interval: int) -> bool:
        return interval > 0 and self.progress.step % interval == 0

    def _leave_out(self, seconds: float) -> None:
        """Take time that was not spent on steps out of the speed that is logged next."""
        began, tokens, waited = self._mark
        self._mark = (began + seconds, tokens, waited)

    def _total(self) -> int:
        """Return the run's length in steps as far as it is known; where it is extrapolated, it changes on the way."""
        if self._used_up():
            return self.progress.step
        return expected_steps(self.params, self._used(), self.tokens_per_step)

    def _used_up(self) -> bool:
        return progress(self.params, self._used()) >= 1.0

    def _used(self) -> Used:
        seconds = self._before + time.monotonic() - self._began
        return Used(self.progress.step, self.progress.tokens, seconds)

    def _settle(self) -> None:
        self.progress.seconds = self._used().seconds
        self.progress.levels = self.step.levels.state()
        if self._smoothed is not None:
            smoothed = float(self._smoothed)
            self.progress.smoothed_loss = smoothed if math.isfinite(smoothed) else None

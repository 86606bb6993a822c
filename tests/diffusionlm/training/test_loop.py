"""The loop: what happens when, with made-up hooks; the guard; the counters that a checkpoint keeps."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from diffusionlm.optim import Constant
from diffusionlm.optim.schedule import ConstantParams
from diffusionlm.runlog import RunLog
from diffusionlm.training.loop import SMOOTHING, Hooks, Intervals, Loop, NonFiniteLossError, Progress
from diffusionlm.training.params import TrainingParams
from diffusionlm.training.signals import StopRequest
from diffusionlm.training.step import TrainStep
from tests.diffusionlm.training.parts import Endless, make_log, make_step

NEVER = Intervals(validate=0, sample=0, save=0, log=1)


class Recorder:
    """Hooks that remember what was asked of them; ``worth`` are the validations worth a checkpoint."""

    def __init__(
        self, worth: tuple[int, ...] = (), stop: StopRequest | None = None, stop_at: int = -1, takes: float = 0.0
    ) -> None:
        self.takes = takes
        self.calls: list[tuple[str, int]] = []
        self.worth, self.stop, self.stop_at = worth, stop, stop_at

    def validate(self, step: int) -> bool:
        self.calls.append(("validate", step))
        time.sleep(self.takes)
        return step in self.worth

    def sample(self, step: int) -> None:
        self.calls.append(("sample", step))
        if step == self.stop_at and self.stop is not None:
            self.stop.signal_name = "SIGTERM"

    def save(self, step: int) -> None:
        self.calls.append(("save", step))

    def hooks(self) -> Hooks:
        return Hooks(self.validate, self.sample, self.save, lambda loss: {"doubled": 2 * loss})


def make_loop(
    tmp_path: Any, intervals: Intervals, recorder: Recorder, step: TrainStep | None = None, **values: Any
) -> Loop:
    progress = values.pop("progress", Progress())
    return Loop(
        TrainingParams.model_validate({"steps": 10, "batch_size": 4, **values}),
        step or make_step(),
        Constant(ConstantParams()),
        Endless(),
        progress,
        make_log(tmp_path, intervals.log),
        intervals,
        recorder.hooks(),
        tokens_per_step=48,
    )


def logged(tmp_path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_everything_at_its_interval(tmp_path):
    recorder = Recorder()
    outcome = make_loop(tmp_path, Intervals(validate=4, sample=5, save=3, log=4), recorder).run(StopRequest())
    assert (outcome.reason, outcome.step) == ("finished", 10)
    # The last step is validated and then saved, although neither falls on its interval.
    assert recorder.calls == [
        ("save", 3),
        ("validate", 4),
        ("sample", 5),
        ("save", 6),
        ("validate", 8),
        ("save", 9),
        ("validate", 10),
        ("sample", 10),
        ("save", 10),
    ]
    assert [line["step"] for line in logged(tmp_path)] == [1, 4, 8]


@pytest.mark.parametrize(("validate", "save"), [(10, 10), (4, 10), (4, 5), (3, 4)])
def test_the_last_validation_comes_before_the_last_save_and_each_is_made_once(tmp_path, validate, save):
    recorder = Recorder()
    make_loop(tmp_path, Intervals(validate=validate, sample=0, save=save, log=1), recorder).run(StopRequest())
    assert recorder.calls[-2:] == [("validate", 10), ("save", 10)]
    assert len(set(recorder.calls)) == len(recorder.calls)


def test_a_good_validation_is_saved_at_once(tmp_path):
    recorder = Recorder(worth=(4,))
    make_loop(tmp_path, Intervals(validate=2, sample=0, save=5, log=1), recorder).run(StopRequest())
    assert [step for what, step in recorder.calls if what == "save"] == [4, 5, 10]


def test_without_validation_there_is_none(tmp_path):
    recorder = Recorder()
    make_loop(tmp_path, NEVER, recorder).run(StopRequest())
    assert recorder.calls == [("save", 10)]


def test_a_stop_request_ends_after_the_step_and_saves(tmp_path):
    stop = StopRequest()
    recorder = Recorder(stop=stop, stop_at=4)
    outcome = make_loop(tmp_path, Intervals(validate=3, sample=1, save=0, log=1), recorder).run(stop)
    assert (outcome.reason, outcome.step) == ("SIGTERM", 4)
    assert recorder.calls[-1] == ("save", 4)
    assert ("validate", 4) not in recorder.calls


def test_a_request_during_the_last_step_finishes_the_run(tmp_path):
    stop = StopRequest()
    recorder = Recorder(stop=stop, stop_at=10)
    outcome = make_loop(tmp_path, Intervals(validate=0, sample=1, save=0, log=1), recorder).run(stop)
    assert outcome.reason == "finished"


def test_a_finished_run_makes_no_step_and_no_validation(tmp_path):
    recorder, progress = Recorder(), Progress(step=10, tokens=330)
    loop = make_loop(tmp_path, Intervals(validate=4, sample=1, save=1, log=1), recorder, progress=progress)
    assert loop.run(StopRequest()).step == 10
    assert recorder.calls == [("save", 10)]
    assert progress.step == 10


@pytest.mark.parametrize(("budget", "steps"), [({"steps": None, "tokens": 100}, 4), ({"steps": 3, "tokens": 100}, 3)])
def test_the_first_budget_that_is_used_up_ends_the_run(tmp_path, budget, steps):
    assert make_loop(tmp_path, NEVER, Recorder(), **budget).run(StopRequest()).step == steps


def test_a_budget_in_minutes_counts_earlier_sessions(tmp_path):
    began = time.monotonic()
    progress = Progress(seconds=59.7)
    make_loop(tmp_path, NEVER, Recorder(), steps=None, minutes=1.0, progress=progress).run(StopRequest())
    assert 0.25 < time.monotonic() - began < 5.0
    assert progress.seconds >= 60.0


def test_what_is_logged(tmp_path):
    progress = Progress()
    make_loop(tmp_path, NEVER, Recorder(), progress=progress).run(StopRequest())
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 11))
    smoothed = lines[0]["loss"]
    for line in lines:
        if line["step"] > 1:
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * line["loss"]
        assert line["doubled"] == pytest.approx(2 * smoothed)
        assert line["tokens_per_second"] > 0
        assert line["gradient/norm"] > 0
        assert {name for name in line if name.startswith("learning_rate/")}
    assert progress.smoothed_loss == pytest.approx(smoothed)
    assert progress.tokens == 330


def test_a_loop_taken_up_in_the_middle_goes_on_exactly(tmp_path):
    whole, halves = make_step(), make_step()
    make_loop(tmp_path / "whole", NEVER, Recorder(), whole).run(StopRequest())
    progress = Progress()
    make_loop(tmp_path / "halves", NEVER, Recorder(), halves, steps=4, progress=progress).run(StopRequest())
    make_loop(tmp_path / "halves", NEVER, Recorder(), halves, progress=replace(progress)).run(StopRequest())
    kept = ("step", "loss", "doubled", "gradient/norm")
    one, other = ([{k: line[k] for k in kept} for line in logged(tmp_path / name)] for name in ("whole", "halves"))
    assert one == other


def poisoned(steps: set[int]) -> TrainStep:
    """Return a step whose gradient is not a number at some steps."""
    step = make_step()
    made = {"now": -1}
    original = TrainStep.__call__

    class Poisoned(TrainStep):
        def __call__(self, batches, step, lr_multiplier, probe=None):
            made["now"] = step
            return original(self, batches, step, lr_multiplier, probe)

    step.__class__ = Poisoned
    step.parameters["norm.weight"].register_hook(lambda grad: grad * (float("nan") if made["now"] in steps else 1.0))
    return step


def test_the_guard_skips_and_goes_on(tmp_path):
    progress = Progress()
    make_loop(tmp_path, NEVER, Recorder(), poisoned({2, 5, 6}), progress=progress).run(StopRequest())
    assert (progress.step, progress.nonfinite, progress.nonfinite_in_a_row) == (10, 3, 0)
    lines = logged(tmp_path)
    assert [line["gradient/norm"] is None for line in lines] == [n in (2, 5, 6) for n in range(10)]
    assert lines[-1]["gradient/nonfinite_steps"] == 3
    assert all(line["doubled"] is not None for line in lines)


def test_the_guard_stops_where_it_is_told_to(tmp_path):
    recorder, progress = Recorder(), Progress()
    with pytest.raises(NonFiniteLossError, match=r"^the gradient of step 3 is not finite; lower the learning rate"):
        make_loop(tmp_path, NEVER, recorder, poisoned({2}), nonfinite="stop", progress=progress).run(StopRequest())
    assert recorder.calls == []


def test_the_guard_stops_after_too_many_in_a_row(tmp_path):
    step = poisoned({1, 2, 4, 5, 6})
    with pytest.raises(NonFiniteLossError, match=r"^3 steps in a row had no finite gradient, up to step 7"):
        make_loop(tmp_path, NEVER, Recorder(), step, nonfinite_limit=3).run(StopRequest())


def test_the_guard_speaks_without_any_output(tmp_path, capsys):
    make_loop(tmp_path, Intervals(0, 0, 0, log=5), Recorder(), poisoned({2})).run(StopRequest())
    assert capsys.readouterr().err == "step 3: the gradient is not finite; the weights stay as they are\n"


def lossless(steps: set[int]) -> TrainStep:
    """Return a step whose loss, and with it the gradient, is not a number at some steps."""
    step = make_step()
    original = TrainStep.__call__

    class Lossless(TrainStep):
        def __call__(self, batches, step, lr_multiplier, probe=None):
            result = original(self, batches, step, lr_multiplier, probe)
            return replace(result, loss=result.loss * float("nan")) if step in steps else result

    step.__class__ = Lossless
    return step


def test_the_smoothed_loss_begins_at_the_first_finite_one(tmp_path):
    progress = Progress()
    make_loop(tmp_path, NEVER, Recorder(), lossless({0, 1, 4}), progress=progress).run(StopRequest())
    lines = logged(tmp_path)
    assert [line["loss"] is None for line in lines] == [n in (0, 1, 4) for n in range(10)]
    assert lines[1]["loss/smoothed"] is None
    assert lines[2]["loss/smoothed"] == pytest.approx(lines[2]["loss"])
    assert lines[4]["loss/smoothed"] == pytest.approx(lines[3]["loss/smoothed"])
    assert progress.smoothed_loss == pytest.approx(lines[-1]["loss/smoothed"])


def test_a_run_without_any_finite_loss_has_no_smoothed_one(tmp_path):
    progress = Progress()
    make_loop(tmp_path, NEVER, Recorder(), lossless(set(range(10))), progress=progress).run(StopRequest())
    assert progress.smoothed_loss is None


def test_the_speed_leaves_out_validation(tmp_path):
    recorder = Recorder(takes=0.3)
    make_loop(tmp_path, Intervals(validate=4, sample=0, save=0, log=1), recorder).run(StopRequest())
    lines = {line["step"]: line for line in logged(tmp_path)}
    # Step 5 follows a validation of 0.3 s, in which its tokens would be fewer than 33 / 0.3 a second.
    assert lines[5]["tokens_per_second"] > 33 / 0.3
    assert lines[5]["time/seconds"] - lines[4]["time/seconds"] > 0.3


@pytest.mark.parametrize("budget", [{}, {"steps": None, "tokens": 320}, {"steps": None, "minutes": 0.005}])
def test_the_expected_length_is_told_at_every_step(tmp_path, budget, monkeypatch):
    told: list[tuple[int, Any]] = []
    monkeypatch.setattr(RunLog, "advance", lambda self, step, total=None: told.append((step, total)))
    outcome = make_loop(tmp_path, NEVER, Recorder(), **budget).run(StopRequest())
    assert [step for step, _ in told] == list(range(outcome.step + 1))
    assert all(total >= step for step, total in told)
    if "minutes" not in budget:
        assert [total for _, total in told[1:]] == [10] * 10

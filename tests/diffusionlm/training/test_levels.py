"""The loss by noise level: means over the rows of a bucket, however a step is split, and across a checkpoint."""

import json
import math
from dataclasses import replace

import pytest
import torch

from diffusionlm.objective.engine import loss_sum
from diffusionlm.training.levels import LEVELS, LevelLoss
from diffusionlm.training.loop import Progress
from diffusionlm.training.signals import StopRequest
from diffusionlm.training.step import TrainStep
from tests.diffusionlm.training.parts import BATCH, make_step
from tests.diffusionlm.training.test_loop import NEVER, Recorder, logged, make_loop


def by_hand(step: TrainStep, numbers: range) -> dict[str, float]:
    """Return the means from every row's own loss and κ."""
    rows: dict[int, list[float]] = {level: [] for level in range(LEVELS)}
    for number in numbers:
        part = step._prepare([BATCH], number)[0]
        values = loss_sum(step.model, part).values.tolist()
        kappa = part.corrupted.t.flatten()[part.passes[0].rows.index].tolist()  # the schedule is linear
        for value, k in zip(values, kappa, strict=False):
            rows[math.floor(k * LEVELS)].append(value)
    return {f"loss/level_{level / 10}": sum(v) / len(v) for level, v in rows.items() if v}


def measured(levels: LevelLoss) -> dict[str, float]:
    return {name: float(mean) for name, mean in levels.means().items() if not bool(mean.isnan())}


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (3, 1)])
def test_they_are_the_means_of_the_rows_over_steps_and_micro_batches(sizes):
    ends = torch.tensor(sizes).cumsum(0).tolist()
    parts = [BATCH.rows(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    step = make_step()
    for number in range(6):
        step(parts, number, 0.0)  # the weights stay
    expected = by_hand(make_step(), range(6))
    assert len(expected) > 5
    assert measured(step.levels) == pytest.approx(expected, rel=1e-9)
    step.levels.reset()
    assert measured(step.levels) == {}


def test_a_state_is_json_and_exact():
    one, other = make_step().levels, make_step().levels
    one.totals += torch.rand(2, LEVELS, dtype=torch.float64)
    other.load_state(json.loads(json.dumps(one.state())))
    assert torch.equal(one.totals, other.totals)


def test_losses_that_are_not_finite_are_left_out():
    step = make_step()
    part = step._prepare([BATCH], 0)[0]
    made = loss_sum(step.model, part)
    made.values[0] = math.nan
    step.levels.add(part, made)
    assert float(step.levels.totals[1].sum()) == part.passes[0].scored - 1
    assert all(math.isfinite(number) for number in step.levels.state())


def by_level(tmp_path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k.startswith("loss/level")} for line in logged(tmp_path)]


def test_the_loop_logs_what_lies_between_two_logs_and_goes_on_from_a_checkpoint(tmp_path):
    intervals = replace(NEVER, log=4)
    whole, halves, progress = make_step(), make_step(), Progress()
    make_loop(tmp_path / "whole", intervals, Recorder(), whole, steps=8).run(StopRequest())
    make_loop(tmp_path / "halves", intervals, Recorder(), halves, steps=6, progress=progress).run(StopRequest())
    assert progress.levels is not None
    assert sum(progress.levels[LEVELS:]) > 0
    halves.levels.reset()  # another process
    make_loop(tmp_path / "halves", intervals, Recorder(), halves, steps=8, progress=progress).run(StopRequest())
    lines = by_level(tmp_path / "whole")
    assert len(lines) == 3
    assert all(lines)
    assert lines == by_level(tmp_path / "halves")

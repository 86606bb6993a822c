"""Schedules: known values, the edges, and properties that hold for every schedule of the registry."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from diffusionlm.optim import LR_SCHEDULES, ConstantParams, CosineParams, WSDParams, build_lr_schedule
from diffusionlm.optim.schedule import span_steps

spans = st.one_of(st.floats(0, 0.999), st.integers(0, 60))


def test_registry_names():
    assert set(LR_SCHEDULES) == {"constant", "cosine", "wsd"}


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(LR_SCHEDULES)), warmup=spans, total=st.integers(1, 50))
def test_every_schedule_is_a_positive_share_of_the_learning_rate(name, warmup, total):
    schedule = build_lr_schedule(LR_SCHEDULES[name].Params.model_validate({"warmup_steps": warmup}))
    values = [schedule.multiplier(step, total) for step in range(total)]
    assert all(0 < value <= 1 for value in values), "every update of the run moves, the first and the last included"
    assert values == [schedule.multiplier(step, total) for step in range(total)]
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert math.isfinite(schedule.multiplier(total, total))
    assert math.isfinite(schedule.multiplier(10 * total, total))


@pytest.mark.parametrize("name", sorted(LR_SCHEDULES))
def test_the_first_step_is_an_update_and_warmup_is_linear(name):
    schedule = build_lr_schedule(LR_SCHEDULES[name].Params.model_validate({"warmup_steps": 4}))
    assert [schedule.multiplier(step, 100) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("name", sorted(LR_SCHEDULES))
def test_a_run_that_is_all_warmup(name):
    schedule = build_lr_schedule(LR_SCHEDULES[name].Params.model_validate({"warmup_steps": 5}))
    values = [schedule.multiplier(step, 5) for step in range(5)]
    assert values == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("name", sorted(LR_SCHEDULES))
@pytest.mark.parametrize("warmup", [0, 1, 0.5, 0.02])
def test_a_run_of_one_step_is_at_the_full_rate(name, warmup):
    assert build_lr_schedule(LR_SCHEDULES[name].Params.model_validate({"warmup_steps": warmup})).multiplier(0, 1) == 1.0


def test_a_warmup_longer_than_the_run_is_cut_off():
    assert build_lr_schedule(CosineParams(warmup_steps=100)).multiplier(9, 10) == 0.1


def test_constant():
    assert {build_lr_schedule(ConstantParams()).multiplier(step, 10) for step in range(20)} == {1.0}


def test_cosine_values():
    schedule = build_lr_schedule(CosineParams(warmup_steps=0, floor=0.2))
    assert schedule.multiplier(0, 100) == 1.0
    assert schedule.multiplier(50, 100) == pytest.approx(0.6)
    assert schedule.multiplier(25, 100) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert schedule.multiplier(100, 100) == schedule.multiplier(999, 100) == 0.2


@pytest.mark.parametrize(("shape", "half"), [("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)])
def test_wsd_values(shape, half):
    schedule = build_lr_schedule(WSDParams(warmup_steps=10, decay_steps=20, shape=shape))
    assert schedule.multiplier(4, 100) == 0.5
    assert {schedule.multiplier(step, 100) for step in range(10, 81)} == {1.0}
    assert schedule.multiplier(90, 100) == pytest.approx(half)
    assert schedule.multiplier(100, 100) == pytest.approx(0)
    floored = build_lr_schedule(WSDParams(warmup_steps=10, decay_steps=20, shape=shape, floor=0.1))
    assert floored.multiplier(90, 100) == pytest.approx(0.1 + 0.9 * half)


def test_wsd_without_decay_is_constant():
    schedule = build_lr_schedule(WSDParams(warmup_steps=0, decay_steps=0))
    assert {schedule.multiplier(step, 7) for step in range(9)} == {1.0}


def test_wsd_overlap_takes_the_smaller():
    schedule = build_lr_schedule(WSDParams(warmup_steps=10, decay_steps=10))
    assert schedule.multiplier(0, 10) == pytest.approx(0.1)
    assert schedule.multiplier(9, 10) == pytest.approx(0.1)
    assert schedule.multiplier(5, 10) == pytest.approx(0.5)


def test_spans_are_shares_below_one_and_steps_from_one():
    assert [span_steps(span, 200) for span in (0, 0.1, 0.004, 0.999, 1, 17.0)] == [0, 20, 1, 200, 1, 17]
    for wrong in (1.5, -1, -0.1, math.inf):
        with pytest.raises(ValidationError):
            CosineParams(warmup_steps=wrong)
    with pytest.raises(ValidationError, match="neither a share of the run"):
        WSDParams(decay_steps=2.5)


def test_nonsense_steps_are_refused():
    schedule = build_lr_schedule(ConstantParams())
    with pytest.raises(AssertionError, match="total 0"):
        schedule.multiplier(0, 0)
    with pytest.raises(AssertionError, match="-1"):
        schedule.multiplier(-1, 5)

"""The sections of training: what each refuses by itself."""

import pytest
from pydantic import ValidationError

from diffusionlm.training.params import CheckpointingParams, SamplesParams, TrainingParams, ValidationParams


@pytest.mark.parametrize("budget", [{"steps": 1}, {"tokens": 1}, {"minutes": 0.1}, {"steps": 5, "minutes": 1.0}])
def test_any_budget_will_do(budget):
    assert TrainingParams(**budget).model_dump(include=set(budget)) == budget


def test_no_budget_is_refused():
    with pytest.raises(ValidationError, match="set steps, tokens or minutes"):
        TrainingParams()


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (TrainingParams, {"steps": 0}),
        (TrainingParams, {"steps": 1, "batch_size": 0}),
        (TrainingParams, {"steps": 1, "clip_norm": -1.0}),
        (TrainingParams, {"steps": 1, "precision": "fp16"}),
        (TrainingParams, {"steps": 1, "ema": {"decay": 1.0}}),
        (TrainingParams, {"minutes": float("inf")}),
        (ValidationParams, {"every": 0}),
        (ValidationParams, {"draws": 0}),
        (CheckpointingParams, {"keep": 0}),
        (SamplesParams, {"every": -1}),
    ],
)
def test_values_out_of_range(params, wrong):
    with pytest.raises(ValidationError):
        params(**wrong)


def test_micro_batches_divide_the_batch():
    assert TrainingParams(steps=1, batch_size=12, micro_batch_size=4)
    with pytest.raises(ValidationError, match="batch_size = 12 is not a multiple of micro_batch_size = 5"):
        TrainingParams(steps=1, batch_size=12, micro_batch_size=5)
    with pytest.raises(ValidationError, match="not a multiple"):
        TrainingParams(steps=1, batch_size=12, micro_batch_size=24)

"""The debug preset: caps what is large, leaves what is small, changes nothing when it is off, and is stable."""

import pytest
from pydantic import ValidationError

from diffusionlm.workflows.debug import CAPS, shrink
from diffusionlm.workflows.params import TrainParams

LARGE = {
    "run": {"debug": True},
    "tokenizer": {"name": "bpe", "vocab_size": 50_000},
    "model": {"layers": 12, "width": 768, "heads": 12, "kv_heads": 4, "hidden": 2048, "context_length": 1024},
    "training": {"steps": 10_000, "batch_size": 512, "micro_batch_size": 64},
    "lr_schedule": {"name": "wsd", "warmup_steps": 1000, "decay_steps": 2000},
    "generation": {"length": 1024, "steps": 512, "samples": 8, "block_length": 32},
    "validation": {"rows": 1000},
}


def test_off_means_unchanged():
    tables = {**LARGE, "run": {"debug": False}}
    assert shrink(tables) == tables
    assert shrink({}) == {}


def test_everything_large_is_capped():
    params = TrainParams.model_validate(LARGE)
    for section, caps in CAPS.items():
        for key, cap in caps.items():
            assert vars(vars(params)[section])[key] <= cap
    assert params.tokenizer.vocab_size == 512
    assert params.model.kv_heads is None


def test_small_values_stay():
    params = TrainParams.model_validate({"run": {"debug": True}, "training": {"steps": 3, "batch_size": 2}})
    assert (params.training.steps, params.training.batch_size) == (3, 2)


def test_the_resolved_configuration_resolves_to_itself():
    params = TrainParams.model_validate(LARGE)
    assert TrainParams.model_validate(params.model_dump()) == params


def test_a_byte_tokenizer_has_no_size_to_cap():
    params = TrainParams.model_validate({"run": {"debug": True}, "tokenizer": {"name": "byte"}})
    assert params.tokenizer.name == "byte"


@pytest.mark.parametrize("wrong", [{"training": 3}, {"training": {"steps": "many"}}, {"tokenizer": "bpe"}])
def test_wrong_types_are_left_for_validation_to_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainParams.model_validate({"run": {"debug": True}, **wrong})
    with pytest.raises(ValidationError, match="run"):
        TrainParams.model_validate({"run": 3})

"""A configuration as TOML: every key that has a value, none that has not."""

import tomllib
from pathlib import Path

from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.resolved import to_toml


def test_every_key_with_a_value():
    params = TrainParams.model_validate({"training": {"steps": 3}, "run": {"folder": "a b/c"}})
    tables = tomllib.loads(to_toml(params))
    assert tables["run"]["folder"] == str(Path("a b/c"))
    assert tables["training"]["steps"] == 3
    assert "minutes" not in tables["training"]
    assert TrainParams.model_validate(tables) == params

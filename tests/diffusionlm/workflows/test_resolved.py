"""A configuration as TOML: every key that has a value, none that has not."""

import tomllib
from pathlib import Path

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.resolved import to_toml


def test_every_key_with_a_value():
    params = TrainParams.model_validate({"training": {"steps": 3}, "run": {"folder": "a b/c"}})
    tables = tomllib.loads(to_toml(params))
    assert tables["run"]["folder"] == str(Path("a b/c"))
    assert tables["training"]["steps"] == 3
    assert "minutes" not in tables["training"]
    assert TrainParams.model_validate(tables) == params


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"run": {"folder": "a\udcff"}}, "run.folder"),
        ({"samples": {"prompts": ["a", "\udcff"]}}, r"samples.prompts\[1\]"),
    ],
)
def test_bytes_that_are_not_utf8_are_refused(sections, key):
    """They come from the command line as lone surrogates, and no file of a run could hold them."""
    params = TrainParams.model_validate({"training": {"steps": 3}, **sections})
    with pytest.raises(ConfigError, match=f"^{key}: .*udcff' is not UTF-8"):
        to_toml(params)

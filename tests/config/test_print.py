"""``--print-config``: what is printed loads back to an equal object, for every command and every recipe."""

import tomllib

import pytest

from config.files import recipe_names
from config.load import load
from config.overrides import parse
from config.print import printed
from config.schema import commands
from diffusionlm.params import Strict
from diffusionlm.shape import strict_members
from tests.config.recipes import command_of
from tests.config.toy import ToyParams

# What a command cannot do without.
NEEDED = {
    "train": ["training.steps=10"],
    "infer": ["checkpoint=runs/x"],
    "infill": ["checkpoint=runs/x", "texts=['a<|hole:3|>b']"],
    "eval": ["checkpoint=runs/x"],
    "inspect": ["checkpoint=runs/x"],
    "data-verify": ["folder=shards"],
    "compare": ["methods={a={}}", "budget.tokens=10"],
}


@pytest.mark.parametrize("command", commands())
def test_round_trip_of_every_command(command, tmp_path):
    needed = {**dict.fromkeys(commands(), ()), **NEEDED}[command]
    params = load(commands()[command], None, [parse(text) for text in needed])
    path = tmp_path / "resolved.toml"
    path.write_text(printed(params, command), encoding="utf-8")
    assert load(commands()[command], str(path)) == params


@pytest.mark.parametrize("name", recipe_names())
def test_round_trip_of_every_recipe(name, tmp_path):
    params = load(commands()[command_of(name)], name)
    path = tmp_path / "resolved.toml"
    path.write_text(printed(params, "x"), encoding="utf-8")
    assert load(type(params), str(path)) == params


def test_round_trip_of_awkward_text(tmp_path):
    params = ToyParams(title='quote " back\\slash\nline\ttab é 漢 \x7f')
    path = tmp_path / "resolved.toml"
    path.write_text(printed(params, "toy"), encoding="utf-8")
    assert load(ToyParams, str(path)) == params


def test_it_is_toml_with_every_key():
    tables = tomllib.loads(printed(ToyParams(), "toy"))
    assert set(tables) == {"loop", "rule", "rules", "title"}
    assert tables["loop"]["steps"] == 10


def every_class() -> set[type[Strict]]:
    """Return every parameter class that a command's configuration is made of."""
    found, waiting = set(), list(commands().values())
    while waiting:
        params = waiting.pop()
        if params not in found:
            found.add(params)
            for field in params.model_fields.values():
                waiting += strict_members(field.annotation)
    return found


@pytest.mark.parametrize("params", sorted(every_class(), key=lambda p: p.__name__), ids=lambda p: p.__name__)
def test_a_value_that_may_be_none_is_none_by_default(params):
    """TOML has no null: a None that is not the default could not be written down."""
    for name, field in params.model_fields.items():
        may_be_none = type(None) in getattr(field.annotation, "__args__", ())
        if may_be_none:
            assert field.get_default(call_default_factory=True) is None, f"{params.__name__}.{name}"


@pytest.mark.parametrize("params", sorted(every_class(), key=lambda p: p.__name__), ids=lambda p: p.__name__)
def test_every_key_is_documented(params):
    for name, field in params.model_fields.items():
        assert name == "name" or field.description, f"{params.__name__}.{name} has no docstring under it"

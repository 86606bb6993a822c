"""The schemas for editors: valid JSON Schema, every key in them, every recipe valid, the files in git current."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from config import schema as schemas
from config.files import RECIPES, read, recipe_names
from config.schema import commands, schema
from diffusionlm.errors import ConfigError
from diffusionlm.shape import dotted_keys
from tests.config.recipes import command_of

COMMITTED = Path(schemas.__file__).parent / "schemas"


def keys_of(node, root, prefix="", seen=()):
    """Yield every dotted key that a schema describes."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from keys_of(root["$defs"][name], root, prefix, (*seen, name))
    for part in (*node.get("anyOf", ()), *([node["items"]] if "items" in node else [])):
        yield from keys_of(part, root, prefix, seen)
    for key, part in node.get("properties", {}).items():
        yield prefix + key
        yield from keys_of(part, root, f"{prefix}{key}.", seen)


@pytest.mark.parametrize("command", commands())
def test_it_is_a_json_schema_that_covers_every_key(command):
    built = schema(command)
    Draft202012Validator.check_schema(built)
    missing = set(dotted_keys(commands()[command])) - set(keys_of(built, built))
    # A recursive shape (a mixture of sources) is listed once on either side, and not at the same depth.
    assert {key for key in missing if ".sources." not in key and ".parts." not in key} == set()


@pytest.mark.parametrize("command", commands())
def test_every_key_has_a_description(command):
    built = schema(command)
    for definition in [built, *built.get("$defs", {}).values()]:
        for key, part in definition.get("properties", {}).items():
            described = "description" in part or "$ref" in part or key == "name"
            assert described, f"{definition['title']}.{key}"


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_valid(name):
    Draft202012Validator(schema(command_of(name))).validate(read(RECIPES / f"{name}.toml"))


@pytest.mark.parametrize(
    "tables",
    [
        {"training": {"steps": 0}},
        {"training": {"stesp": 5}},
        {"training": {"steps": 5}, "optimizer": {"name": "adamm"}},
        {"training": {"steps": 5}, "optimizer": {"name": "adamw", "momentum": 0.9}},
        {},
    ],
)
def test_mistakes_are_not_valid(tables):
    assert not Draft202012Validator(schema("train")).is_valid(tables)


def test_a_table_may_leave_its_name_to_the_default():
    assert Draft202012Validator(schema("train")).is_valid({"training": {"steps": 5}, "optimizer": {"lr": 0.1}})


def test_unknown_command():
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        schema("trian")
    with pytest.raises(ConfigError, match=r"known: .*train"):
        schemas.text(None)


def test_write(tmp_path):
    written = schemas.write(str(tmp_path / "new" / "folder"))
    assert {path.stem for path in written} == set(commands())
    for path in written:
        assert json.loads(path.read_text(encoding="utf-8")) == schema(path.stem)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        schemas.write(str(tmp_path / "file"))


@pytest.mark.parametrize("command", commands())
def test_the_files_in_git_are_current(command):
    """Written by ``flowlm schema --write``; run it again after a change to any parameter class."""
    assert (COMMITTED / f"{command}.json").read_text(encoding="utf-8") == schemas.text(command)

"""``--set``: parsing of values, and merging over a file's tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.overrides import ABSENT, merge, parse, parse_value
from diffusionlm.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("1_000", 1000),
        ("true", True),
        ("adamw", "adamw"),
        ("runs/a b", "runs/a b"),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ('{name = "muon"}', {"name": "muon"}),
        ("a = b", "a = b"),
        ("", ABSENT),
        ('""', ""),
        ("1\nother = 2", "1\nother = 2"),
        ("9" * 5000, "9" * 5000),
        ("[" * 5000, "[" * 5000),
        ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_only_the_first_equals_sign_splits():
    override = parse("samples.prompts=['x = 1']")
    assert override.keys == ("samples", "prompts")
    assert override.value == ["x = 1"]
    assert override.option == "--set samples.prompts=['x = 1']"


@pytest.mark.parametrize("text", ["", "steps", "=3", "a..b=1", "a b=1", ".a=1"])
def test_what_is_not_an_assignment(text):
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        parse(text)


def test_merge_leaves_its_input_alone():
    tables = {"a": {"b": 1, "c": 2}}
    assert merge(tables, [parse("a.b=5"), parse("d.e=6")]) == {"a": {"b": 5, "c": 2}, "d": {"e": 6}}
    assert tables == {"a": {"b": 1, "c": 2}}


def test_an_empty_value_takes_the_key_away():
    assert merge({"a": {"b": 1, "c": 2}}, [parse("a.b="), parse("a.none=")]) == {"a": {"c": 2}}


def test_a_value_is_not_a_table():
    with pytest.raises(ConfigError, match=r"^--set a\.b\.c=1: a\.b is 3, not a table"):
        merge({"a": {"b": 3}}, [parse("a.b.c=1")])


@given(st.text())
def test_any_text_is_a_value_or_absent(text):
    value = parse_value(text)
    assert value is ABSENT or isinstance(value, str | int | float | list | dict) or hasattr(value, "isoformat")

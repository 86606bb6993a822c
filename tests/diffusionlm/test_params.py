"""Parameter objects refuse what they do not know and cannot change."""

import math

import pytest
from pydantic import ValidationError

from diffusionlm.params import Strict


class Example(Strict):
    """An example."""

    rate: float = 0.5
    """How fast."""


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="rat"):
        Example.model_validate({"rat": 1.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, "fast", None])
def test_wrong_values_are_refused(value):
    with pytest.raises(ValidationError, match="rate"):
        Example.model_validate({"rate": value})


def test_objects_are_frozen():
    example = Example()
    with pytest.raises(ValidationError, match="frozen"):
        example.rate = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_the_string_under_a_field_describes_it():
    assert Example.model_fields["rate"].description == "How fast."


def test_a_wrong_default_is_an_error_when_the_object_is_made():
    class Wrong(Strict):
        rate: float = math.nan

    with pytest.raises(ValidationError, match="rate"):
        Wrong()

"""Limits of what can be asked of sampling."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from diffusionlm.generation import GenerationParams


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", 0), ("steps", 1_000_001), ("guidance", -0.1), ("guidance", 1000.5), ("guidance", float("nan"))],
)
def test_values_beyond_the_limits_are_refused(key: str, value: float):
    with pytest.raises(ValidationError, match=key):
        GenerationParams.model_validate({key: value})


@pytest.mark.parametrize(
    ("key", "value"), [("steps", 1), ("steps", 1_000_000), ("guidance", 0.0), ("guidance", 1000.0)]
)
def test_the_limits_themselves_are_allowed(key: str, value: float):
    assert getattr(GenerationParams.model_validate({key: value}), key) == value

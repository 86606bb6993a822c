"""Methods are found by name, and a table of parameters becomes the right class."""

from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from diffusionlm.errors import ConfigError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, SCHEDULES
from diffusionlm.registry import Registry, params_name
from diffusionlm.sampling import SAMPLERS


class Method:
    """A base class."""

    def __init__(self, params: Any, extra: int = 0) -> None:
        self.params, self.extra = params, extra


class SlowParams(Strict):
    """Parameters of Slow."""

    name: Literal["slow"] = "slow"
    speed: int = 1


class Slow(Method):
    Params = SlowParams


class FastParams(Strict):
    """Parameters of Fast."""

    name: Literal["fast"] = "fast"
    speed: int = 9
    gears: int = 5


class Fast(Method):
    Params = FastParams


class Unnamed(Fast):
    """Not a method of its own: it has no parameters of its own."""


METHODS: Registry[Method] = Registry("method", Method, globals())


def test_only_classes_with_parameters_of_their_own_are_collected():
    assert list(METHODS) == ["fast", "slow"]
    assert len(METHODS) == 2
    assert "slow" in METHODS
    assert METHODS["fast"] is Fast


def test_build_makes_the_method_of_its_parameters():
    built = METHODS.build(FastParams(speed=3), extra=7)
    assert type(built) is Fast
    assert (built.params.speed, built.extra) == (3, 7)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"^unknown method 'quick'; known: fast, slow$"):
        METHODS["quick"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, SlowParams()),
        ({"speed": 4}, SlowParams(speed=4)),
        ({"name": "fast"}, FastParams()),
        ({"name": "fast", "gears": 2}, FastParams(gears=2)),
        (FastParams(speed=2), FastParams(speed=2)),
    ],
)
def test_a_table_becomes_its_class(table, expected):
    assert TypeAdapter(METHODS.union("slow")).validate_python(table) == expected


@pytest.mark.parametrize("table", [{"name": "quick"}, {"gears": 2}, {"name": "slow", "gears": 1}, 3])
def test_a_wrong_table_is_refused(table):
    with pytest.raises(ValidationError):
        TypeAdapter(METHODS.union("slow")).validate_python(table)


def test_a_registry_of_one_needs_no_name():
    one: Registry[Method] = Registry("method", Method, {"Slow": Slow})
    assert TypeAdapter(one.union("slow")).validate_python({"speed": 2}) == SlowParams(speed=2)


@pytest.mark.parametrize("registry", [PROCESSES, OBJECTIVES, SAMPLERS, SCHEDULES], ids=lambda r: r.kind)
def test_every_method_is_described_for_help_and_tables(registry):
    assert len(registry) > 0
    for name in registry:
        method = registry[name]
        assert params_name(method.Params) == name
        assert (method.__doc__ or "").strip()
        assert (method.Params.__doc__ or "").strip()
        for field, info in method.Params.model_fields.items():
            assert field == "name" or info.description, f"{name}.{field} has no description"

"""Parameters made of values: valid ones, and one line about those that are not."""

import pytest

from diffusionlm.errors import ConfigError, PairingError
from diffusionlm.messages import validated
from diffusionlm.params import Strict
from tests.config.toy import FastParams, ToyParams

WRONG = {
    "unknown key": (
        {"loop": {"stesp": 3}},
        "loop.stesp: unknown key; did you mean 'steps'?; allowed: "
        "compile, folder, precision, prompts, share, steps, warmup",
    ),
    "unknown method": (
        {"rule": {"name": "fats"}},
        "rule.name: unknown name 'fats'; did you mean 'fast'?; known: fast, slow",
    ),
    "wrong type": ({"loop": {"steps": "many"}}, "loop.steps: 'many' is not allowed; it must be a valid integer"),
    "a table too deep": (
        {"data": {"loop": {"steps": 3}}},
        "data: unknown section; did you mean 'loop.steps'?; allowed: loop, other, rule, rules, title",
    ),
}


def test_values_become_parameters() -> None:
    made = validated(ToyParams, {"loop": {"steps": 3}, "rule": FastParams()})
    assert (made.loop.steps, made.rule) == (3, FastParams())


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line(case: str) -> None:
    values, line = WRONG[case]
    with pytest.raises(ConfigError) as raised:
        validated(ToyParams, values)
    assert str(raised.value) == line
    with pytest.raises(ConfigError) as raised:
        validated(ToyParams, values, "methods.one")
    assert str(raised.value) == f"methods.one.{line}"


class Inner(Strict):
    path: str = ""


class Near(Strict):
    inner: Inner = Inner()


class Nested(Strict):
    far: Inner = Inner()
    near: tuple[Near, ...] = ()


def test_of_a_key_that_several_tables_have_the_nearest_is_suggested() -> None:
    with pytest.raises(ConfigError) as raised:
        validated(Nested, {"near": [{"path": "a"}]})
    assert str(raised.value) == "near[0].path: unknown key; did you mean 'near.inner.path'?; allowed: inner"


def test_a_pair_that_does_not_fit_stays_what_it_is() -> None:
    with pytest.raises(PairingError, match=r"^a title and a rule that do not fit$"):
        validated(ToyParams, {"title": "unpaired"})
    with pytest.raises(PairingError, match=r"^methods.one: a title and a rule that do not fit$"):
        validated(ToyParams, {"title": "unpaired"}, "methods.one")

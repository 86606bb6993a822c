"""Composition and validation: precedence, and one line for every way in which a configuration can be wrong."""

import pytest

from config.load import load
from config.overrides import parse
from diffusionlm.data.params import DataParams
from diffusionlm.errors import ConfigError, PairingError
from diffusionlm.workflows.params import TrainParams
from tests.config.toy import FastParams, NeedyParams, SlowParams, ToyParams


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "toy.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_defaults_without_a_file():
    assert load(ToyParams) == ToyParams()


def test_file_beats_default_and_option_beats_file(toml):
    name = toml("title = 'file'\n[loop]\nsteps = 5\nwarmup = 2\n")
    loaded = load(ToyParams, name, [parse("loop.steps=7"), parse("loop.steps=8")])
    assert (loaded.title, loaded.loop.steps, loaded.loop.warmup) == ("file", 8, 2)


def test_the_default_method_needs_no_name_and_others_are_named(toml):
    assert load(ToyParams, toml("[rule]\nrate = 0.2")).rule == SlowParams(rate=0.2)
    assert load(ToyParams, toml("[rule]\nname = 'fast'\nmomentum = 0.5")).rule == FastParams(momentum=0.5)
    assert load(ToyParams, toml("[[rules]]\n[[rules]]\nname = 'fast'")).rules == (SlowParams(), FastParams())


def test_a_table_as_a_value_replaces_the_section(toml):
    name = toml("[rule]\nname = 'fast'\nmomentum = 0.5")
    assert load(ToyParams, name, [parse('rule={name="slow"}')]).rule == SlowParams()


def test_the_result_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load(ToyParams).title = "other"


WRONG = {
    "unknown key with suggestion": (
        "[loop]\nstesp = 3",
        "{file}: loop.stesp: unknown key; did you mean 'steps'?; allowed: "
        "compile, folder, precision, prompts, share, steps, warmup",
    ),
    "unknown section with suggestion": (
        "[lop]\nsteps = 3",
        "{file}: lop: unknown section; did you mean 'loop'?; allowed: loop, other, rule, rules, title",
    ),
    "known key in the wrong section": (
        "[loop]\nmomentum = 3",
        "{file}: loop.momentum: unknown key; did you mean 'rule.momentum'?; allowed: "
        "compile, folder, precision, prompts, share, steps, warmup",
    ),
    "key of another method": (
        "[rule]\nname = 'fast'\nrate = 0.1",
        "{file}: rule.rate: unknown key; it belongs to 'slow'; allowed of 'fast': momentum, name",
    ),
    "unknown method": (
        "[rule]\nname = 'fats'",
        "{file}: rule.name: unknown name 'fats'; did you mean 'fast'?; known: fast, slow",
    ),
    "unknown method inside a list": (
        "[[rules]]\n[[rules]]\nname = 'fats'",
        "{file}: rules[1].name: unknown name 'fats'; did you mean 'fast'?; known: fast, slow",
    ),
    "wrong type": (
        "[loop]\nsteps = 'many'",
        "{file}: loop.steps: 'many' is not allowed; it must be a valid integer",
    ),
    "number in quotes": (
        "[loop]\nsteps = '100'",
        "{file}: loop.steps: '100' is not allowed; it must be a number, without quotes",
    ),
    "number for a truth value": (
        "[loop]\ncompile = 1",
        "{file}: loop.compile: 1 is not allowed; it must be true or false",
    ),
    "truth value for a number": (
        "[loop]\nsteps = true",
        "{file}: loop.steps: true is not allowed; it must be a number, without quotes",
    ),
    "a fraction for a whole number": (
        "[loop]\nsteps = 1.5",
        "{file}: loop.steps: 1.5 is not allowed; it must be a valid integer",
    ),
    "out of range": (
        "[loop]\nsteps = 0",
        "{file}: loop.steps: 0 is not allowed; it must be greater than 0",
    ),
    "out of range in a method": (
        "[rule]\nname = 'slow'\nrate = -1",
        "{file}: rule.rate: -1 is not allowed; it must be greater than 0",
    ),
    "not finite": (
        "[rule]\nrate = inf",
        "{file}: rule.rate: inf is not allowed; it must be a finite number",
    ),
    "no such choice": (
        "[loop]\nprecision = 'bf61'",
        "{file}: loop.precision: 'bf61' is not allowed; did you mean 'bf16'?; allowed: fp32, bf16",
    ),
    "a value where a table belongs": (
        "loop = 3",
        "{file}: loop: 3 came, but this is a table with keys of its own",
    ),
    "a table where a value belongs": (
        "[loop.steps]\na = 1",
        "{file}: loop.steps: {'a': 1} is not allowed; it must be a valid integer",
    ),
    "several values in one section": (
        "[loop]\nsteps = 1\nwarmup = 2",
        "{file}: loop: warmup = 2 is more than steps = 1",
    ),
    "several mistakes": (
        "[loop]\nsteps = 0\ncompile = 'x'\nstesp = 1",
        "{file}: loop.stesp: unknown key; did you mean 'steps'?; allowed: compile, folder, precision, prompts, share, "
        "steps, warmup (and 2 more wrong: loop.compile, loop.steps)",
    ),
}


def test_a_value_that_is_too_short_is_said_in_words():
    with pytest.raises(
        ConfigError, match=r"^--set cache=\"\": cache: '' is not allowed; it must have at least 1 character$"
    ):
        load(DataParams, None, [parse('cache=""')])


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line(toml, case):
    text, wanted = WRONG[case]
    name = toml(text)
    with pytest.raises(ConfigError) as caught:
        load(ToyParams, name)
    assert str(caught.value) == wanted.replace("{file}", name)
    assert "\n" not in str(caught.value)


def test_a_required_key_is_named(toml):
    with pytest.raises(
        ConfigError, match=r"toy\.toml: path: is required and missing; set it in a --config file or with --set$"
    ):
        load(NeedyParams, toml(""))
    with pytest.raises(ConfigError, match=r"^path: is required and missing; set it in a --config file or with --set$"):
        load(NeedyParams)


def test_the_message_names_the_option_that_set_the_value(toml):
    with pytest.raises(ConfigError, match=r"^--set loop\.steps=0: loop\.steps: 0 is not allowed"):
        load(ToyParams, toml("[loop]\nsteps = 5"), [parse("loop.steps=0")])
    with pytest.raises(ConfigError, match=r"toy\.toml: loop\.compile: 'x' is not allowed"):
        load(ToyParams, toml("[loop]\nsteps = 5\ncompile = 'x'"), [parse("loop.steps=4")])


def test_an_error_of_the_library_keeps_its_kind(toml):
    with pytest.raises(PairingError, match=r"toy\.toml: a title and a rule that do not fit"):
        load(ToyParams, toml("title = 'unpaired'"))


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("samples.prompts=abc", "samples.prompts: 'abc' is not allowed; it must be a list, in square brackets"),
        ("run.name=\udcff", "run.name: '\\udcff' does not name a folder; use printable characters"),
        (
            "run.name=a/b",
            "run.name: 'a/b' does not name a folder; use printable characters without '/' and '\\', and "
            "neither '.' nor a space in front",
        ),
    ],
)
def test_texts_and_lists_of_training(option, wanted):
    with pytest.raises(ConfigError) as caught:
        load(TrainParams, "quickstart", [parse(option)])
    assert str(caught.value).startswith(f"--set {option}: {wanted}")

"""Every packaged recipe: it opens with its command, holds only what differs from the defaults, and loads."""

import re
import tomllib
from itertools import takewhile

import pytest

from config.files import RECIPES, read, recipe_names
from config.load import load
from config.overrides import parse
from config.schema import commands
from tests.config.recipes import command_of

NEEDED = {"train": ["training.steps=1"], "compare": ["methods={a={}}", "budget.tokens=1"]}


def test_there_are_recipes():
    assert {"compare_small", "quickstart", "text-file", "tinystories"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_it_loads(name):
    params = load(commands()[command_of(name)], name)
    assert params.output_folder() is None or not params.output_folder().is_absolute()


@pytest.mark.parametrize("name", recipe_names())
def test_it_loads_as_a_debug_run(name):
    if command_of(name) == "train":
        params = load(commands()["train"], name, [parse("run.debug=true")])
        assert params.training.steps <= 20
        assert params.model.width <= 64


@pytest.mark.parametrize("name", recipe_names())
def test_its_samples_fit_into_its_context(name):
    """Whatever the tokenizer makes of a prompt: at most a token a byte, and one in front where the model is shifted."""
    if command_of(name) != "train":
        return
    params = load(commands()["train"], name)
    longest = max((len(prompt.encode()) for prompt in params.samples.prompts), default=0)
    assert 1 + longest + (params.generation.length or 1) <= params.model.context_length


@pytest.mark.parametrize("name", recipe_names())
def test_it_opens_with_command_and_schema(name):
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"#:schema ../schemas/{command_of(name)}.json"


@pytest.mark.parametrize("name", recipe_names())
def test_it_says_what_to_expect(name):
    header = [
        line[2:] for line in (RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines() if line[:1] == "#"
    ]
    (begin,) = (i for i, line in enumerate(header) if line.startswith("Expected: "))
    said = " ".join(takewhile(str.strip, header[begin:]))
    assert re.search(r"\d\.\d", said) or "not measured" in said
    assert "minutes" in said or "not measured" in said
    assert f"--config {name}" in " ".join(header[:begin])


def differing(tables, defaults, prefix=""):
    """Yield the keys of ``tables`` whose value is the default's."""
    for key, value in tables.items():
        if isinstance(value, dict):
            inner = defaults[key] if isinstance(defaults, dict) and key in defaults else {}
            same_method = "name" not in value or ("name" in inner and inner["name"] == value["name"])
            yield from differing(value, inner if same_method else {}, f"{prefix}{key}.")
        elif key != "name" and key in defaults and defaults[key] == value:
            yield prefix + key


@pytest.mark.parametrize("name", recipe_names())
def test_it_repeats_no_default(name):
    params = commands()[command_of(name)]
    tables = read(RECIPES / f"{name}.toml")
    needed = [parse(option) for option in NEEDED.get(command_of(name), [])]
    defaults = tomllib.loads(printed_defaults(params, needed))
    assert list(differing(tables, defaults)) == []


def printed_defaults(params, needed):
    from config.print import printed

    return printed(load(params, None, needed), "defaults")

"""A mistake in the command line itself: one line that says what came and what is allowed, and exit code 2."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli import eval as evaluation
from cli import infer, infill, inspect, main, make_data, schema, train, train_tokenizer

APPS = [train.app, train_tokenizer.app, make_data.app, infer.app, infill.app, evaluation.app, inspect.app, schema.app]


def refused(app, *arguments):
    """Return the one line that a refused command line gets."""
    result = CliRunner().invoke(app, list(arguments))
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.mark.parametrize("app", APPS)
def test_an_unknown_option(app):
    line = refused(app, "--confg", "x")
    assert "--confg: " in line
    assert "no such option; did you mean '--config'?" in line or app is schema.app
    assert line.endswith("--help\n")


@pytest.mark.parametrize("verb", main.COMMANDS)
def test_an_unknown_option_of_a_verb_names_the_verb(verb):
    assert f" {verb} has no such option; " in refused(main.app, verb, "--bogus")


def test_an_unknown_command():
    line = refused(main.app, "trian")
    assert line.startswith("error: 'trian': no such command; did you mean 'train'?; known: train, ")


def test_an_option_before_the_command():
    assert "--bogus: " in refused(main.app, "--bogus", "train")


@pytest.mark.parametrize(
    ("app", "arguments", "said"),
    [
        (infer.app, ["--checkpoint"], "--checkpoint: its value is missing; write --checkpoint PATH"),
        (train.app, ["--set"], "--set: its value is missing; write --set KEY=VALUE"),
        (infer.app, ["--json=3"], "--json: takes no value; write --json alone"),
        (infer.app, ["--length", "abc"], "--length: 'abc' is not a whole number; see "),
        (infill.app, ["--steps", "1.5"], "--steps: '1.5' is not a whole number; see "),
        (infill.app, ["--temperature", "warm"], "--temperature: 'warm' is not a number; see "),
        (evaluation.app, ["--draws="], "--draws: '' is not a whole number; see "),
        (infer.app, ["--seed", "9" * 5000], "--seed: '999999"),
        (inspect.app, ["a", "b"], "Got unexpected extra argument"),
    ],
)
def test_a_value_that_is_missing_or_wrong(app, arguments, said):
    line = refused(app, *arguments)
    assert line.startswith(f"error: {said}")
    assert len(line) < 200


def test_help_is_still_help():
    for app in [main.app, *APPS]:
        result = CliRunner().invoke(app, ["--help"])
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Usage" in result.stdout

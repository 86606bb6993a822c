"""A mistake in a command line, told in one line: an unknown option or command, a value missing or of a wrong type.

Typer prints a box of several lines; here such a mistake reads like one in a configuration and ends with exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from diffusionlm.nearest import suggestion

EXIT_USER = 2

# Newer versions of typer carry click inside themselves: its other errors are where the one that typer exports is.
_errors = import_module(typer.BadParameter.__module__)


def fail(message: str) -> NoReturn:
    """Print one line about a user's mistake and end with exit code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_USER)


class Command(TyperCommand):
    """A command that tells a wrong command line in one line."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the command line."""
        with _one_line(self, _path(info_name, parent)):
            return super().make_context(info_name, args, parent, **extra)


class Group(TyperGroup):
    """A group of commands that tells a wrong command line in one line."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the command line up to the name of the command."""
        with _one_line(self, _path(info_name, parent)):
            return super().make_context(info_name, args, parent, **extra)

    def get_help_option(self, ctx: Any) -> Any:
        """Return ``--help`` of the group, which is false where it is not given.

        Typer leaves it unset and then loads pydantic to read that as a truth value: a quarter of a second of the
        ``--help`` of every command in the group.
        """
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names."""
        if args[0] not in self.commands:
            fail(f"{args[0]!r}: no such command{suggestion(args[0], self.commands)}; known: {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)


def whole(text: str) -> int:
    """Return the whole number that an option was given."""
    return _number(text, int, "a whole number")


def decimal(text: str) -> float:
    """Return the number that an option was given."""
    return _number(text, float, "a number")


def _number(text: str, read: Callable[[str], Any], wanted: str) -> Any:
    try:
        return read(text)
    except ValueError:
        shown = repr(text) if len(text) <= 60 else f"{text[:59]!r}…"
        raise typer.BadParameter(f"{shown} is not {wanted}") from None


def _path(info_name: str | None, parent: Any) -> str:
    return f"{parent.command_path} {info_name}" if parent is not None else str(info_name)


@contextmanager
def _one_line(command: Any, path: str) -> Iterator[None]:
    """Tell a usage error from inside in one line."""
    try:
        yield
    except _errors.UsageError as error:
        fail(_words(error, command, path))


def _words(error: Any, command: Any, path: str) -> str:
    """Return one line about a usage error: what came, what is allowed, what to do."""
    allowed = [name for param in command.params for name in param.opts if name.startswith("-")] + ["--help"]
    if isinstance(error, _errors.NoSuchOption):
        name = error.option_name
        return f"{name}: {path} has no such option{suggestion(name, allowed)}; allowed: {', '.join(allowed)}"
    if isinstance(error, _errors.BadOptionUsage):
        (option,) = [param for param in command.params if error.option_name in param.opts]
        if option.is_flag:
            return f"{error.option_name}: takes no value; write {error.option_name} alone"
        return f"{error.option_name}: its value is missing; write {error.option_name} {option.metavar or 'VALUE'}"
    if isinstance(error, typer.BadParameter) and error.param is not None:
        return f"{error.param.opts[0]}: {error.message}; see {path} --help"
    return f"{' '.join(error.format_message().split()).rstrip('.')}; see {path} --help"

"""Compose a configuration: TOML file < ``--set`` and command-line flags, validated into one frozen object.

    params = load(TrainParams, "quickstart", [parse("training.steps=200")])

Three rules, in order: a field's default; the file's value; the options' values, the last one winning. Unknown keys,
wrong types and impossible combinations are ConfigErrors of one line that name the key, the value and where it was set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from config import files, overrides
from config.overrides import Override
from diffusionlm.errors import ConfigError
from diffusionlm.messages import first_line, shown
from diffusionlm.params import Strict
from diffusionlm.workflows.command import CommandParams

P = TypeVar("P", bound=Strict)


def load(
    params: type[P],
    name: str | None = None,
    options: Sequence[Override] = (),
    given_by: Mapping[str, str] | None = None,
) -> P:
    """Return the validated configuration.

    Args:
        params: The class of the command's configuration.
        name: A TOML file's path or the bare name of a packaged recipe; None means defaults and options alone.
        options: Values from the command line, applied in order.
        given_by: Key → the command's own option or argument for it, to be named where the key is missing.

    Raises:
        ConfigError: The file is missing or not TOML, or the result is not a valid configuration.
    """
    path = files.find(name) if name is not None else None
    tables = files.read(path) if path is not None else {}
    merged = overrides.merge(tables, options)
    if issubclass(params, CommandParams):
        try:
            merged = params.expand(merged, lambda recipe: files.read(files.find(recipe, "")))
        except ConfigError as error:
            raise type(error)(f"{_origin('', path, options)}{error}") from None
    return validate(params, merged, path, options, given_by)


def validate(
    params: type[P],
    tables: Mapping[str, Any],
    path: Path | None,
    options: Sequence[Override],
    given_by: Mapping[str, str] | None = None,
) -> P:
    """Return ``tables`` as a ``params`` object.

    Raises:
        ConfigError: With one line that opens with the file or the option that the wrong value came from.
    """
    try:
        result = params.model_validate(tables)
    except ValidationError as error:
        place, text = first_line(params, error.errors(include_url=False), given_by)
        raise ConfigError(f"{_origin(place.dotted, path, options)}{text}") from None
    except ConfigError as error:
        # A check inside the library spoke already; only where the value came from is missing.
        raise type(error)(f"{_origin('', path, options)}{error}") from None
    for dotted, text in _coerced(tables, result, ""):
        raise ConfigError(f"{_origin(dotted, path, options)}{dotted}: {text}")
    return result


def _origin(dotted: str, path: Path | None, options: Sequence[Override]) -> str:
    """Return the opening of a message: the option that set ``dotted``, else the file, else nothing."""
    for option in reversed(options):
        key = ".".join(option.keys)
        if dotted and (dotted == key or dotted.startswith((f"{key}.", f"{key}[")) or key.startswith(f"{dotted}.")):
            return f"{option.option}: "
    return f"{path}: " if path is not None else ""


def _coerced(raw: Any, value: Any, dotted: str) -> list[tuple[str, str]]:
    """Return the places where pydantic read a string or a truth value as a number, or a number as a truth value.

    Such a reading hides a mistake (``steps = "100"``, ``compile = 1``), and TOML has types to say what is meant.
    """
    if isinstance(raw, Mapping):
        prefix = f"{dotted}." if dotted else ""
        members = vars(value) if isinstance(value, Strict) else value
        parts = [(name, raw[name]) for name in raw if isinstance(members, Mapping) and name in members]
        return [found for name, part in parts for found in _coerced(part, members[name], prefix + name)]
    if isinstance(raw, list) and isinstance(value, list | tuple):
        pairs = enumerate(zip(raw, value, strict=True))
        return [found for i, (part, inner) in pairs for found in _coerced(part, inner, f"{dotted}[{i}]")]
    if isinstance(value, bool) and not isinstance(raw, bool):
        return [(dotted, f"{shown(raw)} is not allowed; it must be true or false")]
    if isinstance(value, int | float) and not isinstance(value, bool) and isinstance(raw, str | bool):
        return [(dotted, f"{shown(raw)} is not allowed; it must be a number, without quotes")]
    return []

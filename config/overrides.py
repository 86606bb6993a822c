"""``--set section.key=value``: one option parsed and merged over the tables of a file.

The value is TOML (``3``, ``1e-3``, ``true``, ``"text"``, ``[1, 2]``, ``{name = "adamw"}``); what is not TOML is a bare
word and means a string, so ``--set optimizer.name=adamw`` needs no quotes. An empty value takes the key away, so that
its default holds again. A table (``--set 'optimizer={name="adamw"}'``) replaces the whole section.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusionlm.errors import ConfigError

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class _Absent:
    """The value of an option that takes its key away."""


ABSENT = _Absent()


@dataclass(frozen=True)
class Override:
    """One value from the command line.

    Attributes:
        keys: The way to the value, outermost table first.
        value: What to put there; ``ABSENT`` takes the key away.
        option: The option as the user typed it, for messages.
    """

    keys: tuple[str, ...]
    value: Any
    option: str


def parse(text: str) -> Override:
    """Return the override that ``--set TEXT`` means.

    Raises:
        ConfigError: ``text`` is not of the form ``section.key=value``.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(f"--set {text}: expected section.key=value, for example --set training.steps=200")
    return Override(tuple(key.split(".")), parse_value(value.strip()), f"--set {text}")


def parse_value(text: str) -> Any:
    """Return ``text`` read as a TOML value, as a string if it is none, and ``ABSENT`` if it is empty."""
    if not text:
        return ABSENT
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or a number or a nesting longer than Python reads
        return text
    # A line break could smuggle in further keys; then the text was not one value.
    return parsed["value"] if len(parsed) == 1 else text


def merge(tables: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Return a copy of ``tables`` with the overrides applied in order.

    Raises:
        ConfigError: An option goes through something that is not a table.
    """
    merged = dict(tables)
    for override in overrides:
        table = merged
        for depth, key in enumerate(override.keys[:-1]):
            inner = table.get(key)
            if inner is not None and not isinstance(inner, Mapping):
                dotted = ".".join(override.keys[: depth + 1])
                raise ConfigError(f"{override.option}: {dotted} is {inner!r}, not a table with keys of its own")
            table[key] = dict(inner or {})
            table = table[key]
        if override.value is ABSENT:
            table.pop(override.keys[-1], None)
        else:
            table[override.keys[-1]] = override.value
    return merged

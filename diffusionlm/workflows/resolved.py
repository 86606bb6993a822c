"""A configuration object as TOML again: what ``--print-config`` shows and a run folder's ``config.toml`` holds."""

from __future__ import annotations

from typing import Any

from diffusionlm.errors import ConfigError
from diffusionlm.params import Strict


def to_toml(params: Strict) -> str:
    """Return every key of ``params`` as TOML; a key without a value (None) is left out, as TOML has no null.

    Reading the text gives an equal object, because a field that may be None has None as its default (a test holds
    every parameter class to that).

    Raises:
        ConfigError: A text holds bytes that are not UTF-8 (they came from the command line), which TOML cannot.
    """
    import tomli_w

    tables = params.model_dump(mode="json", exclude_none=True)
    for dotted, text in _texts(tables, ""):
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigError(f"{dotted}: {text!r} is not UTF-8, and a configuration is; use other characters")
    return tomli_w.dumps(tables)


def _texts(value: Any, dotted: str) -> list[tuple[str, str]]:
    """Return every text under ``value`` with its dotted key."""
    if isinstance(value, dict):
        return [found for name, part in value.items() for found in _texts(part, f"{dotted}.{name}".lstrip("."))]
    if isinstance(value, list):
        return [found for i, part in enumerate(value) for found in _texts(part, f"{dotted}[{i}]")]
    return [(dotted, value)] if isinstance(value, str) else []

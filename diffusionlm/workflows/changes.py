"""What differs between the run that wrote a checkpoint and the one that goes on with it.

What must not differ is refused (see ``assemble.restore``). This is the rest: values that may change, and that change
the numbers, so that whoever resumes should know.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusionlm.errors import CheckpointError
from diffusionlm.params import Strict
from diffusionlm.workflows.resolved import to_toml
from diffusionlm.workflows.talk import say

TOLD = (
    "tokenizer",
    "optimizer",
    "lr_schedule",
    "training.steps",
    "training.tokens",
    "training.minutes",
    "training.clip_norm",
    "training.ema",
    "training.precision",
    "data.validation_fraction",
    "data.validation_source",
    "data.validation_documents",
    "validation.rows",
    "validation.draws",
    "validation.seed",
)
"""Sections and keys that matter to what a run computes, apart from those that must stay the same."""


def tell_changes(path: Path, params: Strict, tables: dict[str, Any]) -> dict[str, Any]:
    """Say what has changed since a run's ``config.toml``, and return the tables of what is really used from now on.

    The tokenizer is the checkpoint's, whatever is asked for now, so its table stays the saved one.

    Raises:
        CheckpointError: The file is not TOML.
    """
    before = saved_tables(path)
    if before is None:
        return tables
    changes = changes_since(before, params)
    if changes is not None:
        say(changes)
    return {**tables, "tokenizer": before["tokenizer"]} if "tokenizer" in before else tables


def saved_tables(path: Path) -> dict[str, Any] | None:
    """Return the tables of a run's ``config.toml``; None if it has none.

    Raises:
        CheckpointError: The file is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(f"{path} is not TOML ({error}); mend or remove it, then resume") from error


def changes_since(before: Mapping[str, Any], params: Strict) -> str | None:
    """Return one line that names what changed, ``changed since: training.clip_norm 1.0 → 0.5``; None if nothing did."""
    old, new = flat(before), flat(tomllib.loads(to_toml(params)))
    told = [
        f"{name} {_shown(old, name)} → {_shown(new, name)}"
        for name in sorted({*old, *new})
        if _matters(name) and _shown(old, name) != _shown(new, name)
    ]
    if not told:
        return None
    kept = " (the run keeps its tokenizer)" if any(change.startswith("tokenizer") for change in told) else ""
    return f"changed since: {', '.join(told)}{kept}"


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return values by dotted key; a list is one value."""
    found: dict[str, Any] = {}
    for name, value in tables.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _matters(name: str) -> bool:
    return any(name == told or name.startswith(f"{told}.") for told in TOLD)


def _shown(flat: Mapping[str, Any], name: str) -> str:
    return str(flat[name]) if name in flat else "unset"

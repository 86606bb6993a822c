"""JSON Schemas of the configurations, for editors: names, types, ranges, choices, defaults and a sentence on each key.

They follow from the parameter classes and so from the registries: a new method appears in them by existing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusionlm.errors import ConfigError
from diffusionlm.nearest import suggestion
from diffusionlm.workflows.command import CommandParams

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def commands() -> dict[str, type[CommandParams]]:
    """Return the configuration class of every command, by its verb; ``data-inspect`` is that of ``data inspect``."""
    from diffusionlm.workflows import params

    found = [value for value in vars(params).values() if isinstance(value, type)]
    return {
        c.command.replace(" ", "-"): c for c in found if issubclass(c, params.CommandParams) and "command" in vars(c)
    }


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's configuration.

    Raises:
        ConfigError: There is no such command.
    """
    known = commands()
    if command not in known:
        raise ConfigError(f"schema {command}: unknown command{suggestion(command, known)}; known: {', '.join(known)}")
    body = known[command].model_json_schema()
    return {"$schema": DIALECT, **_simplified(body), "title": f"flowlm {known[command].command}"}


def text(command: str | None) -> str:
    """Return a command's schema as indented JSON with a final line break.

    Raises:
        ConfigError: No command or an unknown one came.
    """
    if command is None:
        raise ConfigError(f"schema: name a command, or --write for all of them; known: {', '.join(commands())}")
    return json.dumps(schema(command), indent=1) + "\n"


def write(folder: str) -> list[Path]:
    """Write the schemas of all commands to ``folder`` and return the files.

    Raises:
        ConfigError: The folder cannot be written.
    """
    written = []
    for command in commands():
        path = Path(folder) / f"{command}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(command), encoding="utf-8")
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise ConfigError(f"schema --write: {path} cannot be written: {error.strerror}") from None
        written.append(path)
    return written


def _simplified(node: Any) -> Any:
    """Return a schema without what editors stumble over.

    A union told apart by ``name`` is "one of", and a table that leaves the name to its default fits several members
    at once: "any of" accepts it. ``discriminator`` belongs to OpenAPI, and TOML has no null.
    """
    if isinstance(node, list):
        return [_simplified(part) for part in node if part != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, part in node.items():
        if key in ("properties", "$defs"):
            # Here the keys are names that parameter classes chose, not words of JSON Schema.
            out[key] = {name: _simplified(inner) for name, inner in part.items()}
        elif key == "oneOf":
            out["anyOf"] = _simplified(part)
        elif key not in ("discriminator", "format") and not (key == "default" and part is None):
            out[key] = _simplified(part)
    return out

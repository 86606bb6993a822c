"""``flowlm schema``: the JSON Schema of a command's configuration, for editors to complete and check TOML files.

    flowlm schema train              print one
    flowlm schema --write            write all of them to config/schemas/

A file then opens with ``#:schema ../schemas/train.json`` (read by Even Better TOML and taplo).
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from diffusionlm.errors import ConfigError


def schema(
    command: Annotated[str | None, typer.Argument(metavar="[COMMAND]", help="The command, as in 'train'.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the schemas of all commands to a folder.")] = False,
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Where --write writes.")] = "config/schemas",
) -> None:
    """Print the JSON Schema of a command's configuration, or write those of all commands."""
    from config import schema as schemas

    if write and command is not None:
        raise ConfigError(f"schema {command} --write: --write writes those of all commands; leave out one of the two")
    if write:
        for path in schemas.write(folder):
            frame.put(str(path))
    else:
        frame.put(schemas.text(command), end="")


app = frame.make_app(schema)

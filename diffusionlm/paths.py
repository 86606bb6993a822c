"""Paths and names of folders as a user writes them.

``~`` stands for a home folder in a file and after ``--set``, as it does in a shell.

A shell leaves the ``~`` of ``--set run.folder=~/runs`` as it is, and TOML knows none; taken literally it would make a
folder of that name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from diffusionlm.errors import ConfigError


def user_path(written: str | Path) -> Path:
    """Return the path that a user wrote, with ``~`` and ``~name`` as the home folders that they mean.

    Raises:
        ConfigError: There is no such home folder, or the path holds a character that no file name can have.
    """
    if "\0" in str(written):
        raise ConfigError(f"{str(written)!r} is no path: it holds a NUL character")
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{str(written)!r}: no home folder is known for the ~ at its beginning; write the path out"
        ) from None


def _checked(path: Path) -> Path:
    try:
        return user_path(path)
    except ConfigError as error:
        raise ValueError(str(error)) from None


UserPath = Annotated[Path, AfterValidator(_checked)]
"""A field of a parameter class that holds a path."""


def _names_a_folder(name: str) -> str:
    if not name or name[0] in ". \t" or not name.isprintable() or {"/", "\\"} & set(name):
        raise ValueError(
            f"{name!r} does not name a folder; use printable characters without '/' and '\\', and neither '.' nor a "
            "space in front"
        )
    return name


FolderName = Annotated[str, AfterValidator(_names_a_folder)]
"""A field of a parameter class that holds the name of one folder."""

"""Find and read a configuration file: a path, or the bare name of a recipe that the package ships.

flowlm-train --config my.toml        a file
flowlm-train --config quickstart     config/recipes/quickstart.toml, also from an installed wheel
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from diffusionlm.errors import ConfigError
from diffusionlm.nearest import suggestion
from diffusionlm.paths import user_path

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Return the bare names of the recipes that the package ships, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find(name: str, option: str = "--config ") -> Path:
    """Return the file that ``--config NAME`` means: the path if it exists, else the packaged recipe of that bare name.

    Args:
        name: The path or the bare name.
        option: What it was given to, for messages.

    Raises:
        ConfigError: Neither exists; the message lists the recipes.
    """
    try:
        path = user_path(name)
    except ConfigError as error:
        raise ConfigError(f"{option}{error}") from None
    if path.exists() and not path.is_dir():  # a pipe as well: --config <(make-config)
        return path
    # A path into the recipes folder works from anywhere, so that the README's command runs outside a checkout as well.
    bare = path.parent == Path(".") or path.parent.as_posix().endswith("config/recipes")
    if bare and path.suffix in ("", ".toml") and path.stem in recipe_names():
        return RECIPES / f"{path.stem}.toml"  # a folder of that name, with its data, stands in nobody's way
    if path.is_dir():
        raise ConfigError(f"{option}{name}: is a folder; a TOML file is expected")
    hint = suggestion(path.stem, recipe_names())
    raise ConfigError(f"{option}{name}: no such file{hint}; packaged recipes: {', '.join(recipe_names())}")


def read(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or is not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: byte {error.start} cannot be decoded") from None
    except ValueError:
        raise ConfigError(f"{path}: holds a number of thousands of digits; shorten it") from None
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables are nested too deep to be a configuration") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None

"""``--print-config``: the resolved configuration as TOML, which loads back to an equal object."""

from __future__ import annotations

from diffusionlm.params import Strict
from diffusionlm.workflows.resolved import to_toml


def printed(params: Strict, command: str) -> str:
    """Return the resolved configuration of a command as a TOML document with a comment that says what it is."""
    return f"# The resolved configuration of flowlm {command}: every key, defaults included.\n{to_toml(params)}"

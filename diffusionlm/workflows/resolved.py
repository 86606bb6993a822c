"""A configuration object as TOML again: what ``--print-config`` shows and a run folder's ``config.toml`` holds."""

from __future__ import annotations

from diffusionlm.params import Strict


def to_toml(params: Strict) -> str:
    """Return every key of ``params`` as TOML; a key without a value (None) is left out, as TOML has no null.

    Reading the text gives an equal object, because a field that may be None has None as its default (a test holds
    every parameter class to that).
    """
    import tomli_w

    return tomli_w.dumps(params.model_dump(mode="json", exclude_none=True))

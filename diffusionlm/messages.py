"""Turn what pydantic says about parameters into one line that a user can act on.

The configuration of a command, the options of a call from Python, and parameters that one workflow makes for another
all end here when they are wrong. The line names the dotted key, what came, what is allowed, and for a name that looks
like a slip of the fingers the nearest valid one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from diffusionlm.errors import ConfigError
from diffusionlm.nearest import suggestion
from diffusionlm.params import Strict
from diffusionlm.registry import params_name
from diffusionlm.shape import Place, dotted_keys, is_method, locate

_LONGEST_VALUE = 60

P = TypeVar("P", bound=Strict)


def validated(params: type[P], values: Mapping[str, Any], within: str = "") -> P:
    """Return parameters made of values.

    Args:
        params: Their class.
        values: Field → value, or tables of them.
        within: The table that they are of, which a message names.

    Raises:
        ConfigError: In one line.
    """
    try:
        return params.model_validate(values)
    except ValidationError as error:
        place, text = first_line(params, error.errors(include_url=False))
        opening = "" if not within else f"{within}." if place.dotted else f"{within}: "
        raise ConfigError(f"{opening}{text}") from None
    except ConfigError as error:  # a check inside the library spoke already
        raise type(error)(f"{within}: {error}" if within else str(error)) from None


def first_line(
    root: type[Strict], errors: list[ErrorDetails], given_by: Mapping[str, str] | None = None
) -> tuple[Place, str]:
    """Return where the most telling of the errors lies, and one line about it.

    An unknown key comes first: a misspelt key often makes another one seem missing.

    Args:
        root: The class of the configuration.
        errors: What pydantic found.
        given_by: Key → the command's own option or argument for it.
    """
    errors = sorted(errors, key=lambda error: error["type"] not in ("extra_forbidden", "union_tag_invalid"))
    place = locate(root, errors[0]["loc"])
    text = describe(root, place, errors[0], given_by or {})
    # The same key failing each member of a union (int or float, say) is one mistake, not several.
    others = {locate(root, error["loc"]).dotted for error in errors} - {place.dotted}
    if others:
        text += f" (and {len(others)} more wrong: {', '.join(sorted(others)[:3])}{', …' if len(others) > 3 else ''})"
    return place, text


def describe(root: type[Strict], place: Place, error: ErrorDetails, given_by: Mapping[str, str]) -> str:
    """Return one line about one error, without its origin."""
    kind, context = error["type"], error.get("ctx") or {}
    key = place.dotted or "the configuration"
    if kind == "extra_forbidden":
        return _unknown_key(root, place, error["input"])
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return (
            f"{key}.name: unknown name {context['tag']!r}{suggestion(context['tag'], known)}; known: {', '.join(known)}"
        )
    if kind == "missing":
        return _missing(root, key, given_by)
    if kind in ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found"):
        return f"{key}: {shown(error['input'])} came, but this is a table with keys of its own"
    if kind == "literal_error":
        known = [word.strip(" '") for part in context["expected"].split(",") for word in part.split(" or ")]
        near = suggestion(error["input"], known) if isinstance(error["input"], str) else ""
        return f"{key}: {shown(error['input'])} is not allowed{near}; allowed: {', '.join(known)}"
    if kind in ("value_error", "assertion_error"):
        said = str(context["error"])
        return f"{key}: {said}" if place.dotted else said
    if kind == "string_pattern_mismatch":
        return f"{key}: {shown(error['input'])} is not allowed; it must match {context['pattern']}"
    if kind == "string_unicode":
        return f"{key}: {shown(error['input'])} is not allowed; it must be UTF-8 text"
    if kind == "too_short":
        return f"{key}: {shown(error['input'])} is not allowed; it must have at least {context['min_length']}"
    if kind == "tuple_type":
        return f"{key}: {shown(error['input'])} is not allowed; it must be a list, in square brackets"
    if " should have " in error["msg"]:
        return (
            f"{key}: {shown(error['input'])} is not allowed; it must have {error['msg'].partition(' should have ')[2]}"
        )
    wanted = error["msg"].removeprefix("Input should be ").split(", unable")[0].split(", got")[0]
    return f"{key}: {shown(error['input'])} is not allowed; it must be {wanted}"


def _missing(root: type[Strict], key: str, given_by: Mapping[str, str]) -> str:
    """Return the line for a key that has no default; of one that an option gives, also what it is."""
    if key not in given_by or key not in root.model_fields:
        return f"{key}: is required and missing; set it in a --config file or with --set"
    option, what = given_by[key], (root.model_fields[key].description or "").rstrip(".")
    return f"{key}: is required and missing; give {option} ({what}), or set it in a --config file or with --set"


def _unknown_key(root: type[Strict], place: Place, value: Any) -> str:
    """Return the line for a key that its table does not have."""
    leaf = place.dotted.rpartition(".")[2]
    table = place.dotted.rpartition(".")[0]
    known = sorted({name for owner in place.owners for name in owner.model_fields})
    what = "unknown section" if isinstance(value, dict) and not table else "unknown key"
    text = f"{place.dotted}: {what}"
    if theirs := [params_name(method) for method in place.siblings if leaf in method.model_fields]:
        text += f"; it belongs to {' and '.join(map(repr, theirs))}"
    elif near := suggestion(leaf, known):
        text += near
    elif inside := [key for key in _keys_inside(value) if key in set(dotted_keys(root))]:
        text += f"; did you mean {inside[0]!r}?"
    elif elsewhere := [key for key in dotted_keys(root) if key.rpartition(".")[2] == leaf]:
        near = max(elsewhere, key=lambda key: _together(key, place.dotted))
        text += f"; did you mean {near!r}?"
    method = f" of {params_name(place.owners[0])!r}" if len(place.owners) == 1 and is_method(place.owners[0]) else ""
    return f"{text}; allowed{method}: {', '.join(known)}"


def _together(one: str, other: str) -> int:
    """Return how many tables two dotted keys share from the top."""
    pairs = zip(one.split("."), re.sub(r"\[\d+\]", "", other).split("."))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _keys_inside(value: Any) -> Iterator[str]:
    """Yield the dotted key of every table and value inside a table."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        yield from (f"{name}.{key}" for key in _keys_inside(inner))
        yield str(name)


def shown(value: Any) -> str:
    """Return a value as it reads in a message: on one line, quoted if it is text, shortened if it is long."""
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"

"""The shape of a parameter class: which keys it has, at any depth, and where an error's location lies in it.

Messages, schemas and tests all need the same walk over nested parameter classes, optional sections and unions of
methods; it is written once here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from diffusionlm.params import Strict
from diffusionlm.registry import params_name


def strict_members(annotation: Any) -> list[type[Strict]]:
    """Return the parameter classes that ``annotation`` admits: itself, or the members of an optional or a union."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return strict_members(get_args(annotation)[0])
    if get_origin(annotation) in (list, tuple, dict):
        return []
    return [member for part in get_args(annotation) for member in strict_members(part)]


def element_annotation(annotation: Any) -> Any:
    """Return the annotation of the elements of a list or a tuple, looking through optionals; None for all else."""
    if get_origin(annotation) in (list, tuple):
        return get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        return element_annotation(get_args(annotation)[0])
    for part in get_args(annotation):
        if part is not NoneType and (found := element_annotation(part)) is not None:
            return found
    return None


def is_method(params: type[Strict]) -> bool:
    """Return whether ``params`` configures a registered method, told apart by its one-word ``name``."""
    return "name" in params.model_fields and isinstance(params.model_fields["name"].default, str)


@dataclass(frozen=True)
class Place:
    """Where an error lies.

    Attributes:
        dotted: The key as the user writes it (``optimizer.learning_rate``); empty for the whole configuration.
        owners: The parameter classes that may hold the last key.
        annotation: The annotation of the last key; None if there is no such key.
        siblings: The methods that could stand where the owner does; empty where it is not one of several.
    """

    dotted: str
    owners: tuple[type[Strict], ...]
    annotation: Any
    siblings: tuple[type[Strict], ...]


def locate(root: type[Strict], location: tuple[int | str, ...]) -> Place:
    """Translate an error location of pydantic, which holds union tags as well as keys, into the user's terms."""
    dotted, owners, members, annotation = "", (), [root], root
    siblings: list[type[Strict]] = []
    for step in location:
        if isinstance(step, int):
            dotted, annotation = f"{dotted}[{step}]", element_annotation(annotation)
        elif len(members) > 1 and (chosen := [m for m in members if is_method(m) and params_name(m) == step]):
            siblings, members = members, chosen
            continue
        elif members:
            owners = tuple(members)
            fields = [member.model_fields[step] for member in members if step in member.model_fields]
            # Annotations in the metadata (a discriminator, a validator) do not matter here, the type itself does.
            annotation = fields[0].annotation if fields else None
            dotted = f"{dotted}.{step}" if dotted else step
        elif get_origin(annotation) is dict:
            dotted, annotation = f"{dotted}.{step}", get_args(annotation)[1]
        else:
            continue
        members = strict_members(annotation)
    return Place(dotted, owners, annotation, tuple(siblings) if set(owners) < set(siblings) else ())


def dotted_keys(params: type[Strict], prefix: str = "") -> Iterator[str]:
    """Yield every key that can be written for ``params``, dotted, those of every method of a union included."""
    for name, field in params.model_fields.items():
        yield prefix + name
        element = element_annotation(field.annotation)
        for member in strict_members(field.annotation if element is None else element):
            # A source may hold sources (a mixture): the shape is recursive, its keys are listed once.
            if f".{name}." not in f".{prefix}":
                yield from dotted_keys(member, f"{prefix}{name}.")

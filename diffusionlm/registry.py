"""Methods of one kind, collected by name from the package that holds them.

A new method is one file and one import line: the file defines a class with a ``Params`` whose ``name`` is a one-word
``Literal``, the package's ``__init__`` imports the class, and everything that lists methods (the TOML union, the error
for an unknown name, the contract tests, the tables in the docs) follows from the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Generic, TypeVar, Union

from pydantic import BeforeValidator, Field

from diffusionlm.errors import ConfigError
from diffusionlm.params import Strict

T = TypeVar("T")


class Registry(Generic[T]):
    """The methods of one kind, by the ``name`` of their parameters.

    Args:
        kind: What the methods are, for messages ("process").
        base: The base class; only its concrete subclasses are collected.
        namespace: Where to look, usually ``globals()`` of the package's ``__init__``.
    """

    def __init__(self, kind: str, base: type[T], namespace: Mapping[str, object]) -> None:
        self.kind = kind
        self._methods: dict[str, type[T]] = {}
        for value in namespace.values():
            if isinstance(value, type) and issubclass(value, base) and "Params" in vars(value):
                self._methods[params_name(vars(value)["Params"])] = value

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._methods))

    def __len__(self) -> int:
        return len(self._methods)

    def __contains__(self, name: object) -> bool:
        return name in self._methods

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._methods:
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {', '.join(self)}")
        return self._methods[name]

    def build(self, params: Strict, *args: Any, **kwargs: Any) -> T:
        """Return the method that ``params`` configures, constructed with ``params`` and the other arguments."""
        method: Any = self[params_name(type(params))]
        return method(params, *args, **kwargs)

    def union(self, default: str | None = None) -> Any:
        """Return the pydantic type of "parameters of one of these methods", told apart by ``name``.

        A table without a ``name`` means ``default``, if there is one.
        """
        members = tuple(self._methods[name].Params for name in self)  # type: ignore[attr-defined]

        def fill_name(value: object) -> object:
            return {"name": default, **value} if default is not None and isinstance(value, dict) else value

        if len(members) == 1:
            return Annotated[members[0], BeforeValidator(fill_name)]
        return Annotated[Union[members], Field(discriminator="name"), BeforeValidator(fill_name)]  # noqa: UP007


def params_name(params: type[Strict]) -> str:
    """Return the registry name that a parameter class declares in its ``name`` field."""
    return params.model_fields["name"].default

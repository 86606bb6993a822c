"""The base class of every parameter object.

A method's parameters are a frozen pydantic model beside the method, so that a typo is an error, a value is checked once
at the edge, and ``--help``, the JSON Schema and the error messages read the same words: the string under each field.
"""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen parameter object that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

"""torch, imported on first use.

Importing torch takes seconds; reading a configuration, listing the registered methods or printing ``--help`` needs only
their parameter classes, which live in the same files as the methods. Those files say ``from diffusionlm.lazy import
torch`` and pay for the import when they first compute. Files that define ``nn.Module`` classes import torch directly.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _LazyModule(ModuleType):
    """A stand-in that imports its target when an attribute is first read, then remembers the attribute."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import torch
else:
    torch = _LazyModule("torch")

__all__ = ["torch"]

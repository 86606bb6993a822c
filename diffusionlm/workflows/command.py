"""The base of every command's configuration, and the types of its sections that are unions of methods.

Importing this module imports neither torch nor numpy; nor do the modules that build on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from diffusionlm.data import SOURCES
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import LR_SCHEDULES, OPTIMIZERS
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES
from diffusionlm.tokenizer import TOKENIZERS

if TYPE_CHECKING:
    # Each union is built from its registry, so that a new method needs no change here; a type checker sees Any.
    AnyTokenizer: TypeAlias = Any
    AnySource: TypeAlias = Any
    AnyProcess: TypeAlias = Any
    AnyObjective: TypeAlias = Any
    AnyOptimizer: TypeAlias = Any
    AnySchedule: TypeAlias = Any
else:
    AnyTokenizer = TOKENIZERS.union("bpe")
    AnySource = SOURCES.union("python-stdlib")
    AnyProcess = PROCESSES.union("mask")
    AnyObjective = OBJECTIVES.union()
    AnyOptimizer = OPTIMIZERS.union("adamw")
    AnySchedule = LR_SCHEDULES.union("cosine")

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16"]

MOST_THREADS = 1024
"""More CPU threads than any machine has use for; with tens of thousands the libraries below crash without a word."""


class CommandParams(Strict):
    """The configuration of a command."""

    command: ClassVar[str]
    """The command's verb, as in ``flowlm train``."""

    @classmethod
    def expand(cls, tables: Mapping[str, Any], recipe: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tables of a configuration before it is validated; as they are unless overridden.

        Args:
            tables: What came from the file and the options.
            recipe: From a recipe's name or a file to its tables, for a command whose configuration names some.
        """
        del recipe
        return dict(tables)

    def output_folder(self) -> Path | None:
        """Return the folder that the command writes to, if it writes any."""
        return None

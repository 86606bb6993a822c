"""What an output of the run log is: a place besides the JSON lines where metrics, tables and artifacts go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from diffusionlm.params import Strict
    from diffusionlm.runlog.jsonl import Scalar


@dataclass(frozen=True)
class RunContext:
    """What an output may know of the run.

    Attributes:
        folder: The run folder; an output writes nowhere else.
        total_steps: Number of optimizer steps of the whole run; 0 if it is not known.
        config: The resolved configuration, for outputs that show it.
    """

    folder: Path
    total_steps: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.resolve().name


class Output(ABC):
    """Base of the outputs. Nothing is opened before the first value arrives."""

    Params: ClassVar[type[Strict]]
    talks: ClassVar[bool] = False
    """Whether ``say`` reaches a person."""

    @abstractmethod
    def log(self, metrics: Mapping[str, Scalar], step: int) -> None:
        """Take the metrics of one step."""

    @abstractmethod
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Take a table, each row as long as ``columns``."""

    def artifact(self, name: str, path: Path, kind: str) -> None:  # noqa: B027  not every output can hold files
        """Take a file or folder worth keeping with the run."""

    def advance(self, step: int, total: int | None = None) -> None:  # noqa: B027  only a progress bar cares
        """Learn that ``step`` of now ``total`` expected steps are done; called at every step, so it must be cheap."""

    def say(self, text: str) -> None:  # noqa: B027  only a console talks
        """Tell the user something."""

    def truncate(self, step: int) -> None:  # noqa: B027  not every output can take values back
        """Forget what came after ``step``, where the output can; called before the first value of a resumed run."""

    @abstractmethod
    def close(self) -> None:
        """Flush and close; called once, also when the run fails."""

"""TensorBoard event files in the run folder, through ``torch.utils.tensorboard``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffusionlm.errors import ConfigError
from diffusionlm.params import Strict
from diffusionlm.runlog.outputs.base import Output, RunContext

if TYPE_CHECKING:
    from diffusionlm.runlog.jsonl import Scalar


class TensorBoardParams(Strict):
    """Event files for TensorBoard."""

    name: Literal["tensorboard"] = "tensorboard"
    folder: str = "tensorboard"
    """Folder of the event files inside the run folder."""


class TensorBoard(Output):
    """Numbers as scalars; words, tables and the places of artifacts as text."""

    Params = TensorBoardParams

    def __init__(self, params: TensorBoardParams, context: RunContext) -> None:
        self.folder = context.folder / params.folder
        self._purge: int | None = None
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                f"the output 'tensorboard' needs the tensorboard package ({error}): pip install 'flowlm[tensorboard]', "
                "or take it out of the outputs"
            ) from error
        self._make_writer = SummaryWriter

    def log(self, metrics: Mapping[str, Scalar], step: int) -> None:
        """Write numbers as scalars (NaN and infinities included) and words as text."""
        for name, value in metrics.items():
            if isinstance(value, (int, float)):
                self._open().add_scalar(name, value, step)
            elif value is not None:
                self._open().add_text(name, value, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Write a table as Markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)
        self._open().add_text(name, text, step)

    def artifact(self, name: str, path: Path, kind: str) -> None:
        """Write where the artifact is."""
        self._open().add_text(f"artifacts/{kind}/{name}", str(path))

    def truncate(self, step: int) -> None:
        """Let TensorBoard hide the events after ``step``."""
        assert self._writer is None, "truncate comes before the first value of a resumed run"
        self._purge = step + 1

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = self._make_writer(log_dir=str(self.folder), purge_step=self._purge)
        return self._writer


def _cell(value: Scalar) -> str:
    """Return a value as one Markdown table cell."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")

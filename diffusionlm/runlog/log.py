"""The run log: one object that training, evaluation and samples are reported to.

Every value goes to JSON lines in the run folder, always, and then to the chosen outputs. Only rank zero writes; the
other ranks hold a log that does nothing, so that no caller asks which rank it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from diffusionlm.params import Strict
from diffusionlm.runlog.jsonl import JsonlWriter, Scalar, plain
from diffusionlm.runlog.outputs import LOGGERS, ConsoleParams, RunContext

METRICS_FILE = "metrics.jsonl"
SAMPLES_FILE = "samples.jsonl"
RESERVED = ("step", "time")

_Parameters = LOGGERS.union("console")


def _name_to_table(value: object) -> object:
    """Let the bare name of an output stand for its defaults."""
    return {"name": value} if isinstance(value, str) else value


OutputChoice = Annotated[
    _Parameters, BeforeValidator(_name_to_table, json_schema_input_type=Literal[tuple(LOGGERS)] | _Parameters)
]


class RunLogParams(Strict):
    """What is logged, how often, and where to. JSON lines are always written."""

    outputs: tuple[OutputChoice, ...] = (ConsoleParams(),)
    """Outputs besides the JSON lines: names ("console", "wandb", "tensorboard") or tables with their settings."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between two records of training metrics."""
    learning_rates: bool = True
    """Log the learning rate of every parameter group."""
    activation_norms: bool = False
    """Log the root mean square of every layer's output."""
    weight_norms: bool = False
    """Log the norm of every layer's weights."""
    gradient_norms: bool = False
    """Log the norm of every layer's gradients, before clipping."""
    nvtx: bool = False
    """Mark the parts of a step with NVTX ranges for a CUDA profiler."""
    memory_history: bool = False
    """Record the CUDA allocator's history and write a snapshot to the run folder."""


class RunLog:
    """Reports of one run.

    Args:
        params: Its parameters.
        context: The run folder, its length and its configuration.
    """

    writes = True
    """Whether this process writes the log: rank zero does."""

    def __init__(self, params: RunLogParams, context: RunContext) -> None:
        self.params = params
        self.context = context
        self.metrics = JsonlWriter(context.folder / METRICS_FILE)
        self.samples = JsonlWriter(context.folder / SAMPLES_FILE)
        self.outputs = [LOGGERS.build(output, context) for output in params.outputs]

    def log(self, metrics: Mapping[str, float | int | str], step: int) -> None:
        """Report metrics after ``step`` optimizer steps.

        Args:
            metrics: Name to number or text. A "/" groups names; the console shows ungrouped ones ("loss",
                "bits_per_byte", "tokens_per_second" in the bar) and the group "validation". NaN and infinities are
                fine.
            step: Number of optimizer steps done.
        """
        values = {name: plain(value) for name, value in metrics.items()}
        reserved = [name for name in RESERVED if name in values]
        assert not reserved, f"a metric cannot be called {reserved}"
        self.metrics.write([{"step": step, "time": round(time.time(), 3), **values}])
        for output in self.outputs:
            output.log(values, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Report a table, for example samples: one line of samples.jsonl for each row.

        Args:
            name: What the table holds.
            columns: Names of the columns.
            rows: Rows as long as ``columns``.
            step: Number of optimizer steps done.
        """
        cells = [[plain(value) for value in row] for row in rows]
        for row in cells:
            assert len(row) == len(columns), f"table {name}: a row of {len(row)} for {len(columns)} columns"
        now = round(time.time(), 3)
        self.samples.write(
            [
                {
                    "step": step,
                    "time": now,
                    "table": name,
                    "row": number,
                    "values": dict(zip(columns, row, strict=True)),
                }
                for number, row in enumerate(cells)
            ]
        )
        for output in self.outputs:
            output.table(name, columns, cells, step)

    def artifact(self, name: str, path: Path, type: str) -> None:
        """Offer a file or folder (a checkpoint, say) to the outputs that keep files."""
        for output in self.outputs:
            output.artifact(name, path, type)

    def advance(self, step: int, total: int | None = None) -> None:
        """Move the progress bar to ``step`` optimizer steps done; cheap, and reads nothing from a device.

        Args:
            step: Number of optimizer steps done.
            total: Expected number of steps of the whole run, if it is not the one of before: it may change on the way.
        """
        for output in self.outputs:
            output.advance(step, total)

    def say(self, text: str) -> None:
        """Tell the user something: on the console without tearing its bar, or on stderr if no output talks."""
        for output in self.outputs:
            output.say(text)
        if not any(output.talks for output in self.outputs):
            print(text, file=sys.stderr, flush=True)

    def truncate(self, step: int) -> None:
        """Forget what was reported after ``step``; a resumed run calls it before anything else."""
        self.metrics.truncate(step)
        self.samples.truncate(step)
        for output in self.outputs:
            output.truncate(step)

    def close(self) -> None:
        """Close every output and file."""
        for output in self.outputs:
            output.close()
        self.metrics.close()
        self.samples.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NullRunLog(RunLog):
    """The log of every rank but zero: it opens nothing and does nothing."""

    writes = False

    def __init__(self, params: RunLogParams) -> None:
        self.params = params
        self.outputs = []

    def log(self, metrics: Mapping[str, float | int | str], step: int) -> None:
        """Do nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def truncate(self, step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def open_run_log(
    params: RunLogParams,
    folder: Path,
    *,
    total_steps: int = 0,
    config: Mapping[str, Any] | None = None,
    rank: int = 0,
    resume_step: int | None = None,
) -> RunLog:
    """Return the log of a run.

    Args:
        params: What and where to log.
        folder: The run folder.
        total_steps: Number of optimizer steps of the whole run; 0 if it is not known.
        config: The resolved configuration, for outputs that show it.
        rank: This process; any but 0 gets a log that does nothing.
        resume_step: The checkpoint's step of a resumed run: later records are cut away first.

    Raises:
        ConfigError: An output's package is not installed.
    """
    if rank != 0:
        return NullRunLog(params)
    log = RunLog(params, RunContext(folder, total_steps, {} if config is None else config))
    if resume_step is not None:
        log.truncate(resume_step)
    return log

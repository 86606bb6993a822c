"""The console: a progress bar on stderr, or plain lines where stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

from pydantic import Field

from diffusionlm.params import Strict
from diffusionlm.runlog.outputs.base import Output, RunContext

if TYPE_CHECKING:
    from rich.progress import Progress

    from diffusionlm.runlog.jsonl import Scalar

LIVE, HELD_OUT = "bits_per_byte", "held_out_bits_per_byte"
HEADLINES = {"loss": "loss", LIVE: "bits/byte", HELD_OUT: "val bits/byte", "tokens_per_second": "tokens/s"}
"""The metrics that the bar shows, with the words for them, in this order."""
SHOWN_GROUPS = ("validation",)
"""Groups (the part of a name before the first "/") whose metrics are told in a line of their own."""
WIDTH_OF_CELL = 200


class ConsoleParams(Strict):
    """Progress on stderr."""

    name: Literal["console"] = "console"
    progress: Literal["auto", "bar", "lines"] = "auto"
    """A bar, plain lines, or a bar exactly where stderr is a terminal."""
    seconds_between_lines: float = Field(default=5.0, ge=0)
    """Plain lines of training metrics come at most this often; the first, the last and validation always do."""
    table_rows: int = Field(default=3, ge=0)
    """How many rows of a table are shown."""


class Console(Output):
    """Loss, bits per byte, tokens/s and the time left, on stderr; stdout stays free for the product."""

    Params = ConsoleParams
    talks = True

    def __init__(self, params: ConsoleParams, context: RunContext, stream: TextIO | None = None) -> None:
        self.params = params
        self.total = context.total_steps
        self.stream = sys.stderr if stream is None else stream
        self.bar = params.progress == "bar" or (params.progress == "auto" and self.stream.isatty())
        self._progress: Progress | None = None
        self._began: tuple[float, int] | None = None
        self._headline: dict[str, Scalar] = {}
        self._held_out: Scalar | None = None
        self._last_line = float("-inf")

    def log(self, metrics: Mapping[str, Scalar], step: int) -> None:
        """Show training metrics in the bar or in a line, and validation metrics always in a line."""
        self._start(step)
        own = {name: value for name, value in metrics.items() if "/" not in name}
        self._held_out = metrics.get(f"validation/{LIVE}", self._held_out)
        if own and LIVE not in own and self._held_out is not None:
            own[HELD_OUT] = self._held_out  # the loss is no bound, so the last validation says how good the model is
            own = {name: own[name] for name in sorted(own, key=_place)}
        for group in SHOWN_GROUPS:
            if shown := {name: value for name, value in metrics.items() if name.startswith(group + "/")}:
                self.say(f"step {step}  {describe(shown)}")
        if self.bar:
            if self._progress is not None:
                self._headline |= {name: own[name] for name in HEADLINES if name in own}
                self._headline = {name: self._headline[name] for name in HEADLINES if name in self._headline}
                self._progress.update(self._progress.task_ids[0], completed=step, headline=describe(self._headline))
        elif own and self._line_is_due(step):
            of = f"/{self.total}" if self.total else ""
            self.say(f"step {step}{of}  {describe(own)}{self._time_left(step)}")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Show the first rows of a table, one cell a line, cut to a readable width."""
        for number, row in enumerate(rows[: self.params.table_rows]):
            self.say(f"step {step}  {name} {number + 1} of {len(rows)}")
            for column, value in zip(columns, row, strict=True):
                text = " ".join(str(value).split())
                self.say(f"    {column}: {text if len(text) <= WIDTH_OF_CELL else text[:WIDTH_OF_CELL] + '…'}")

    def advance(self, step: int, total: int | None = None) -> None:
        """Move the bar; ``total`` is what the run's length is now expected to be."""
        if total is not None:
            self.total = total
        self._start(step)
        if self._progress is not None:
            # Not through update(), which forgets the measured speed, and with it the time left, at each new total.
            self._progress.tasks[0].total = self.total or None
            self._progress.update(self._progress.task_ids[0], completed=step)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self, step: int) -> None:
        """Begin the clock and the bar at the first news, at ``step`` steps done."""
        if self._began is not None:
            return
        self._began = (time.monotonic(), step)
        if self.bar:
            self._progress = _make_progress(self.stream)
            self._progress.add_task("", total=self.total or None, completed=step, headline="")
            self._progress.start()

    def _line_is_due(self, step: int) -> bool:
        now = time.monotonic()
        due = now - self._last_line >= self.params.seconds_between_lines or step == self.total
        if due:
            self._last_line = now
        return due

    def _time_left(self, step: int) -> str:
        """Return the elapsed time and the estimate of what is left, from the steps seen by this process."""
        assert self._began is not None, "the clock starts with the first metrics"
        began, first = self._began
        elapsed = time.monotonic() - began
        if not self.total or step <= first:
            return f"  elapsed {clock(elapsed)}"
        left = elapsed / (step - first) * max(0, self.total - step)
        return f"  elapsed {clock(elapsed)}  ETA {clock(left)}"


def _make_progress(stream: TextIO) -> Progress:
    """Return a progress display that fits 80 columns: bar, steps, time left and the headline metrics."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = RichConsole(file=stream, force_terminal=True)
    return Progress(
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[headline]}", markup=False),
        console=console,
        refresh_per_second=4,  # the display shares the machine with the training it shows
        speed_estimate_period=60,
    )


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _place(name: str) -> int:
    """Return where a metric stands in a line: the headlines in their order, then the others in theirs."""
    return [*HEADLINES].index(name) if name in HEADLINES else len(HEADLINES)


def describe(metrics: Mapping[str, Scalar]) -> str:
    """Return metrics as short text: ``loss 3.142  tokens/s 12,345``."""
    return "  ".join(f"{_word(name)} {_short(value)}" for name, value in metrics.items())


def _word(name: str) -> str:
    group, _, last = name.rpartition("/")
    word = HEADLINES.get(last, last)
    return f"{group} {word}" if group else word


def _short(value: Scalar) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:#.4g}"

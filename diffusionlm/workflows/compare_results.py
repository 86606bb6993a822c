"""What a comparison found: means over seeds with their standard errors, as tables, JSON and CSV.

A likelihood, a tight bound, a loose one and a plain loss are different numbers. They have a column each, and nothing
here ever sorts or averages across them.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.workflows.tables import to_text

Record = dict[str, Any]
MEASURES = ("nfe", "judge_bits_per_byte", "entropy", "distinct", "tokens")


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: The mean; None where there is no value.
        error: One standard error of it over the seeds; None for fewer than two.
        number: How many values.
    """

    value: float | None
    error: float | None
    number: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Mean:
        """Return the mean of the values that there are."""
        there = [value for value in values if value is not None]
        if not there:
            return cls(None, None, 0)
        mean = sum(there) / len(there)
        if len(there) < 2:
            return cls(mean, None, len(there))
        spread = math.sqrt(sum((value - mean) ** 2 for value in there) / (len(there) - 1))
        return cls(mean, spread / math.sqrt(len(there)), len(there))

    def words(self, digits: int = 3) -> str:
        """Return "value ± error"."""
        if self.value is None:
            return ""
        text = f"{self.value:.{digits}f}"
        return text if self.error is None else f"{text} ± {self.error:.{digits}f}"


@dataclass(frozen=True)
class CompareReport:
    """Everything that a comparison found.

    Attributes:
        folder: Where it is.
        budget: What every run used up, in words.
        runs: The result of every run that counts.
        trials: The result of every trial of a learning rate.
        quality: Measures of samples, one record for each run and number of steps.
        reference: The same measures of real text.
        flags: What a reader must know before believing the numbers.
        files: What was written.
        exit_code: Of the command.
    """

    folder: Path
    budget: str
    runs: tuple[Record, ...]
    trials: tuple[Record, ...]
    quality: tuple[Record, ...]
    reference: Mapping[str, Any]
    flags: tuple[str, ...]
    files: tuple[str, ...] = ()
    exit_code: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of the configuration."""
        return tuple(dict.fromkeys(run["method"] for run in self.runs))

    def of(self, method: str) -> list[Record]:
        """Return the runs of a method."""
        return [run for run in self.runs if run["method"] == method]

    def summary(self) -> list[Record]:
        """Return a record for each method: means over its seeds."""
        return [_summary(method, self.of(method)) for method in self.methods]

    def frontier(self) -> list[Record]:
        """Return a record for each method and number of steps: means over its seeds."""
        points: dict[tuple[str, int], list[Record]] = {}
        for point in self.quality:
            points.setdefault((point["method"], point["steps"]), []).append(point)
        return [
            {"method": method, "steps": steps, **{m: Mean.of([one[m] for one in some]) for m in MEASURES}}
            for (method, steps), some in points.items()
        ]

    def record(self) -> Record:
        """Return everything as one JSON object."""
        return {
            "folder": str(self.folder),
            "budget": self.budget,
            "flags": list(self.flags),
            "summary": [_plain(one) for one in self.summary()],
            "frontier": [_plain(one) for one in self.frontier()],
            "real_text": dict(self.reference),
            "runs": list(self.runs),
            "trials": list(self.trials),
            "quality": list(self.quality),
        }

    def report(self) -> str:
        """Return the tables, what to know about them, and the files."""
        parts = [f"{self.folder}: {self.budget}", "", _score_table(self.summary())]
        if self.quality:
            parts += ["", _quality_table(self.frontier(), self.reference)]
        parts += ["", *(f"note: {flag}" for flag in self.flags), *self.files]
        return "\n".join(parts)


def _summary(method: str, runs: Sequence[Record]) -> Record:
    first = runs[0]
    values = {name: [run.get(name) for run in runs] for name in _AVERAGED}
    return {
        "method": method,
        "process": first["process"],
        "objective": first["objective"],
        "bound": next((run["bound"] for run in runs if "bound" in run), "none"),
        "loss_name": next((run["loss_name"] for run in runs if "loss_name" in run), None),
        "factor": first["factor"],
        "learning_rates": first["learning_rates"],
        **{name: Mean.of(some) for name, some in values.items()},
    }


_AVERAGED = ("bits_per_byte", "bits_per_byte_error", "noise_error", "loss", "steps", "tokens", "flops", "seconds")


def _plain(record: Record) -> Record:
    return {key: vars(value) if isinstance(value, Mean) else value for key, value in record.items()}


def _score_table(summary: Sequence[Record]) -> str:
    """Return the scores; columns that nothing fills are left out."""
    cells = []
    for one in summary:
        bits = one["bits_per_byte"].words()
        loss = one["loss"].words()
        cells.append(
            {
                "method": one["method"],
                "bits/byte (exact)": bits if one["bound"] == "exact" else "",
                "bits/byte (tight bound)": bits if one["bound"] == "tight" else "",
                "bits/byte (loose bound)": bits if one["bound"] == "loose" else "",
                "own loss, nats/token": f"{loss} ({one['loss_name']})" if loss else "",
                "text error": _number(one["bits_per_byte_error"].value, ".3f"),
                "noise error": _number(one["noise_error"].value, ".3f"),
                "seeds": str(max(one["bits_per_byte"].number, one["loss"].number)),
                "lr": f"{one['learning_rates'].get('lr', math.nan):.3g}",
                "× factor": f"{one['factor']:g}",
                "steps": _number(one["steps"].value, ".0f"),
                "tokens": _number(one["tokens"].value, ".3g"),
                "FLOPs": _number(one["flops"].value, ".2e"),
                "seconds": _number(one["seconds"].value, ".0f"),
            }
        )
    columns = [name for name in cells[0] if any(row[name] for row in cells)]
    title = (
        "Held-out likelihood, ± one standard error over seeds; beside it the error from the choice of the held-out\n"
        "text, and from the evaluator's noise alone: all methods see the same text and the same draws"
    )
    rows = [[row[name] for name in columns] for row in cells]
    return f"{title}\n{to_text(columns, rows, right=range(1, len(columns)))}"


def _quality_table(frontier: Sequence[Record], reference: Mapping[str, Any]) -> str:
    columns = ("method", "steps", "NFE", "judge bits/byte", "entropy", "distinct-3", "tokens")
    rows = [
        [
            one["method"],
            str(one["steps"]),
            _number(one["nfe"].value, ".1f"),
            one["judge_bits_per_byte"].words(),
            one["entropy"].words(2),
            one["distinct"].words(),
            _number(one["tokens"].value, ".0f"),
        ]
        for one in frontier
    ]
    real = ["real text", "", "", *(_number(reference[m], f) for m, f in _REAL)]
    title = "Samples: quality (bits per byte of an n-gram judge) beside diversity; the nearer to real text the better"
    return f"{title}\n{to_text(columns, [*rows, real], right=range(1, len(columns)))}"


_REAL = (("judge_bits_per_byte", ".3f"), ("entropy", ".2f"), ("distinct", ".3f"), ("tokens", ".0f"))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def write_results(report: CompareReport) -> tuple[str, ...]:
    """Write results.json, results.csv (a line a run), trials.csv and quality.csv; return the files."""
    folder = report.folder
    paths = [folder / "results.json"]
    paths[0].write_text(json.dumps(report.record(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for name, records in (("results", report.runs), ("trials", report.trials), ("quality", report.quality)):
        if records:
            paths.append(_write_csv(folder / f"{name}.csv", records))
    return tuple(str(path) for path in paths)


def _write_csv(path: Path, records: Sequence[Record]) -> Path:
    flat = [{key: value for key, value in one.items() if not isinstance(value, (dict, list))} for one in records]
    columns = list(dict.fromkeys(key for one in flat for key in one))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(flat)
    return path

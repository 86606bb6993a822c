"""What a measurement leaves behind: rows of a fixed schema in CSV files that are kept in git.

Every row opens with where it was measured (date, commit, device, threads, versions) and goes on with what was measured.
A file holds rows of one kind; its header says which. Times are milliseconds, memory is MiB, rates are per second.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch

from diffusionlm.errors import DataError
from diffusionlm.runlog.provenance import cpu_model, git_state, versions


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where and when a row was measured.

    Attributes:
        date: UTC, ISO 8601.
        commit: Commit of this repository, "+" after it if tracked files were changed; empty outside a checkout.
        device: Name of the GPU or of the processor.
        threads: CPU threads of torch.
        torch, python: Versions.
    """

    date: str
    commit: str
    device: str
    threads: int
    torch: str
    python: str


@dataclass(frozen=True, kw_only=True)
class TrainRow(Origin):
    """A training step of one contender.

    Attributes:
        bench, contender: Which bench, and who.
        precision, compiled: Arithmetic, and whether torch.compile was used.
        layers, width, heads, hidden, vocabulary, context, batch: Shape; vocabulary without the mask token.
        parameters: Trainable numbers.
        repeats: Timed steps.
        p20_ms, p50_ms, p80_ms: Quantiles of the time of a step.
        tokens_per_second: Batch times context over the median.
        base_mb, peak_mb: Memory of its process before the network was built, and at most; CUDA memory on a GPU.
        ceiling_gflops: The machine's best dense matmul in this precision, measured in the same run.
        gflop: Model FLOPs of the work that it does in a step, in 1e9.
        share: gflop over the median time, over the ceiling.
        dense_share: The same with the FLOPs of the dense step, equal for all contenders.
        ratio_p20, ratio_p50, ratio_p80: Quantiles over pairs of neighbouring steps of rival time / this time; empty
            without a rival.
    """

    bench: str = "train_step"
    contender: str
    precision: str
    compiled: bool
    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int
    context: int
    batch: int
    parameters: int
    repeats: int
    p20_ms: float
    p50_ms: float
    p80_ms: float
    tokens_per_second: float
    base_mb: float
    peak_mb: float
    ceiling_gflops: float
    gflop: float
    share: float
    dense_share: float
    ratio_p20: float | None
    ratio_p50: float | None
    ratio_p80: float | None


@dataclass(frozen=True, kw_only=True)
class SampleRow(Origin):
    """Sampling with one sampler at one batch size.

    Attributes:
        bench, contender: Which bench, and the sampler.
        precision: Arithmetic.
        weights: "fresh", or "checkpoint".
        layers, width, heads, hidden, vocabulary, context: Shape of the network.
        batch, length, steps: Canvases together, tokens of each, and planned steps.
        repeats: Timed rounds.
        nfe: Network evaluations per canvas, the mean.
        p20_ms, p50_ms, p80_ms: Quantiles of the time from start to finish of a batch: what each canvas in it waits.
        tokens_per_second: Generated tokens of the batch over the median.
        base_mb, peak_mb: As in ``TrainRow``.
    """

    bench: str = "sampling"
    contender: str
    precision: str
    weights: str
    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int
    context: int
    batch: int
    length: int
    steps: int
    repeats: int
    nfe: float
    p20_ms: float
    p50_ms: float
    p80_ms: float
    tokens_per_second: float
    base_mb: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class KernelRow(Origin):
    """One kernel, forward and backward, next to its reference.

    Attributes:
        bench, contender: The kernel's file, and which implementation.
        precision: dtype of the inputs.
        shape: Sizes by name, as in "B16 H4 T256 d64".
        repeats: Timed rounds.
        p20_ms, p50_ms, p80_ms: Quantiles of the time of forward plus backward.
        base_mb, peak_mb: As in ``TrainRow``.
        ratio_p20, ratio_p50, ratio_p80: Quantiles over pairs of neighbouring rounds of reference time / this time.
    """

    bench: str
    contender: str
    precision: str
    shape: str
    repeats: int
    p20_ms: float
    p50_ms: float
    p80_ms: float
    base_mb: float
    peak_mb: float
    ratio_p20: float | None
    ratio_p50: float | None
    ratio_p80: float | None


@dataclass(frozen=True, kw_only=True)
class TokenizerRow(Origin):
    """One task of one tokenizer library; ``threads`` are those that the task may use.

    Attributes:
        bench, contender, version: Which bench, which library, and its release.
        task: "train", "encode" and "decode" (one thread), "encode_batch" (all cores), or "start" (from the first import
            to the first ids; also "start_cold", nothing of ours compiled yet, and "start_short", our reference path).
        corpus: Which kind of source the text is.
        megabytes: Its UTF-8 bytes in 1e6.
        vocabulary: Ids of the vocabulary, the special token included.
        repeats: Timed rounds.
        p20_ms, p50_ms, p80_ms: Quantiles of the time of a round.
        mb_per_second: megabytes over the median; empty of a start.
        base_mb, peak_mb: Memory of its process with the text in it, before the library was used, and at most; 0 of a
            start.
        ratio_p20, ratio_p50, ratio_p80: Quantiles over pairs of neighbouring rounds of this time / our time; empty in
            our own rows.
    """

    bench: str = "tokenizer"
    contender: str
    version: str
    task: str
    corpus: str
    megabytes: float
    vocabulary: int
    repeats: int
    p20_ms: float
    p50_ms: float
    p80_ms: float
    mb_per_second: float | None
    base_mb: float
    peak_mb: float
    ratio_p20: float | None
    ratio_p50: float | None
    ratio_p80: float | None


@dataclass(frozen=True, kw_only=True)
class DataRow(Origin):
    """Steps of rows made from shards by one prefetch thread.

    Attributes:
        bench, contender: Which bench, and what makes the rows: "compiled" or "numpy".
        documents, tokens, shards: What the shards hold.
        context, batch, prefetch: Tokens of a row, rows of a step, steps prepared ahead.
        step_ms: Time that the stub step takes besides reading its ids.
        steps, repeats: Steps of a round, timed rounds.
        p20_ms, p50_ms, p80_ms: Quantiles over rounds of the mean time of a step.
        tokens_per_second: Batch times context over the median.
        waited_share: Share of the time in which the step waited for data.
        base_mb, peak_mb: As in ``TrainRow``; mapped pages of the shards included.
        own_mb: Memory at the end without mapped files.
        ratio_p20, ratio_p50, ratio_p80: Quantiles over neighbouring rounds of NumPy's time / this time.
    """

    bench: str = "data_loader"
    contender: str
    documents: int
    tokens: int
    shards: int
    context: int
    batch: int
    prefetch: int
    step_ms: float
    steps: int
    repeats: int
    p20_ms: float
    p50_ms: float
    p80_ms: float
    tokens_per_second: float
    waited_share: float
    base_mb: float
    peak_mb: float
    own_mb: float
    ratio_p20: float | None
    ratio_p50: float | None
    ratio_p80: float | None


Row = TrainRow | SampleRow | KernelRow | TokenizerRow | DataRow
KINDS: tuple[type[Row], ...] = (TrainRow, SampleRow, KernelRow, TokenizerRow, DataRow)
R = TypeVar("R", bound=Row)


def columns(kind: type[Row]) -> list[str]:
    """Return the header of a kind of row."""
    return [field.name for field in fields(kind)]


def here(device: str, threads: int) -> dict[str, str | int]:
    """Return the fields of ``Origin`` for a measurement made now.

    Args:
        device: Name of the GPU; empty for this machine's processor.
        threads: CPU threads that the measured process used.
    """
    git = git_state(Path(__file__).resolve().parents[1])
    commit = "" if git is None else str(git["commit"])[:12] + ("+" if git["changed"] else "")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "device": device or cpu_model(),
        "threads": threads,
        "torch": torch.__version__,
        "python": str(versions()["python"]),
    }


def append(path: Path, rows: Sequence[Row]) -> None:
    """Append rows of one kind to a CSV file, which is made with its header if it is not there.

    Raises:
        DataError: The file holds rows of another kind.
    """
    kind = type(rows[0])
    assert all(type(row) is kind for row in rows), {type(row) for row in rows}
    check_header(path, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(kind), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows({name: _text(value) for name, value in asdict(row).items()} for row in rows)


def check_header(path: Path, kind: type[Row]) -> None:
    """Check that rows of a kind may go into a file; asked before a long measurement.

    Raises:
        DataError: The file holds something else.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    if header != columns(kind):
        raise DataError(
            f"{path} does not hold {kind.__name__} rows (its header begins {','.join(header[:8])}); name another file"
        )


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV file.

    Raises:
        DataError: Its header is no schema of ours, or a row does not fit it.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        kind = next((kind for kind in KINDS if columns(kind) == lines.fieldnames), None)
        if kind is None:
            raise DataError(f"{path} has an unknown header; known: {', '.join(kind.__name__ for kind in KINDS)}")
        return [_row(kind, line, f"{path}:{number}") for number, line in enumerate(lines, 2)]


def _text(value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(kind: type[R], line: dict[str, str], place: str) -> R:
    values = {}
    for field in fields(kind):
        text = line[field.name]
        try:
            values[field.name] = _value(str(field.type), text)
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{place}: {field.name} = {text!r} is not a {field.type}") from None
    return kind(**values)


def _value(kind: str, text: str) -> str | int | float | bool | None:
    if text is None:
        raise ValueError("a cell is missing")
    if kind == "float | None":
        return None if text == "" else float(text)
    if kind == "bool":
        return {"true": True, "false": False}[text]
    return {"str": str, "int": int, "float": float}[kind](text)

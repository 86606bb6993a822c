"""The kept rows as Markdown tables, for the README and the docs.

python -m benchmarking.report [folder]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarking.rows import DataRow, KernelRow, Row, SampleRow, TokenizerRow, TrainRow, read
from diffusionlm.workflows.talk import say

RESULTS = Path(__file__).parent / "results"
Column = tuple[str, Callable[..., str]]


def _times(row: Row) -> str:
    return f"{row.p20_ms:,.1f} / {row.p50_ms:,.1f} / {row.p80_ms:,.1f}"


def _ratio(row: TrainRow | KernelRow | TokenizerRow | DataRow) -> str:
    if row.ratio_p50 is None:
        return ""
    return f"**{row.ratio_p50:.2f}** ({row.ratio_p20:.2f} … {row.ratio_p80:.2f})"


WHERE: tuple[Column, ...] = (
    ("measured on", lambda row: f"{row.device}, {row.threads} threads"),
    ("commit", lambda row: f"`{row.commit}`" if row.commit else ""),
)
TRAIN: tuple[Column, ...] = (
    ("step of", lambda row: row.contender),
    ("shape", lambda row: f"{row.layers} × {row.width}, T {row.context}, V {row.vocabulary}, B {row.batch}"),
    ("precision", lambda row: row.precision + (", compiled" if row.compiled else "")),
    ("tokens/s", lambda row: f"{row.tokens_per_second:,.0f}"),
    ("ms p20 / p50 / p80", _times),
    ("memory, MiB", lambda row: f"{row.peak_mb - row.base_mb:,.0f}"),
    ("share of matmul ceiling", lambda row: f"{row.share:.0%} of {row.ceiling_gflops:,.0f} GFLOP/s"),
    ("× rival", _ratio),
)
SAMPLE: tuple[Column, ...] = (
    ("sampler", lambda row: row.contender),
    ("shape", lambda row: f"{row.layers} × {row.width}, V {row.vocabulary}, {row.weights} weights, {row.precision}"),
    ("canvases", lambda row: f"{row.batch} of {row.length} tokens"),
    ("NFE", lambda row: f"{row.nfe:.1f} of {row.steps} steps"),
    ("ms p20 / p50 / p80", _times),
    ("tokens/s", lambda row: f"{row.tokens_per_second:,.0f}"),
)
KERNEL: tuple[Column, ...] = (
    ("kernel", lambda row: f"{row.bench}: {row.contender}"),
    ("shape", lambda row: row.shape),
    ("precision", lambda row: row.precision),
    ("ms p20 / p50 / p80", _times),
    ("memory, MiB", lambda row: f"{row.peak_mb - row.base_mb:,.0f}"),
    ("× reference", _ratio),
)
TOKENIZER: tuple[Column, ...] = (
    ("task", lambda row: row.task),
    ("library", lambda row: f"{row.contender} {row.version}"),
    ("text", lambda row: f"{row.corpus}, {row.megabytes:,.1f} MB, V {row.vocabulary}"),
    ("ms p20 / p50 / p80", _times),
    ("MB/s", lambda row: "" if row.mb_per_second is None else f"{row.mb_per_second:,.1f}"),
    ("memory, MiB", lambda row: f"{row.peak_mb - row.base_mb:,.0f}"),
    ("ours is faster, ×", _ratio),
)
DATA: tuple[Column, ...] = (
    ("rows by", lambda row: row.contender),
    ("shards", lambda row: f"{row.tokens / 1e6:,.0f} M tokens, {row.documents:,} documents, {row.shards} shards"),
    ("step", lambda row: f"{row.batch} × {row.context}, {row.step_ms:g} ms"),
    ("M tokens/s", lambda row: f"{row.tokens_per_second / 1e6:,.1f}"),
    ("waited for data", lambda row: f"{row.waited_share:.1%}"),
    ("ms p20 / p50 / p80", _times),
    ("own memory, MiB", lambda row: f"{row.own_mb:,.0f}"),
    ("× NumPy", _ratio),
)
TABLES: dict[type[Row], tuple[Column, ...]] = {
    TrainRow: TRAIN,
    SampleRow: SAMPLE,
    KernelRow: KERNEL,
    TokenizerRow: TOKENIZER,
    DataRow: DATA,
}


def markdown(rows: Sequence[Row]) -> str:
    """Return rows of one kind as a Markdown table."""
    table = TABLES[type(rows[0])] + WHERE
    lines = [[name for name, _ in table], ["---"] * len(table), *([show(row) for _, show in table] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def report(folder: Path = RESULTS) -> str:
    """Return every CSV file of a folder as a table under its name; empty if there are none.

    Raises:
        DataError: A file does not fit its schema.
    """
    tables = {path.stem: read(path) for path in sorted(folder.glob("*.csv"))}
    return "\n\n".join(f"### {name.replace('_', ' ')}\n\n{markdown(rows)}" for name, rows in tables.items() if rows)


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    folder = Path(arguments[0]) if arguments else RESULTS
    text = report(folder)
    if text:
        print(text)
    else:
        say(f"no rows in {folder}; make some with flowlm-bench-train --set output={folder}/train_step.csv")


if __name__ == "__main__":
    main(sys.argv[1:])

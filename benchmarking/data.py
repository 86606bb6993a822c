"""Bench of the loader: training steps from shards in the global order, by one prefetch thread, and what a step waits.

flowlm-bench-data --set tokens=500000000
flowlm-bench-data --set shards=shards/train --set step_ms=20

The stub step reads every id of its batch and then rests for ``step_ms``, as a processor that waits for a GPU does.
Before anything is timed, the stream's first steps are compared with rows asked for one at a time, by the reference.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from benchmarking.measure import Quantiles, pair_ratios
from benchmarking.rows import DataRow, append, check_header, here
from benchmarking.worker import Contender, Facts, Measured, in_turns
from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.data.encode import EncodedDocuments, content_fingerprint
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.shards import open_shards, write_index, write_shard
from diffusionlm.data.stream import stream
from diffusionlm.runlog.resident import anonymous_mib
from diffusionlm.workflows.params import BenchDataParams
from diffusionlm.workflows.talk import say

CHECKED_STEPS = 3
EOS, VOCABULARY = 0, 50_000


@dataclass(frozen=True)
class DataBench:
    """What the bench found.

    Attributes:
        rows: One for compiled code, one for the reference.
    """

    rows: tuple[DataRow, ...]

    def report(self) -> str:
        """Return one line of JSON."""
        return json.dumps({"bench": "data_loader", "rows": [asdict(row) for row in self.rows]})

    def card(self) -> str:
        """Return the result for people."""
        one = self.rows[0]
        lines = [
            f"loader on {one.device}: {one.tokens / 1e6:,.0f} M tokens in {one.documents:,} documents and {one.shards} "
            f"shards; steps of {one.batch} × {one.context} tokens that take {one.step_ms:g} ms themselves",
            "",
            f"{'rows by':<12}{'M tokens/s':>12}{'waited':>9}{'p20 ms':>9}{'p50 ms':>9}{'p80 ms':>9}{'peak MiB':>10}"
            f"{'own MiB':>9}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.contender:<12}{row.tokens_per_second / 1e6:>12.1f}{row.waited_share:>9.0%}{row.p20_ms:>9.2f}"
                f"{row.p50_ms:>9.2f}{row.p80_ms:>9.2f}{row.peak_mb:>10.0f}{row.own_mb:>9.0f}"
            )
        waited = "waited: share of the time in which the step had no data. own: without the mapped pages of the shards."
        return "\n".join([*lines, "", waited])


class Loading(Contender):
    """Take steps from a stream, each round where the last one ended."""

    def __init__(self, params: BenchDataParams, folder: Path, compiled: bool) -> None:
        self.params, self.compiled = params, compiled
        store = open_shards(folder, verify=False)
        self.shards = len(store.arrays)
        self.loader = RowLoader(store, params.context_length, "packed", params.seed, compiled=compiled)
        self.cursor, self.waited, self.seconds = self.loader.first_cursor, 0.0, 0.0
        self._check_order()

    def _check_order(self) -> None:
        """Compare the stream with the definition of the order: single rows of the reference."""
        rows = self.params.batch_size
        reference = RowLoader(self.loader.store, self.loader.context_length, "packed", self.params.seed, compiled=False)
        with stream(self.loader, None, rows, rows, prefetch=self.params.prefetch) as steps:
            for step in range(CHECKED_STEPS):
                single = [reference.batch(np.array([row])) for row in range(step * rows, (step + 1) * rows)]
                (got,), wanted = next(steps), concatenate(single)
                for field in fields(Batch):
                    same = torch.equal(vars(got)[field.name], vars(wanted)[field.name])
                    assert same, f"{field.name} of step {step} differs from the rows of the global order"

    def prepare(self, round_: int) -> None:
        """Nothing: the stream is opened on the clock, so that no step of it is made before."""

    def run(self) -> None:
        params, began = self.params, time.perf_counter()
        rows = params.batch_size
        with stream(self.loader, self.cursor, rows, rows, prefetch=params.prefetch) as steps:
            for _ in range(params.steps):
                (batch,) = next(steps)
                batch.x_1.sum()
                if params.step_ms:
                    time.sleep(params.step_ms / 1000)
            self.cursor = steps.cursor
            self.waited += steps.waited_s
        self.seconds += time.perf_counter() - began

    def facts(self) -> Facts:
        """Return the shares over all rounds, and what the store holds."""
        store = self.loader.store
        return {
            "waited_share": self.waited / self.seconds,
            "own_mb": anonymous_mib(),
            "documents": store.n_documents,
            "tokens": store.n_tokens,
            "shards": self.shards,
        }


def build_loading(params: BenchDataParams, folder: Path, compiled: bool) -> Contender:
    """Return one way to make rows as a contender."""
    return Loading(params, folder, compiled)


def bench_data(params: BenchDataParams) -> DataBench:
    """Feed a stub step from shards by compiled code and by the reference, in turns; the card goes to stderr.

    Raises:
        FlowLMError: The shards or the output file are not what they should be.
    """
    if params.output is not None:
        check_header(params.output, DataRow)
    with tempfile.TemporaryDirectory(prefix="flowlm-bench-") as temporary:
        folder = params.shards
        if folder is None:
            folder = Path(temporary)
            write_synthetic(folder, params)
        ways = {"compiled": True, "numpy": False}
        contenders = {name: (build_loading, (params, folder, compiled)) for name, compiled in ways.items()}
        measured = in_turns(contenders, warmup=params.warmup, repeats=params.repeats, threads=params.threads)
    rows = [_row(params, name, one, measured["numpy"]) for name, one in measured.items()]
    result = DataBench(tuple(rows))
    say(result.card())
    if params.output is not None:
        append(params.output, rows)
    return result


def write_synthetic(folder: Path, params: BenchDataParams) -> None:
    """Write shards of random tokens, whose documents have exponentially distributed lengths."""
    rng, left = np.random.default_rng(params.seed), params.tokens
    names, headers, all_hashes = [], [], []
    while left > 0:
        n = min(left, params.shard_tokens)
        lengths = rng.exponential(params.document_tokens, n // params.document_tokens + 1).astype(np.int64) + 2
        lengths = lengths[: max(1, int(np.searchsorted(np.cumsum(lengths), n)))]
        tokens = rng.integers(1, VOCABULARY, int(lengths.sum()), dtype=np.uint16)
        tokens[np.cumsum(lengths) - 1] = EOS
        hashes = rng.integers(0, 1 << 63, len(lengths), dtype=np.uint64)
        all_hashes.append(hashes)
        part = EncodedDocuments(tokens, lengths, lengths - 1, hashes)
        names.append(f"shard-{len(names):05d}.bin")
        path = folder / names[-1]
        headers.append(write_shard(path, [part], tokenizer="synthetic", vocab_size=VOCABULARY, eos_id=EOS))
        left -= n
    documents, total = sum(header.n_documents for header in headers), sum(header.n_tokens for header in headers)
    write_index(folder, names, headers, content_fingerprint("synthetic", all_hashes, documents, total))


def _row(params: BenchDataParams, name: str, measured: Measured, reference: Measured) -> DataRow:
    time_ = Quantiles.of([1000.0 * seconds / params.steps for seconds in measured.seconds])
    ratio = None if measured is reference else pair_ratios(measured.seconds, reference.seconds)
    return DataRow(
        **here(measured.device, measured.threads),  # type: ignore[arg-type]
        **measured.facts,
        contender=name,
        context=params.context_length,
        batch=params.batch_size,
        prefetch=params.prefetch,
        step_ms=params.step_ms,
        steps=params.steps,
        repeats=params.repeats,
        p20_ms=time_.p20,
        p50_ms=time_.p50,
        p80_ms=time_.p80,
        tokens_per_second=params.batch_size * params.context_length / time_.p50 * 1000.0,
        base_mb=measured.base_mb,
        peak_mb=measured.peak_mb,
        ratio_p20=None if ratio is None else ratio.p20,
        ratio_p50=None if ratio is None else ratio.p50,
        ratio_p80=None if ratio is None else ratio.p80,
    )

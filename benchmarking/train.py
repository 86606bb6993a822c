"""Bench of a training step, next to a transformers-based masked-diffusion step of the same network in the same run.

flowlm-bench-train --set precision=bf16 --set output=benchmarking/results/train_step.csv
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from benchmarking.measure import Quantiles, matmul_ceiling, pair_ratios, step_flops
from benchmarking.rows import TrainRow, append, check_header, here
from benchmarking.train_step import build_flowlm, build_rival, check_rival
from benchmarking.worker import Measured, in_turns
from diffusionlm.workflows.params import BenchTrainParams
from diffusionlm.workflows.runtime import DTYPES, choose_device
from diffusionlm.workflows.talk import say

OURS, RIVAL = "flowlm", "transformers"


@dataclass(frozen=True)
class TrainBench:
    """What the bench found.

    Attributes:
        rows: One for each contender, ours first.
        measured: Each contender's raw times and facts.
        dense_gflop: FLOPs, in 1e9, of the step that runs everything on every token: the same for all contenders.
    """

    rows: tuple[TrainRow, ...]
    measured: dict[str, Measured]
    dense_gflop: float

    def report(self) -> str:
        """Return one line of JSON."""
        contenders = {row.contender: {**asdict(row), **self.measured[row.contender].facts} for row in self.rows}
        return json.dumps({"bench": "train_step", "dense_gflop": self.dense_gflop, "contenders": contenders})

    def card(self) -> str:
        """Return the result for people."""
        ours = self.rows[0]
        lines = [
            f"training step on {ours.device}, {ours.threads} threads, torch {ours.torch}: {ours.layers} × "
            f"{ours.width}, {ours.heads} heads, context {ours.context}, vocabulary {ours.vocabulary}, batch "
            f"{ours.batch}, {ours.precision}{', compiled' if ours.compiled else ''}",
            f"matmul ceiling {ours.ceiling_gflops:.0f} GFLOP/s; one dense step is {self.dense_gflop:.1f} GFLOP",
            "",
            f"{'':<14}{'tokens/s':>10}{'p20 ms':>9}{'p50 ms':>9}{'p80 ms':>9}{'peak MiB':>10}{'of it':>9}{'GFLOP':>8}"
            f"{'share':>8}{'dense':>8}{'weights':>11}{'first CE':>10}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.contender:<14}{row.tokens_per_second:>10.0f}{row.p20_ms:>9.1f}{row.p50_ms:>9.1f}"
                f"{row.p80_ms:>9.1f}{row.peak_mb:>10.0f}{row.peak_mb - row.base_mb:>9.0f}{row.gflop:>8.1f}"
                f"{row.share:>8.1%}{row.dense_share:>8.1%}{row.parameters:>11}"
                f"{self.measured[row.contender].facts['first_loss']:>10.3f}"
            )
        if ours.ratio_p50 is not None:
            lines.append(
                f"\n{OURS} / {RIVAL}, tokens/s: {ours.ratio_p50:.2f}× "
                f"(p20 {ours.ratio_p20:.2f}, p80 {ours.ratio_p80:.2f} over {ours.repeats} neighbouring pairs)"
            )
        lines += ["", *EXPLANATION]
        return "\n".join(lines)


EXPLANATION = (
    "of it: peak without what the process held before the network was built.  GFLOP: 6 · weights · tokens + attention,",
    "of the work that this contender does (ours runs the last feed-forward and the head on scored rows alone).",
    "share: that work per second over the ceiling.  dense: the dense step's work per second over the ceiling, the same",
    "work for all.  Contenders run in turns, each in its own process.",
)


def bench_train(params: BenchTrainParams) -> TrainBench:
    """Measure our training step and, if asked for, the rival's; the card goes to stderr, rows to ``params.output``.

    Raises:
        FlowLMError: The device, the rival's packages or the output file is not what it should be.
    """
    device = choose_device(params.device)
    if params.output is not None:
        check_header(params.output, TrainRow)
    contenders = {OURS: (build_flowlm, (params, str(device)))}
    if params.rival:
        check_rival(params.model)
        say(f"{OURS} and {RIVAL} in turns: {params.warmup} + {params.repeats} steps each")
        contenders[RIVAL] = (build_rival, (params, str(device)))
    ceilings = [matmul_ceiling(device, DTYPES[params.precision], params.threads)]
    measured = in_turns(contenders, warmup=params.warmup, repeats=params.repeats, threads=params.threads)
    # Once more at the end: on a machine that others use as well, the better one is nearer the truth.
    ceilings.append(matmul_ceiling(device, DTYPES[params.precision], params.threads))
    tokens = params.batch_size * params.model.context_length
    dense = step_flops(params.model, params.vocabulary, tokens, tokens) / 1e9
    rows = tuple(_row(params, name, measured, max(ceilings), dense) for name in measured)
    result = TrainBench(rows, measured, dense)
    say(result.card())
    if params.output is not None:
        append(params.output, rows)
    return result


def _row(params: BenchTrainParams, name: str, measured: dict[str, Measured], ceiling: float, dense: float) -> TrainRow:
    mine, shape = measured[name], params.model
    time = Quantiles.of([1000.0 * seconds for seconds in mine.seconds])
    gflop = mine.facts["flops"] / 1e9
    ratio: dict[str, Any] = {"ratio_p20": None, "ratio_p50": None, "ratio_p80": None}
    if name == OURS and RIVAL in measured:
        pairs = pair_ratios(mine.seconds, measured[RIVAL].seconds)
        ratio = {f"ratio_{quantile}": value for quantile, value in asdict(pairs).items()}
    return TrainRow(
        **here(mine.device, mine.threads),  # type: ignore[arg-type]
        contender=name,
        precision=params.precision,
        compiled=params.compile,
        layers=shape.layers,
        width=shape.width,
        heads=shape.heads,
        hidden=shape.resolved_hidden,
        vocabulary=params.vocabulary,
        context=shape.context_length,
        batch=params.batch_size,
        parameters=mine.facts["parameters"],
        repeats=params.repeats,
        p20_ms=time.p20,
        p50_ms=time.p50,
        p80_ms=time.p80,
        tokens_per_second=params.batch_size * shape.context_length / time.p50 * 1000.0,
        base_mb=mine.base_mb,
        peak_mb=mine.peak_mb,
        ceiling_gflops=ceiling,
        gflop=gflop,
        share=gflop / time.p50 * 1000.0 / ceiling,
        dense_share=dense / time.p50 * 1000.0 / ceiling,
        **ratio,
    )

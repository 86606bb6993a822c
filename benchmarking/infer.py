"""Bench of sampling: how long a canvas takes alone and in a batch, tokens per second, network evaluations (NFE).

flowlm-bench-infer --set generation.steps=32 --set output=benchmarking/results/sampling.csv
flowlm-bench-infer --set checkpoint=runs/quickstart --set 'samplers=[{name="ancestral"}, {name="confidence"}]'

Every canvas is filled to its end (nothing stops at an end-of-text token), so that all rounds do the same work.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarking.measure import Quantiles
from benchmarking.rows import SampleRow, append, check_header, here
from benchmarking.worker import Contender, Facts, Measured, in_turns
from diffusionlm.checkpoint import load_checkpoint, load_model, resolve_checkpoint
from diffusionlm.generation.batches import complete
from diffusionlm.generation.canvas import prompt_template
from diffusionlm.model.transformer import build_model
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.registry import params_name
from diffusionlm.sampling import SAMPLERS
from diffusionlm.workflows.params import BenchInferParams
from diffusionlm.workflows.runtime import DTYPES, choose_device
from diffusionlm.workflows.talk import say


@dataclass(frozen=True)
class SampleBench:
    """What the bench found.

    Attributes:
        rows: One for each sampler and batch size.
    """

    rows: tuple[SampleRow, ...]

    def report(self) -> str:
        """Return one line of JSON."""
        return json.dumps({"bench": "sampling", "rows": [asdict(row) for row in self.rows]})

    def card(self) -> str:
        """Return the result for people."""
        one = self.rows[0]
        lines = [
            f"sampling on {one.device}, {one.threads} threads, torch {one.torch}: {one.layers} × {one.width}, "
            f"vocabulary {one.vocabulary}, {one.weights} weights, {one.precision}; canvases of {one.length} tokens, "
            f"{one.steps} steps",
            "",
            f"{'sampler':<14}{'batch':>6}{'NFE':>8}{'p20 ms':>10}{'p50 ms':>10}{'p80 ms':>10}{'tokens/s':>10}"
            f"{'peak MiB':>10}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.contender:<14}{row.batch:>6}{row.nfe:>8.1f}{row.p20_ms:>10.1f}{row.p50_ms:>10.1f}"
                f"{row.p80_ms:>10.1f}{row.tokens_per_second:>10.1f}{row.peak_mb:>10.0f}"
            )
        return "\n".join([*lines, "", "ms: from nothing to finished canvases, which each canvas of a batch waits for."])


class Sampling(Contender):
    """Fill a batch of empty canvases with one sampler."""

    def __init__(self, params: BenchInferParams, sampler: Any, batch: int, device: str) -> None:
        self.device, self.batch = torch.device(device), batch
        if params.checkpoint is None:
            vocabulary = Vocabulary.after(params.vocabulary, None)
            self.process = PROCESSES.build(params.process, vocabulary)
            self.model = build_model(params.model, vocabulary, params.generation.seed).to(self.device)
        else:
            checkpoint = load_checkpoint(resolve_checkpoint(params.checkpoint).path)
            self.process = checkpoint.build_process()
            self.model = load_model(checkpoint, device=device)
        self.model.compute_dtype = DTYPES[params.precision]
        # A model that reads token i off state i − 1 needs a first token to start from.
        given = (0,) * self.model.params.shift
        self.template = prompt_template(given, params.generation.length, self.model.params.context_length)
        self.how = params.generation.model_copy(update={"sampler": sampler, "batch_size": batch})
        self.round, self.nfe = 0, []

    def prepare(self, round_: int) -> None:
        self.round = round_

    def run(self) -> None:
        templates, first = [self.template] * self.batch, self.round * self.batch
        done = complete(self.model, self.process, templates, self.how, first_sample=first)
        self.nfe = [canvas.nfe for canvas in done]

    def facts(self) -> Facts:
        """Return the shape, and the evaluations of the last round."""
        shape, length = self.model.params, sum(end - start for start, end in self.template.spans())
        return {
            "layers": shape.layers,
            "width": shape.width,
            "heads": shape.heads,
            "hidden": shape.resolved_hidden,
            "context": shape.context_length,
            "vocabulary": self.process.vocabulary.size,
            "length": length,
            "nfe": sum(self.nfe) / len(self.nfe),
        }


def build_sampling(params: BenchInferParams, sampler: Any, batch: int, device: str) -> Contender:
    """Return a sampler at a batch size as a contender."""
    return Sampling(params, sampler, batch, device)


def bench_infer(params: BenchInferParams) -> SampleBench:
    """Measure each sampler at batch 1 and at ``generation.batch_size``; the card goes to stderr, rows to ``output``.

    Raises:
        FlowLMError: The device, the checkpoint, a sampler or the output file is not what it should be.
    """
    device = choose_device(params.device)
    if params.output is not None:
        check_header(params.output, SampleRow)
    if params.checkpoint is not None:
        for skipped in resolve_checkpoint(params.checkpoint).skipped:
            say(f"passed over: {skipped.reason}")
    rows = []
    for sampler in params.samplers or (params.generation.sampler or _default_sampler(params),):
        sizes = sorted({1, params.generation.batch_size})
        contenders = {str(size): (build_sampling, (params, sampler, size, str(device))) for size in sizes}
        measured = in_turns(contenders, warmup=params.warmup, repeats=params.repeats, threads=params.threads)
        name = params_name(type(sampler))
        rows += [_row(params, name, size, measured[str(size)]) for size in sizes]
    result = SampleBench(tuple(rows))
    say(result.card())
    if params.output is not None:
        append(params.output, rows)
    return result


def _default_sampler(params: BenchInferParams) -> Any:
    """Return the sampler that belongs to the process."""
    process = type(params.process)
    if params.checkpoint is not None:
        process = type(load_checkpoint(resolve_checkpoint(params.checkpoint).path).process)
    return SAMPLERS[PROCESSES[params_name(process)].sampler].Params()


def _row(params: BenchInferParams, sampler: str, batch: int, measured: Measured) -> SampleRow:
    time = Quantiles.of([1000.0 * seconds for seconds in measured.seconds])
    return SampleRow(
        **here(measured.device, measured.threads),  # type: ignore[arg-type]
        **measured.facts,
        contender=sampler,
        precision=params.precision,
        weights="fresh" if params.checkpoint is None else "checkpoint",
        batch=batch,
        steps=params.generation.steps,
        repeats=params.repeats,
        p20_ms=time.p20,
        p50_ms=time.p50,
        p80_ms=time.p80,
        tokens_per_second=batch * measured.facts["length"] / time.p50 * 1000.0,
        base_mb=measured.base_mb,
        peak_mb=measured.peak_mb,
    )

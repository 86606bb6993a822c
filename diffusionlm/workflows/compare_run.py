"""One run of a comparison: trained or gone on with, scored, sampled, and written down so that it is never repeated."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from diffusionlm.checkpoint import load_checkpoint
from diffusionlm.errors import CheckpointError, DivergedError
from diffusionlm.evaluation import ByteJudge, diversity, judged_bits_per_byte, objective_loss
from diffusionlm.generation import generate
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES
from diffusionlm.registry import params_name
from diffusionlm.runlog import METRICS_FILE, read_jsonl
from diffusionlm.sampling import SAMPLERS
from diffusionlm.training.loop import NonFiniteLossError
from diffusionlm.workflows.compare_params import QualityParams
from diffusionlm.workflows.compare_plan import Planned
from diffusionlm.workflows.compare_results import MEASURES
from diffusionlm.workflows.corpus import TextData
from diffusionlm.workflows.opened import Opened, open_checkpoint
from diffusionlm.workflows.train import METRIC, train
from diffusionlm.workflows.train_report import TrainReport
from diffusionlm.workflows.use_params import CheckpointParams

RESULT, QUALITY = "result.json", "quality.json"


class Stopped(Exception):
    """A signal stopped a run; everything is saved."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def finished(planned: Planned) -> dict[str, Any] | None:
    """Return the result of a run that is done already; a file that holds something else counts as none."""
    result = _read(planned.folder / RESULT)
    is_whole = isinstance(result, dict) and _described(planned).keys() <= result.keys()
    return result if is_whole and ("failed" in result or "steps" in result) else None


@contextmanager
def way_out(planned: Planned) -> Iterator[None]:
    """Say of a run whose checkpoints are lost what helps: a comparison keeps one, and there is no other to choose."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f"{planned.words}: {error}; remove {planned.folder} and the same command makes this run anew"
        ) from error


def run_once(planned: Planned, text: TextData, flops_per_token: float) -> dict[str, Any]:
    """Train a run to its end, whatever of it is done already, and return its result as a JSON object.

    Raises:
        Stopped: A signal came; the run has saved itself.
        CheckpointError: It cannot go on, for what it saved is damaged.
    """
    done = finished(planned)
    if done is not None:
        return done
    planned.folder.parent.mkdir(parents=True, exist_ok=True)
    # What the run says of itself goes to a file beside its folder; the comparison has one line for it.
    with (
        planned.folder.with_name(f"{planned.folder.name}.log").open("a", encoding="utf-8") as log,
        redirect_stderr(log),
        way_out(planned),
    ):
        try:
            report = train(planned.params)
        except NonFiniteLossError as error:
            result = _described(planned) | {"failed": str(error)}
            _write(planned.folder / RESULT, result)
            return result
    if report.exit_code:
        raise Stopped(report.exit_code)
    with way_out(planned):
        result = _described(planned) | _scores(planned, report, text, flops_per_token)
    _write(planned.folder / RESULT, result)
    return result


def _described(planned: Planned) -> dict[str, Any]:
    params = planned.params
    optimizer = params.optimizer.model_dump(mode="json")
    rates = {key: value for key, value in optimizer.items() if key == "lr" or key.endswith("_lr")}
    return {
        "method": planned.method,
        "kind": planned.kind,
        "seed": planned.seed,
        "factor": planned.factor,
        "process": params.process.name,
        "objective": params.objective.name,
        "learning_rates": {key: value for key, value in rates.items() if value is not None},
        "width": params.model.width,
        "folder": str(planned.folder),
    }


def _scores(planned: Planned, report: TrainReport, text: TextData, flops_per_token: float) -> dict[str, Any]:
    counters = load_checkpoint(report.checkpoint).state.counters
    tokens, likelihood = counters["tokens"], report.likelihood
    assert not isinstance(tokens, list), "a count"
    result: dict[str, Any] = {
        "steps": report.outcome.step,
        "tokens": tokens,
        "seconds": counters["seconds"],
        "flops": tokens * flops_per_token,
        "bound": "none" if likelihood is None else likelihood.bound,
        "curve": curve(planned),
    }
    if likelihood is not None:
        names = ("bits_per_byte", "bits_per_byte_error", "nats_per_token")
        result |= {name: _finite(vars(likelihood)[name]) for name in names}
        if likelihood.noise_error is not None:
            per_nat = likelihood.bits_per_byte / likelihood.nats_per_token
            result["noise_error"] = _finite(likelihood.noise_error * per_nat)  # bits per byte
    else:
        result |= {"loss": _finite(_loss(planned, text)), "loss_name": planned.params.objective.name}
    return result


def curve(planned: Planned) -> list[list[float]]:
    """Return (tokens, bits per byte) of every validation of a run."""
    per_step = planned.params.training.batch_size * planned.params.model.context_length
    path = planned.folder / METRICS_FILE
    records = read_jsonl(path) if path.is_file() else []
    return [[one["step"] * per_step, one[METRIC]] for one in records if one.get(METRIC) is not None]


def opened(planned: Planned) -> Opened:
    """Open the last checkpoint of a run."""
    params = planned.params
    return open_checkpoint(
        CheckpointParams(checkpoint=str(planned.folder), device=params.run.device, threads=params.run.threads)
    )


def _loss(planned: Planned, text: TextData) -> float:
    """Return the objective's own loss on the held-out text, for a process that has no bound."""
    one, validation = opened(planned), planned.params.validation
    objective = OBJECTIVES.build(planned.params.objective, one.process)
    rows = text.held_out_rows(max(validation.rows, validation.final_tokens // text.context_length))
    return objective_loss(one.model, objective, rows, draws=validation.draws, seed=validation.seed, device=one.device)


def measure_samples(
    planned: Planned, quality: QualityParams, judge: ByteJudge, flags: list[str]
) -> list[dict[str, Any]]:
    """Return a run's samples measured at every number of steps; what was measured before is read, not made again.

    A sampler with a pace of its own, for which the steps change nothing, is measured once, at the last of them.
    """
    process, chosen = planned.params.process.name, planned.params.generation.sampler
    sampler = PROCESSES[process].sampler if chosen is None else params_name(type(chosen))
    if sampler not in SAMPLERS:
        flags.append(f"{planned.method}: there is no sampler for process {process!r}")
        return []
    wanted = quality.steps[-1:] if SAMPLERS[sampler].own_pace else quality.steps
    path = planned.folder / QUALITY
    points = _read(path)
    if _measured_at(points) == list(wanted):
        return points
    with way_out(planned):
        one = opened(planned)
    try:
        points = [_point(one, planned, quality, judge, steps) for steps in wanted]
    except DivergedError as error:
        flags.append(f"{planned.words}: no samples, {error}")
        return []
    _write(path, points)
    return points


def _measured_at(points: Any) -> list[Any]:
    """Return the numbers of steps of measured samples; none for what is no list of such records."""
    is_list = isinstance(points, list) and all(isinstance(point, dict) for point in points)
    return [point["steps"] for point in points if {"steps", *MEASURES} <= point.keys()] if is_list else []


def _point(one: Opened, planned: Planned, quality: QualityParams, judge: ByteJudge, steps: int) -> dict[str, Any]:
    how = planned.params.generation.model_copy(
        update={
            "steps": steps,
            "samples": quality.samples,
            "length": quality.length,
            "batch_size": quality.batch_size,
            "seed": quality.seed,
        }
    )
    began = time.perf_counter()
    made = generate(one.model, one.tokenizer, one.process, [""], how)
    seconds = time.perf_counter() - began
    ids = [sample.ids for sample in made]
    texts = [one.tokenizer.decode_bytes(list(sample), skip_special=True) for sample in ids]
    return {
        "steps": steps,
        "nfe": sum(sample.nfe for sample in made) / len(made),
        "seconds": seconds,
        **measured(ids, texts, judge),
    }


def measured(ids: Sequence[Sequence[int]], texts: Sequence[bytes], judge: ByteJudge) -> dict[str, Any]:
    """Return quality and diversity of some samples: never the one without the other."""
    varied = diversity(ids)
    return {
        "judge_bits_per_byte": judged_bits_per_byte(judge, texts),
        "entropy": varied.entropy,
        "distinct": varied.distinct,
        "tokens": varied.tokens,
        "samples": len(ids),
    }


def real_text(text: TextData, quality: QualityParams, judge: ByteJudge) -> dict[str, Any]:
    """Return the same measures of held-out text: as many pieces, as long, cut at the first end of a document."""
    batches, eos = text.held_out_rows(quality.samples), text.tokenizer.eos_id
    length = quality.length or text.context_length
    rows = [row[:length].tolist() for batch in batches for row in batch.x_1]
    cut = [row[: row.index(eos)] if eos in row else row for row in rows]
    kept = [row for row in cut if row]
    return measured(kept, [text.tokenizer.decode_bytes(row, skip_special=True) for row in kept], judge)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None  # not there yet, or torn by a crash: it is made again


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)

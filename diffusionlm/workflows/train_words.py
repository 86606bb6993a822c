"""What a training run says to a person at its end, on stderr."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from diffusionlm.evaluation import LikelihoodReport, baseline_rows, with_error
from diffusionlm.training.loop import Outcome, Progress
from diffusionlm.training.params import SamplesParams
from diffusionlm.workflows.held_out import FinalScores


def stopped_words(outcome: Outcome, checkpoint: Path, folder: Path) -> str:
    """Return what a run stopped by a signal says."""
    return (
        f"{outcome.reason}: stopped after step {outcome.step}, saved {checkpoint}\n"
        f"to go on: the same command with --resume auto (run folder {folder})"
    )


def interrupted_words(checkpoint: Path) -> str:
    """Return what a run says that was interrupted after its last step, while it was scored or sampled."""
    return f"interrupted: training had finished, and {checkpoint} is saved"


def score_words(scores: FinalScores | None, progress: Progress) -> str:
    """Return what a finished run says of itself: its size, the held-out score, each source's, and the baselines."""
    lines = [f"\n{progress.step} steps, {progress.tokens / 1e6:.2f} M tokens in {progress.seconds / 60:.1f} minutes"]
    if scores is not None:
        report = scores.likelihood
        kind = "exact" if report.bound == "exact" else "an upper bound"
        lines.append(f"held out: {_bits(report)} ({kind}; {_size(report)})")
        for source in scores.sources:
            name, one = f"source {source.number}", source.likelihood
            lines.append(f"  {name:<14} {_bits(one)} ({_size(one)}): {source.text}")
        for name, bits in baseline_rows(scores.baselines):
            gain = 100.0 * (report.bits_per_byte / bits - 1.0)
            lines.append(f"  {name:<14} {bits:.3f} bits per byte; the model is at {gain:+.1f} %")
    return "\n".join(lines)


def _bits(report: LikelihoodReport) -> str:
    return f"{with_error(report.bits_per_byte, report.bits_per_byte_error, 3)} bits per byte"


def _size(report: LikelihoodReport) -> str:
    return f"{report.documents} documents, {report.tokens} tokens"


def next_words(folder: Path, samples: SamplesParams, has_bound: bool = True) -> str:
    """Return the closing lines of a finished run: what to try next."""
    return "\n".join(["try next:", *(f"  {command}" for command in next_commands(folder, samples, has_bound))])


def next_commands(folder: Path, samples: SamplesParams, has_bound: bool = True) -> tuple[str, ...]:
    """Return commands that work on a finished run as they stand, in the way that this one was started.

    Args:
        folder: The run.
        samples: What it sampled.
        has_bound: Whether its process has a likelihood bound, which is what eval reports.
    """
    # `uv run` puts the commands on the PATH of its child alone; the variable is how the child can tell.
    start = "uv run " if "UV_RUN_RECURSION_DEPTH" in os.environ else ""
    run = shlex.quote(str(folder))
    prompt = next((text.strip("\n") for text in samples.prompts if text.strip()), "The ")
    text = samples.infill[0] if samples.infill else f"{prompt}<|hole:16|>"
    sampling = (
        f"{start}flowlm-infer --checkpoint {run} --prompt {shlex.quote(prompt)} --watch",
        f"{start}flowlm-infill --checkpoint {run} {shlex.quote(text)}",
    )
    return (*sampling, f"{start}flowlm-eval --checkpoint {run}") if has_bound else sampling

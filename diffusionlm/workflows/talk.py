"""What a training run says to a person, on stderr."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from diffusionlm.evaluation import BaselineReport, LikelihoodReport, baseline_rows, with_error
from diffusionlm.training.loop import Outcome, Progress


def say(text: str) -> None:
    """Print a line to stderr at once."""
    print(text, file=sys.stderr, flush=True)


def stopped_words(outcome: Outcome, checkpoint: Path, folder: Path) -> str:
    """Return what a run stopped by a signal says."""
    return (
        f"{outcome.reason}: stopped after step {outcome.step}, saved {checkpoint}\n"
        f"to go on: the same command with --resume auto (run folder {folder})"
    )


def final_words(
    folder: Path, report: LikelihoodReport | None, baselines: BaselineReport | None, progress: Progress
) -> str:
    """Return the closing lines of a finished run: the held-out score, the baselines, and what to try next."""
    lines = [f"\n{progress.step} steps, {progress.tokens / 1e6:.2f} M tokens in {progress.seconds / 60:.1f} minutes"]
    if report is not None and baselines is not None:
        lines.append(
            f"held out: {with_error(report.bits_per_byte, report.bits_per_byte_error, 3)} bits per byte "
            f"(an upper bound; {report.documents} documents, {report.tokens} tokens)"
        )
        for name, bits in baseline_rows(baselines):
            gain = 100.0 * (report.bits_per_byte / bits - 1.0)
            lines.append(f"  {name:<14} {bits:.3f} bits per byte; the model is at {gain:+.1f} %")
    run = shlex.quote(str(folder))
    lines += [
        "try next:",
        f"  flowlm-infer --checkpoint {run} --prompt 'import ' --watch",
        f"  flowlm-infill --checkpoint {run} 'for i in range(<|hole:4|>):'",
        f"  flowlm-eval --checkpoint {run}",
    ]
    return "\n".join(lines)

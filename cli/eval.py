"""``flowlm eval`` / ``flowlm-eval``: bound the likelihood of a text under a checkpoint, in bits per byte.

flowlm-eval --checkpoint runs/quickstart
flowlm-eval --checkpoint runs/quickstart --file book.txt --json
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from cli.usage import whole


def evaluate(
    checkpoint: frame.Checkpoint = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="A text to score; else the run's held-out split.")
    ] = None,
    documents: Annotated[
        int | None, typer.Option("--documents", parser=whole, metavar="N", help="Score so many documents; else all.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", parser=whole, metavar="N", help="Noise levels per row.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", parser=whole, metavar="N", help="Seed of the noise.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Report the bound in nats and bits per token and bits per byte, with its standard error and the baselines."""
    from diffusionlm.workflows.params import EvalParams

    flags = [
        frame.Flag("--checkpoint", "checkpoint", checkpoint),
        frame.Flag("--file", "source", None if file is None else {"name": "text", "path": file}),
        frame.Flag("--documents", "documents", documents),
        frame.Flag("--draws", "draws", draws),
        frame.Flag("--seed", "seed", seed),
        frame.Flag("--json", "format", "json" if json else None),
    ]
    params = frame.configure(EvalParams, config, settings, print_config, flags)
    from diffusionlm.workflows import evaluate as workflow

    frame.show(workflow.evaluate(params), as_json=params.format == "json")


app = frame.make_app(evaluate)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

"""``flowlm inspect``: what a checkpoint holds, every file of it verified.

flowlm inspect runs/quickstart
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def inspect(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="A checkpoint, a run folder, or run@best.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Say what a checkpoint holds: step, tokens seen, shape of the network, process, tokenizer, best score."""
    from diffusionlm.workflows.params import InspectParams

    flags = [frame.Flag("PATH", "checkpoint", checkpoint), frame.Flag("--json", "format", "json" if json else None)]
    params = frame.configure(InspectParams, config, settings, print_config, flags)
    from diffusionlm.workflows import inspect as workflow

    frame.show(workflow.inspect(params), as_json=params.format == "json")


app = frame.make_app(inspect)

"""``flowlm data VERB``: look at token shards.

flowlm data verify shards
flowlm data verify shards --checkpoint runs/quickstart
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from cli.usage import Command, Group


def verify(
    folder: Annotated[
        str | None, typer.Argument(metavar="[FOLDER]", help="What make-data wrote, or one side of it.")
    ] = None,
    checkpoint: frame.Checkpoint = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A tokenizer's folder or tokenizer.json that must be the shards'."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Check every shard to the last bit, and that all are of one tokenizer; a line and exit code 2 for a problem."""
    from diffusionlm.workflows.params import DataVerifyParams

    flags = [
        frame.Flag("FOLDER", "folder", folder),
        frame.Flag("--checkpoint", "checkpoint", checkpoint),
        frame.Flag("--tokenizer", "tokenizer", tokenizer),
        frame.Flag("--json", "format", "json" if json else None),
    ]
    params = frame.configure(DataVerifyParams, config, settings, print_config, flags)
    from diffusionlm.workflows import data_verify as workflow

    done = workflow.data_verify(params)
    frame.show(done, as_json=params.format == "json")
    raise typer.Exit(done.exit_code)


COMMANDS = {"verify": verify}

app = typer.Typer(cls=Group, add_completion=False, pretty_exceptions_enable=False, help="Look at token shards.")
for _verb, _function in COMMANDS.items():
    app.command(_verb, cls=Command)(frame.guarded(_function))

"""``flowlm train`` / ``flowlm-train``: train a language model.

flowlm-train --config quickstart
flowlm-train --config quickstart --resume auto
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def train(
    config: frame.Config = None,
    settings: frame.Settings = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="auto|PATH", help="Continue: auto = the run folder's newest good checkpoint, or a path."),
    ] = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Train a language model, its tokenizer included; ends with samples and an infilled line.

    Prints the run folder's last checkpoint on stdout. Ctrl-C and SIGTERM save first; --resume auto goes on from there.
    """
    from diffusionlm.workflows.params import TrainParams

    params = frame.configure(
        TrainParams, config, settings, print_config, [frame.Flag("--resume", "run.resume", resume)]
    )
    from diffusionlm.workflows import train as workflow

    done = workflow.train(params)
    frame.show(done)
    raise typer.Exit(done.exit_code)


app = frame.make_app(train)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

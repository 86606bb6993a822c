"""``flowlm compare``: train several methods under one budget and set their scores and samples side by side.

flowlm compare --config compare_small
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def compare(
    config: frame.Config = None,
    settings: frame.Settings = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    print_config: frame.PrintConfig = False,
) -> None:
    """Compare methods: learning rates tuned alike, several seeds, likelihood and samples with their errors.

    The same command again goes on where an interrupted comparison was.
    """
    from diffusionlm.workflows.params import CompareParams

    flags = [frame.Flag("--json", "format", "json" if json else None)]
    params = frame.configure(CompareParams, config, settings, print_config, flags)
    from diffusionlm.workflows import compare as workflow

    done = workflow.compare(params)
    if done.runs:
        frame.show(done, as_json=params.format == "json")
    raise typer.Exit(done.exit_code)


app = frame.make_app(compare)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

"""``flowlm selftest``: every method against exact answers on tiny joints; exit code 1 if one is wrong.

flowlm selftest
flowlm selftest --process mask --json
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def selftest(
    process: Annotated[
        list[str] | None, typer.Option("--process", metavar="NAME", help="Test this process alone. Repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Hold every registered process, loss and sampler against exact answers, one line each."""
    from diffusionlm.workflows.params import SelftestParams

    flags = [
        frame.Flag("--process", "processes", process or None),
        frame.Flag("--json", "format", "json" if json else None),
    ]
    params = frame.configure(SelftestParams, config, settings, print_config, flags)
    from diffusionlm.workflows import selftest as workflow

    done = workflow.selftest(params)
    frame.show(done, as_json=params.format == "json")
    raise typer.Exit(done.exit_code)


app = frame.make_app(selftest)

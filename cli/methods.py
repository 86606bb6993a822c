"""``flowlm methods``: every process, objective and sampler, what fits what, and what proves it.

flowlm methods
flowlm methods --markdown
flowlm methods --write docs/METHODS.md
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def methods(
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown, as in docs/METHODS.md.")] = False,
    write: Annotated[
        str | None, typer.Option("--write", metavar="FILE.md", help="Replace what stands between a file's markers.")
    ] = None,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """List the registered methods: paper, bound, head, what fits what, and the exact tests."""
    from diffusionlm.workflows.params import MethodsParams

    style = "json" if json else "markdown" if markdown else None
    flags = [frame.Flag("--json or --markdown", "format", style), frame.Flag("--write", "write", write)]
    params = frame.configure(MethodsParams, config, settings, print_config, flags)
    from diffusionlm.workflows import methods as workflow

    frame.show(workflow.methods(params), as_json=params.format == "json")


app = frame.make_app(methods)

"""``flowlm infill`` / ``flowlm-infill``: fill the holes in a text.

flowlm-infill --checkpoint runs/quickstart "def add(a, b):<|hole:16|>return c"
flowlm-infill --checkpoint runs/any --sampler any_position "def add(a, b):<|draft|> return a - b<|/draft|>"
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from cli import sampling_options as options


def infill(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...",
            help="Texts with holes; one of 16 tokens is written <|hole:16|>, and text to be edited "
            "<|draft|>like this<|/draft|>.",
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="A file with one such text; - reads stdin.")
    ] = None,
    checkpoint: frame.Checkpoint = None,
    steps: options.Steps = None,
    samples: options.Samples = None,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    sampler: options.Sampler = None,
    guidance: options.Guidance = None,
    trace: options.Trace = None,
    watch: options.Watch = False,
    json: options.Json = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Fill holes in a text, or edit drafts in it; everything around them stays as it is, to the byte."""
    from diffusionlm.workflows.params import InfillParams

    flags = options.as_flags(
        checkpoint=checkpoint,
        steps=steps,
        samples=samples,
        temperature=temperature,
        seed=seed,
        sampler=sampler,
        guidance=guidance,
        trace=trace,
        watch=watch,
        json=json,
    )
    flags += [frame.Flag("TEXT", "texts", texts or None), frame.Flag("--file", "text_file", file)]
    params = frame.configure(InfillParams, config, settings, print_config, flags)
    from diffusionlm.workflows import infill as workflow

    options.emit(workflow.infill(params), as_json=params.format == "json")


app = frame.make_app(infill)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

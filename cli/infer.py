"""``flowlm infer`` / ``flowlm-infer``: generate text from a checkpoint.

flowlm-infer --checkpoint runs/quickstart --prompt "def f("
flowlm-infer --checkpoint runs/quickstart --length 64 --samples 4 --json > samples.jsonl
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from cli import sampling_options as options
from cli.usage import whole


def infer(
    prompts: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="Texts to continue.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="A text to continue. Repeatable.")
    ] = None,
    prompts_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='Prompts, one per line (or .jsonl with a "prompt" each); - reads stdin.'),
    ] = None,
    checkpoint: frame.Checkpoint = None,
    length: Annotated[
        int | None, typer.Option("--length", parser=whole, metavar="N", help="Tokens to generate after the prompt.")
    ] = None,
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
    """Generate text: continue prompts, or write from nothing when there is none."""
    from diffusionlm.workflows.params import InferParams

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
    flags += [
        frame.Flag("--prompt", "prompts", [*(prompts or []), *(prompt or [])] or None),
        frame.Flag("--prompts-file", "prompts_file", prompts_file),
        frame.Flag("--length", "generation.length", length),
    ]
    params = frame.configure(InferParams, config, settings, print_config, flags)
    from diffusionlm.workflows import infer as workflow

    options.emit(workflow.infer(params), as_json=params.format == "json")


app = frame.make_app(infer)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

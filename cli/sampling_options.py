"""The options that infer and infill share: short forms of ``--set`` for the settings that one changes most.

Each maps to one key of the configuration; what is not given here or by ``--set`` comes from the file or the defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cli.app import Flag, put, show
from cli.usage import decimal, whole

Steps = Annotated[
    int | None,
    typer.Option("--steps", parser=whole, metavar="N", help="Sampling steps: at most so many network evaluations."),
]
Samples = Annotated[
    int | None, typer.Option("--samples", parser=whole, metavar="N", help="Samples for each prompt or text.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", parser=decimal, metavar="X", help="0 takes the most probable token.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", parser=whole, metavar="N", help="Seed; every sample has a stream of its own.")
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="How noise becomes text (unset = what belongs to the model's process); a wrong name lists the right ones.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        parser=decimal,
        metavar="W",
        help="Classifier-free guidance away from what would be written without the given text; 0 = off. Twice the "
        "network evaluations.",
    ),
]
Trace = Annotated[
    str | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Write every change of every step as JSON lines: sample, step, position, old, new, confidence.",
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show the canvas in the terminal while it fills.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per sample and line instead of the text.")]


def as_flags(
    *,
    checkpoint: str | None,
    steps: int | None,
    samples: int | None,
    temperature: float | None,
    seed: int | None,
    sampler: str | None,
    guidance: float | None,
    trace: str | None,
    watch: bool,
    json: bool,
) -> list[Flag]:
    """Return the options with the configuration keys that they set."""
    return [
        Flag("--checkpoint", "checkpoint", checkpoint),
        Flag("--steps", "generation.steps", steps),
        Flag("--samples", "generation.samples", samples),
        Flag("--temperature", "generation.temperature", temperature),
        Flag("--seed", "generation.seed", seed),
        Flag("--sampler", "generation.sampler.name", sampler),
        Flag("--guidance", "generation.guidance", guidance),
        Flag("--trace", "trace", trace),
        Flag("--watch", "watch", watch or None),
        Flag("--json", "format", "json" if json else None),
    ]


def emit(samples: Iterable[Any], *, as_json: bool) -> None:
    """Print samples as they are finished: their texts on stdout and a header on stderr, or JSON lines on stdout.

    Args:
        samples: What the workflow yields; each has ``text``, ``headline()`` and ``record()``.
        as_json: Whether to print JSON lines.
    """
    for sample in samples:
        if as_json:
            show(sample, as_json=True)
        else:
            typer.echo(sample.headline(), err=True)
            put(sample.text)

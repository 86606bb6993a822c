"""``flowlm data VERB``: look at text and token shards.

flowlm data inspect --config quickstart
flowlm data inspect --data shards --row 3
flowlm data verify shards
flowlm data verify shards --checkpoint runs/quickstart
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import app as frame
from cli.usage import Command, Group, whole

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="A text, .jsonl or .parquet file or pattern, a folder of .txt files or of shards, or python-stdlib; "
        "--set data.source.KEY says more.",
    ),
]
ItsTokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="PATH", help="A tokenizer folder or tokenizer.json; or byte; or bpe."),
]
Row = Annotated[int | None, typer.Option("--row", parser=whole, metavar="N", help="The first row to show.")]
Rows = Annotated[
    int | None, typer.Option("--rows", parser=whole, metavar="N", help="Rows to show; 0 = statistics alone.")
]
Side = Annotated[str | None, typer.Option("--side", metavar="SIDE", help="train, or validation for held-out rows.")]
Time = Annotated[
    str | None,
    typer.Option(
        "--time", metavar="T|drawn", help="Show the noise too, at time T (0 noise, 1 data) or as training draws."
    ),
]
Tokens = Annotated[bool, typer.Option("--tokens", help="Show where tokens begin.")]
Documents = Annotated[
    int | None, typer.Option("--documents", parser=whole, metavar="N", help="Documents to measure, the first ones.")
]
Top = Annotated[int | None, typer.Option("--top", parser=whole, metavar="N", help="Most frequent tokens to list.")]
NoStatistics = Annotated[bool, typer.Option("--no-statistics", help="Rows alone.")]
Plot = Annotated[
    str | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw the lengths of documents and frequencies of tokens."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def inspect(
    data: Data = None,
    tokenizer: ItsTokenizer = None,
    checkpoint: frame.Checkpoint = None,
    row: Row = None,
    rows: Rows = None,
    side: Side = None,
    time: Time = None,
    tokens: Tokens = False,
    documents: Documents = None,
    top: Top = None,
    no_statistics: NoStatistics = False,
    plot: Plot = None,
    json: Json = False,
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Show rows as a model is trained on them, and statistics of the text: lengths, bytes per token, padding, tokens.

    --config takes the configuration of a training run as well.
    """
    from diffusionlm.data.sources.named import source_table
    from diffusionlm.workflows.params import DataInspectParams

    first = [
        frame.Flag("--data", "data.source", None if data is None else source_table(data)),
        frame.Flag("--tokenizer", "tokenizer", None if tokenizer is None else _tokenizer_table(tokenizer)),
    ]
    flags = [
        frame.Flag("--checkpoint", "checkpoint", checkpoint),
        frame.Flag("--row", "row", row),
        frame.Flag("--rows", "rows", rows),
        frame.Flag("--side", "side", side),
        frame.Flag("--time", "time", None if time is None else _time(time)),
        frame.Flag("--tokens", "tokens", tokens or None),
        frame.Flag("--documents", "documents", documents),
        frame.Flag("--top", "top", top),
        frame.Flag("--no-statistics", "statistics", False if no_statistics else None),
        frame.Flag("--plot", "plot", plot),
        frame.Flag("--json", "format", "json" if json else None),
    ]
    params = frame.configure(DataInspectParams, config, settings, print_config, flags, first)
    from diffusionlm.workflows import data_inspect as workflow

    frame.show(workflow.data_inspect(params), as_json=params.format == "json")


def _tokenizer_table(word: str) -> dict[str, Any]:
    """Return the table of the tokenizer that a word means: a kind that needs no files, or the files at a path."""
    return {"name": word} if word in ("bpe", "byte") else {"name": "files", "path": word}


def _time(text: str) -> float | str:
    """Return a time, or the word that was given for one."""
    try:
        return float(text)
    except ValueError:
        return text


def verify(
    folder: Annotated[
        str | None, typer.Argument(metavar="[FOLDER]", help="What make-data wrote, or one side of it.")
    ] = None,
    checkpoint: frame.Checkpoint = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A tokenizer's folder or tokenizer.json that must be the shards'."),
    ] = None,
    json: Json = False,
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


COMMANDS = {"inspect": inspect, "verify": verify}

app = typer.Typer(cls=Group, add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)
for _verb, _function in COMMANDS.items():
    app.command(_verb, cls=Command)(frame.guarded(_function))


@app.callback()
def data(context: typer.Context) -> None:
    """Look at text and token shards: as a model is trained on them, and whether they are whole."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


if __name__ == "__main__":
    frame.run(app)

"""``flowlm VERB``: every command under one name; ``flowlm train`` is ``flowlm-train``, and so on."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame
from cli import (
    bench_data,
    bench_infer,
    bench_tokenizer,
    bench_train,
    compare,
    data,
    eval,
    infer,
    infill,
    inspect,
    make_data,
    methods,
    schema,
    selftest,
    train,
    train_tokenizer,
)
from cli.usage import Command, Group

app = typer.Typer(cls=Group, add_completion=False, pretty_exceptions_enable=False, invoke_without_command=True)

COMMANDS = {
    "train": train.train,
    "infer": infer.infer,
    "infill": infill.infill,
    "eval": eval.evaluate,
    "train-tokenizer": train_tokenizer.train_tokenizer,
    "make-data": make_data.make_data,
    "bench-train": bench_train.bench_train,
    "bench-infer": bench_infer.bench_infer,
    "bench-tokenizer": bench_tokenizer.bench_tokenizer,
    "bench-data": bench_data.bench_data,
    "inspect": inspect.inspect,
    "selftest": selftest.selftest,
    "compare": compare.compare,
    "methods": methods.methods,
    "schema": schema.schema,
}
for _verb, _function in COMMANDS.items():
    app.command(_verb, cls=Command)(frame.guarded(_function))
app.add_typer(data.app, name="data")


def _show_version(asked: bool) -> None:
    """Print the installed version and end, if asked to."""
    if asked:
        from importlib.metadata import version  # slow, and --help needs none of it

        typer.echo(version("flowlm"))
        raise typer.Exit


@app.callback()
def flowlm(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Language models that generate by discrete flow matching: train, sample, infill and evaluate."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

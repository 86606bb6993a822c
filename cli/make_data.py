"""``flowlm make-data`` / ``flowlm-make-data``: tokenize a corpus once and write token shards that training reads.

flowlm-make-data --set data.source.name=text --set data.source.path=book.txt --output shards
flowlm-make-data --set data.source.name=text --set data.source.path=book.txt --output shards --resume auto
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def make_data(
    config: frame.Config = None,
    settings: frame.Settings = None,
    output: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where to write the shards; new or empty, or resumed.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="auto", help="auto = go on where the same command was cut off.")
    ] = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Tokenize a corpus and write its two sides, train and validation, as shards with the tokenizer beside them.

    Finished shards outlive whatever ends it; --resume auto goes on from there, to the same bytes.
    """
    from diffusionlm.workflows.params import MakeDataParams

    flags = [frame.Flag("--output", "output", output), frame.Flag("--resume", "resume", resume)]
    params = frame.configure(MakeDataParams, config, settings, print_config, flags)
    from diffusionlm.workflows import make_data as workflow

    frame.show(workflow.make_data(params))


app = frame.make_app(make_data)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

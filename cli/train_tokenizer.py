"""``flowlm train-tokenizer`` / ``flowlm-train-tokenizer``: train a byte-level BPE tokenizer and write its files.

flowlm-train-tokenizer --set tokenizer.vocab_size=8192 --output my-tokenizer
flowlm-train-tokenizer --set tokenizer.vocab_size=8192 --output my-tokenizer --resume auto
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import app as frame


def train_tokenizer(
    config: frame.Config = None,
    settings: frame.Settings = None,
    output: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where to write the tokenizer; new or empty, or resumed.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="auto", help="auto = go on where the same command was cut off.")
    ] = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Train a tokenizer on a text (the Python standard library's source by default) and write its files.

    The words counted so far are saved now and then; --resume auto goes on from there, to the same bytes.
    """
    from diffusionlm.workflows.params import TokenizerTrainParams

    flags = [frame.Flag("--output", "output", output), frame.Flag("--resume", "resume", resume)]
    params = frame.configure(TokenizerTrainParams, config, settings, print_config, flags)
    from diffusionlm.workflows import train_tokenizer as workflow

    frame.show(workflow.train_tokenizer(params))


app = frame.make_app(train_tokenizer)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()

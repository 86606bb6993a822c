"""``flowlm make-data``: tokenize a text once into shards that training reads in place of the text."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from diffusionlm.data.make import MadeData
from diffusionlm.data.make import make_data as write_shards
from diffusionlm.data.sources import SOURCES
from diffusionlm.tokenizer import build_tokenizer
from diffusionlm.workflows.params import MakeDataParams
from diffusionlm.workflows.talk import say


@dataclass(frozen=True)
class MakeDataReport:
    """What was written.

    Attributes:
        made: Shards, documents, tokens, bytes.
        seconds: Time that it took, the tokenizer's training included.
    """

    made: MadeData
    seconds: float

    def report(self) -> str:
        """Return the product of the command: the folder of the shards."""
        return str(Path(self.made.folder))


def make_data(params: MakeDataParams) -> MakeDataReport:
    """Write the whole text as shards, training the tokenizer first if it is a trained one.

    What is held out is decided when the shards are read, by the hash of each document, exactly as for the text itself.

    Raises:
        DataError: The text is missing or empty, or the output folder is not empty.
        TokenizerError: The tokenizer cannot be had.
    """
    began = time.perf_counter()
    documents = SOURCES.build(params.data.source)
    tokenizer = build_tokenizer(params.tokenizer, lambda: documents)
    columns = (SpinnerColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("tokenizing", total=None, done="")

        def progress(number: int, tokens: int, size: int) -> None:
            bar.update(task, done=f"{number:,} documents, {tokens:,} tokens, {size / 1e6:.1f} MB")

        made = write_shards(
            documents,
            tokenizer,
            params.output,
            shard_tokens=params.shard_tokens,
            workers=params.data.workers,
            progress=progress,
        )
    seconds = time.perf_counter() - began
    say(
        f"{made.n_documents:,} documents, {made.n_bytes / 1e6:.1f} MB, {made.n_tokens:,} tokens in {made.n_shards} "
        f"shards, {seconds:.1f} s"
    )
    return MakeDataReport(made, seconds)

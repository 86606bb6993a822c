"""``flowlm make-data``: tokenize a text once into shards that training reads in place of the text.

The folder holds the two sides of the text, ``train`` and ``validation``, split as ``flowlm train`` splits the text
itself, and a trained tokenizer has seen the training side alone: a run on the shards is the run on the text.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from diffusionlm.data.corpus import Corpus, open_corpus
from diffusionlm.data.documents import Documents
from diffusionlm.data.make import MadeData, claim_empty
from diffusionlm.data.make import make_data as write_shards
from diffusionlm.data.shards import TOKENIZER_FOLDER
from diffusionlm.data.sources.shards import TRAIN, VALIDATION
from diffusionlm.tokenizer import Tokenizer, build_tokenizer
from diffusionlm.workflows.params import MakeDataParams
from diffusionlm.workflows.talk import say, tell_warnings


@dataclass(frozen=True)
class MakeDataReport:
    """What was written.

    Attributes:
        folder: The folder of both sides.
        train, validation: Shards, documents, tokens and bytes of each side; None where nothing is held out.
        seconds: Time that it took, the tokenizer's training included.
    """

    folder: Path
    train: MadeData
    validation: MadeData | None
    seconds: float

    def report(self) -> str:
        """Return the product of the command: the folder of the shards."""
        return str(self.folder)


def make_data(params: MakeDataParams) -> MakeDataReport:
    """Write both sides of a text as shards, training the tokenizer first if it is a trained one.

    Raises:
        DataError: The text is missing or empty, one side of it is, or the output folder is not empty.
        TokenizerError: The tokenizer cannot be had.
    """
    began = time.perf_counter()
    corpus = open_corpus(params.data)
    existed = claim_empty(params.output)
    try:
        with tell_warnings():
            tokenizer = build_tokenizer(params.tokenizer, lambda: corpus.train)
        made = _write_sides(corpus, tokenizer, params)
    except BaseException:
        for side in (TRAIN, VALIDATION):
            shutil.rmtree(params.output / side, ignore_errors=True)
        if not existed:
            params.output.rmdir()
        raise
    seconds = time.perf_counter() - began
    for side, one in made.items():
        say(
            f"{side}: {one.n_documents:,} documents, {one.n_bytes / 1e6:.1f} MB, {one.n_tokens:,} tokens in "
            f"{one.n_shards} shards"
        )
    say(
        f"{seconds:.1f} s; train on them with data.source.name=shards, data.source.path={params.output}, "
        f"tokenizer.name=files, tokenizer.path={params.output / TRAIN / TOKENIZER_FOLDER}"
    )
    return MakeDataReport(params.output, made[TRAIN], made.get(VALIDATION), seconds)


def _write_sides(corpus: Corpus, tokenizer: Tokenizer, params: MakeDataParams) -> dict[str, MadeData]:
    """Write the held-out side first: a folder with a finished ``train`` is then finished as a whole."""
    sides: dict[str, Documents] = {} if corpus.validation is None else {VALIDATION: corpus.validation}
    sides[TRAIN] = corpus.train
    columns = (SpinnerColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    made = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        for side, documents in sides.items():
            task = bar.add_task("tokenizing", total=None, done="")

            def progress(number: int, tokens: int, size: int, side: str = side, task: TaskID = task) -> None:
                bar.update(task, done=f"{side}: {number:,} documents, {tokens:,} tokens, {size / 1e6:.1f} MB")

            made[side] = write_shards(
                documents,
                tokenizer,
                params.output / side,
                shard_tokens=params.shard_tokens,
                workers=params.data.workers,
                progress=progress,
            )
    return made

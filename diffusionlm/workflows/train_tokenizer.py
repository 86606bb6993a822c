"""``flowlm train-tokenizer``: train a tokenizer on a text and write its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.data.make import claim_empty
from diffusionlm.data.sources import SOURCES
from diffusionlm.errors import TokenizerError
from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.tokenizer import build_tokenizer, save_whole
from diffusionlm.workflows.make_progress import MakeProgress
from diffusionlm.workflows.params import TokenizerTrainParams
from diffusionlm.workflows.talk import say, tell_warnings

REPORTED_BYTES = 1 << 20


@dataclass(frozen=True)
class TokenizerReport:
    """What was written.

    Attributes:
        folder: The tokenizer's files.
        vocab_size: K, special tokens included.
        seconds: Time that training took.
        peak_mib: The most memory that it held, in MiB.
    """

    folder: Path
    vocab_size: int
    seconds: float
    peak_mib: float

    def report(self) -> str:
        """Return the product of the command: the folder."""
        return str(self.folder)


def train_tokenizer(params: TokenizerTrainParams) -> TokenizerReport:
    """Train and write a tokenizer.

    Raises:
        DataError: The text is missing or empty, or the output folder is not empty.
        TokenizerError: The tokenizer cannot be trained as asked.
    """
    documents = SOURCES.build(params.source)
    existed = claim_empty(params.output)
    began, memory = time.perf_counter(), PeakMemory()
    limits = [vars(params.tokenizer).get("train_bytes"), documents.expected_bytes]
    expected = min((limit for limit in limits if limit is not None), default=None)
    try:
        with tell_warnings(), MakeProgress("words", 0, expected, memory) as progress:
            tokenizer = build_tokenizer(params.tokenizer, lambda: reported(documents, progress))
        if existed:  # an empty folder that is somebody's: a mount, or the current one
            tokenizer.save(params.output)
        else:
            params.output.rmdir()
            save_whole(tokenizer, params.output)
    except BaseException:
        if not existed and params.output.is_dir() and not any(params.output.iterdir()):
            params.output.rmdir()
        raise
    seconds = time.perf_counter() - began
    if tokenizer.vocab_size < 2:
        raise TokenizerError(f"a vocabulary of {tokenizer.vocab_size} token has nothing to predict")
    cost = f"{seconds:.1f} s, peak memory {memory.mib:.0f} MiB"
    say(f"{tokenizer.vocab_size} tokens from {documents.describe()} in {cost}")
    return TokenizerReport(params.output, tokenizer.vocab_size, seconds, memory.mib)


def reported(documents: Iterable[bytes], progress: Callable[[int, int | None, int], None]) -> Iterator[bytes]:
    """Yield documents; tell how many, and how many bytes of them, have been taken: at the end, and at each megabyte."""
    number = size = told = 0
    for document in documents:
        yield document
        number, size = number + 1, size + len(document)
        if size - told >= REPORTED_BYTES:
            progress(number, None, size)
            told = size
    progress(number, None, size)

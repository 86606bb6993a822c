"""``flowlm train-tokenizer``: train a tokenizer on a text and write its files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.data.make import claim_empty
from diffusionlm.data.sources import SOURCES
from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import build_tokenizer
from diffusionlm.workflows.params import TokenizerTrainParams
from diffusionlm.workflows.talk import say, tell_warnings


@dataclass(frozen=True)
class TokenizerReport:
    """What was written.

    Attributes:
        folder: The tokenizer's files.
        vocab_size: K, special tokens included.
        seconds: Time that training took.
    """

    folder: Path
    vocab_size: int
    seconds: float

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
    began = time.perf_counter()
    try:
        with tell_warnings():
            tokenizer = build_tokenizer(params.tokenizer, lambda: documents)
        tokenizer.save(params.output)
    except BaseException:
        if not existed and not any(params.output.iterdir()):
            params.output.rmdir()
        raise
    seconds = time.perf_counter() - began
    if tokenizer.vocab_size < 2:
        raise TokenizerError(f"a vocabulary of {tokenizer.vocab_size} token has nothing to predict")
    say(f"{tokenizer.vocab_size} tokens from {documents.describe()} in {seconds:.1f} s")
    return TokenizerReport(params.output, tokenizer.vocab_size, seconds)

"""The configurations of the commands that prepare a run: train-tokenizer and make-data."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from diffusionlm.data import SOURCES
from diffusionlm.data.params import CorpusParams
from diffusionlm.paths import UserPath
from diffusionlm.tokenizer import TOKENIZERS
from diffusionlm.workflows.command import AnySource, AnyTokenizer, CommandParams


class TokenizerTrainParams(CommandParams):
    """Train a tokenizer on a text and write its files."""

    command: ClassVar[str] = "train-tokenizer"

    source: AnySource = SOURCES["python-stdlib"].Params()
    """The text to learn from."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """The tokenizer."""
    output: UserPath = Path("tokenizer")
    """Folder for the files; it must be new or empty."""

    def output_folder(self) -> Path:
        """Return the folder of the tokenizer's files."""
        return self.output


class MakeDataParams(CommandParams):
    """Tokenize a text once and write token shards that training reads."""

    command: ClassVar[str] = "make-data"

    data: CorpusParams = CorpusParams.model_validate({})
    """Which text, what is held out, and how many processes tokenize."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """The tokenizer, trained on the training side alone; name = "files" takes a trained one."""
    output: UserPath = Path("shards")
    """Folder for the shards, ``train`` and ``validation`` in it; it must be new or empty."""
    shard_tokens: int = Field(default=100_000_000, gt=0)
    """Most tokens in one shard."""

    def output_folder(self) -> Path:
        """Return the folder of the shards."""
        return self.output

"""The configurations of the commands that prepare a run: train-tokenizer and make-data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

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
    """Folder for the files; it must be new or empty, or resumed."""
    resume: Literal["auto"] | None = None
    """auto = go on where an earlier run on the same text was cut off, if there was one."""
    save_seconds: float = Field(default=20.0, gt=0)
    """Time between two saves of what is counted; longer where they would take more than a fiftieth of the time."""

    def output_folder(self) -> Path:
        """Return the folder of the tokenizer's files."""
        return self.output


class MakeDataCorpusParams(CorpusParams):
    """Which text is tokenized, and what of it is held out."""

    workers: int = Field(0, ge=0)
    """Threads or processes that tokenize, 0 = one for each core; the shards do not depend on it."""

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, tables: Any) -> Any:
        if isinstance(tables, dict) and "mixture" in tables:
            raise ValueError(
                "make-data writes the shards of one source, and a mixture is made while training; make a folder of "
                'shards of each source, then train with [[data.mixture]] tables that name them (source.name = "shards")'
            )
        return tables


class MakeDataParams(CommandParams):
    """Tokenize a text once and write token shards that training reads."""

    command: ClassVar[str] = "make-data"

    data: MakeDataCorpusParams = MakeDataCorpusParams.model_validate({})
    """Which text, what is held out, and how many processes tokenize."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """The tokenizer, trained on the training side alone; name = "files" takes a trained one."""
    output: UserPath = Path("shards")
    """Folder for the shards, ``train`` and ``validation`` in it; it must be new or empty, or resumed."""
    resume: Literal["auto"] | None = None
    """auto = go on where an earlier run on the same text was cut off, if there was one."""
    shard_tokens: int = Field(default=100_000_000, gt=0)
    """Most tokens in one shard."""
    deduplicate: bool = False
    """Leave out a document whose bytes have come before on its side; 24 to 48 bytes of memory for each document."""

    def output_folder(self) -> Path:
        """Return the folder of the shards."""
        return self.output

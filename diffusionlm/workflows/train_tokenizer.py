"""``flowlm train-tokenizer``: train a tokenizer on a text and write its files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.data.counted import TOKENIZER, WORDS, Counted, Making, read_counted, read_making, write_making
from diffusionlm.data.documents import Documents
from diffusionlm.data.resume import JOURNAL, check_settings
from diffusionlm.data.shards import remove_temporaries
from diffusionlm.data.sources import SOURCES
from diffusionlm.errors import DataError, TokenizerError
from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.tokenizer import TOKENIZERS, Tokenizer, load_tokenizer, save_into
from diffusionlm.training.signals import stop_on_signals
from diffusionlm.workflows.changes import flat
from diffusionlm.workflows.count_corpus import CorpusReader
from diffusionlm.workflows.make_progress import MakeProgress
from diffusionlm.workflows.output_folder import Begun, Left, claimed
from diffusionlm.workflows.params import TokenizerTrainParams
from diffusionlm.workflows.talk import plural, say, tell_warnings


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
    """Train and write a tokenizer, or go on with what an earlier run has counted.

    Raises:
        DataError: The text is missing or empty, or the output folder is not empty or does not fit.
        TokenizerError: The tokenizer cannot be trained as asked.
    """
    documents, output = SOURCES.build(params.source), params.output
    began, memory = time.perf_counter(), PeakMemory()
    settings = _settings(params, documents)
    with claimed(output, params.resume, lambda: _begun(output), lambda existed: _leave(output, existed)):
        remove_temporaries(output)
        making = read_making(output)
        if making is not None:
            check_settings(output, TOKENIZER, making.settings, settings)
        if making is not None and making.finished and TOKENIZERS.build(params.tokenizer).trains:
            (output / WORDS).unlink(missing_ok=True)
            vocab_size = load_tokenizer(output).vocab_size
            return TokenizerReport(output, vocab_size, time.perf_counter() - began, memory.mib)
        write_making(output, Making(settings, finished=False))
        tokenizer = _trained(params, documents, memory)
        if tokenizer.vocab_size < 2:
            raise TokenizerError(f"a vocabulary of {tokenizer.vocab_size} token has nothing to predict")
        save_into(tokenizer, output)
        write_making(output, Making(settings, finished=True))
        (output / WORDS).unlink(missing_ok=True)
    seconds = time.perf_counter() - began
    cost = f"{seconds:.1f} s, peak memory {memory.mib:.0f} MiB"
    say(f"{tokenizer.vocab_size} tokens from {documents.describe()} in {cost}")
    return TokenizerReport(output, tokenizer.vocab_size, seconds, memory.mib)


def _settings(params: TokenizerTrainParams, documents: Documents) -> dict[str, Any]:
    """Return what decides the tokenizer: the configuration by dotted key, and the corpus by its fingerprint."""
    left_out = {"output", "resume", "save_seconds"}
    tables = params.model_dump(mode="json", exclude_none=True, exclude=left_out)
    return {**flat(tables), "corpus": documents.fingerprint}


def _trained(params: TokenizerTrainParams, documents: Documents, memory: PeakMemory) -> Tokenizer:
    """Return the tokenizer, reading the corpus from where an earlier run was cut off."""
    recipe = TOKENIZERS.build(params.tokenizer)
    training = recipe.training()
    with tell_warnings():
        if training is None:
            return recipe.build(lambda: documents)
        counted = _counted_before(params.output)
        size = 0 if counted is None else counted.size
        limits = [vars(params.tokenizer).get("train_bytes"), documents.expected_bytes]
        expected = min((limit for limit in limits if limit is not None), default=None)
        with MakeProgress("words", size, expected, memory) as progress, stop_on_signals() as stop:
            reader = CorpusReader(training, documents, params.output, params.save_seconds, stop, progress, counted)
            reader.read()
        try:
            return training.finish()
        except KeyboardInterrupt:
            reader.save()
            raise


def _counted_before(output: Path) -> Counted | None:
    """Return what an earlier run has counted, if that is there and whole, and say so."""
    try:
        counted = read_counted(output)
    except DataError as damage:
        say(f"{damage}; counting starts anew")
        return None
    if counted is not None:
        say(f"words: going on after {plural(counted.documents, 'document')}, {counted.size / 1e6:,.1f} MB")
    return counted


def _begun(output: Path) -> Begun | None:
    """Return what of a tokenizer a folder holds."""
    making = read_making(output)
    if making is None:
        return None
    return Begun("a finished tokenizer" if making.finished else "an unfinished tokenizer", making.finished)


def _leave(output: Path, existed: bool) -> Left:
    """Keep what was counted; where nothing was, leave nothing."""
    if (output / WORDS).is_file():
        return Left("the words counted so far are kept", True)
    if {path.name for path in output.iterdir()} <= {JOURNAL}:
        (output / JOURNAL).unlink(missing_ok=True)
        if not existed:
            output.rmdir()
    return Left("nothing was counted", False)

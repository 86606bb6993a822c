"""``flowlm make-data``: tokenize a text once into shards that training reads in place of the text.

The folder holds the two sides of the text, ``train`` and ``validation``, split as ``flowlm train`` splits the text
itself, and a trained tokenizer has seen the training side alone: a run on the shards is the run on the text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.data.corpus import Corpus, open_corpus
from diffusionlm.data.documents import Documents
from diffusionlm.data.journal import continue_journal, read_journal
from diffusionlm.data.make import MadeData, remove_output
from diffusionlm.data.make import make_data as write_shards
from diffusionlm.data.shards import INDEX, TOKENIZER_FOLDER
from diffusionlm.data.sources.shards import TRAIN, VALIDATION
from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.tokenizer import TOKENIZERS, Tokenizer, load_tokenizer
from diffusionlm.workflows.changes import flat
from diffusionlm.workflows.make_progress import MakeProgress
from diffusionlm.workflows.output_folder import Begun, Left, claimed
from diffusionlm.workflows.params import MakeDataParams
from diffusionlm.workflows.talk import plural, say, tell_warnings

SIDES = (VALIDATION, TRAIN)
"""The held-out side comes first: a folder with a finished ``train`` is then finished as a whole."""


@dataclass(frozen=True)
class MakeDataReport:
    """What was written.

    Attributes:
        folder: The folder of both sides.
        train, validation: Shards, documents, tokens and bytes of each side; None where nothing is held out.
        seconds: Time that it took, the tokenizer's training included.
        peak_mib: The most memory that the command and its workers held.
    """

    folder: Path
    train: MadeData
    validation: MadeData | None
    seconds: float
    peak_mib: float

    def report(self) -> str:
        """Return the product of the command: the folder of the shards."""
        return str(self.folder)


def make_data(params: MakeDataParams) -> MakeDataReport:
    """Write both sides of a text as shards, training the tokenizer first if it is a trained one.

    Raises:
        DataError: The text is missing or empty, one side of it is, or the output folder is not empty or does not fit.
        TokenizerError: The tokenizer cannot be had.
    """
    began = time.perf_counter()
    corpus = open_corpus(params.data)
    memory = PeakMemory()
    output = params.output
    with claimed(output, params.resume, lambda: _begun(output), lambda existed: _leave(output, existed)):
        made, work, bytes_done = _write_sides(corpus, params, memory)
    report = MakeDataReport(output, made[TRAIN], made.get(VALIDATION), time.perf_counter() - began, memory.mib)
    _tell(report, params.deduplicate, bytes_done / work / 1e6 if work else None)
    return report


def _write_sides(corpus: Corpus, params: MakeDataParams, memory: PeakMemory) -> tuple[dict[str, MadeData], float, int]:
    """Write both sides; return what was made, and the seconds and bytes of this run's tokenizing."""
    sides = {side: documents for side, documents in zip(SIDES, (corpus.validation, corpus.train)) if documents}
    settings = {side: _settings(params, documents) for side, documents in sides.items()}
    tokenizer = _open_tokenizer(params, corpus, settings)
    made: dict[str, MadeData] = {}
    seconds, done = 0.0, 0
    for side, documents in sides.items():
        folder = params.output / side
        journal = read_journal(folder) if params.resume else None
        before = 0 if journal is None else journal.n_bytes
        if journal is not None and journal.duplicates is None and journal.shards:
            say(
                f"{side}: going on after {plural(journal.n_documents, 'document')} in "
                f"{plural(len(journal.shards), 'shard')}"
            )
        began = time.perf_counter()
        with MakeProgress(side, before, documents.expected_bytes, memory) as progress:
            made[side] = write_shards(
                documents,
                tokenizer,
                folder,
                shard_tokens=params.shard_tokens,
                workers=params.data.workers,
                deduplicate=params.deduplicate,
                resume=params.resume is not None,
                settings=settings[side],
                progress=progress,
            )
        seconds += time.perf_counter() - began
        done += made[side].n_bytes - before
    return made, seconds if done else 0.0, done


def _settings(params: MakeDataParams, documents: Documents) -> dict[str, Any]:
    """Return what decides the shards' bytes: the configuration by dotted key, and the corpus by its fingerprint."""
    tables = params.model_dump(mode="json", exclude_none=True, exclude={"output": True, "resume": True})
    del tables["data"]["workers"]
    return {**flat(tables), "corpus": documents.fingerprint}


def _open_tokenizer(params: MakeDataParams, corpus: Corpus, settings: dict[str, dict[str, Any]]) -> Tokenizer:
    """Return the tokenizer: the one that an earlier run has trained, where it is resumed.

    Raises:
        DataError: The run that should go on was begun with other settings.
        TokenizerError: It cannot be had.
    """
    recipe = TOKENIZERS.build(params.tokenizer)
    for side, given in settings.items() if params.resume else ():
        folder = params.output / side
        journal = read_journal(folder)
        if journal is None:
            continue
        # The shards' own tokenizer is compared when they go on; a trained one is taken from beside them.
        continue_journal(folder, {**given, "tokenizer": journal.settings["tokenizer"]})
        if recipe.trains and (folder / TOKENIZER_FOLDER).is_dir():
            return load_tokenizer(folder / TOKENIZER_FOLDER)
    with tell_warnings():
        return recipe.build(lambda: corpus.train)


def _begun(output: Path) -> Begun | None:
    """Return what of shards a folder holds."""
    if all(read_journal(output / side) is None for side in SIDES):
        return None
    done = (output / TRAIN / INDEX).is_file()
    return Begun("finished shards" if done else "unfinished shards", done)


def _leave(output: Path, existed: bool) -> Left:
    """Keep the finished shards; where there are none, leave nothing."""
    journals = [journal for side in SIDES if (journal := read_journal(output / side)) is not None]
    kept = sum(len(journal.shards) for journal in journals)
    if not kept:
        for side in SIDES:
            remove_output(output / side, existed=False)
        if not existed and output.is_dir() and not any(output.iterdir()):
            output.rmdir()
        return Left("no shard was finished", False)
    return Left(f"{plural(kept, 'finished shard')} {'is' if kept == 1 else 'are'} kept", True)


def _tell(report: MakeDataReport, deduplicated: bool, speed: float | None) -> None:
    for side, one in ((VALIDATION, report.validation), (TRAIN, report.train)):
        if one is not None:
            copies = f", {one.n_duplicates:,} copies left out" if deduplicated else ""
            memory = f" ({one.digest_bytes / 1e6:.1f} MB of digests)" if one.digest_bytes else ""
            say(
                f"{side}: {plural(one.n_documents, 'document')}, {one.n_bytes / 1e6:.1f} MB, {one.n_tokens:,} tokens "
                f"in {plural(one.n_shards, 'shard')}{copies}{memory}"
            )
    rate = "" if speed is None else f", {speed:.1f} MB/s of text"
    say(
        f"{report.seconds:.1f} s{rate}, peak memory {report.peak_mib:,.0f} MiB; train on them with "
        f"data.source.name=shards, data.source.path={report.folder}, "
        f"tokenizer.name=files, tokenizer.path={report.folder / TRAIN / TOKENIZER_FOLDER}"
    )
